"""Estimates on spans of the text: what a person sees, in editor terms but without LSP.

Hints, cards, lenses, the command line and reports all read these values; none of them
computes an energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from irene.cards import Card
from irene.source.outline import Span


@dataclass(frozen=True, slots=True)
class ClassAnnotation:
    """What stands above `class Block(nn.Module):`."""

    class_name: str  # qualified
    line: int  # of the class statement
    name_span: Span
    text: str  # the lens
    reason: str | None  # why there is no value
    advice: str | None
    target_class: str | None  # the model that "Profile this model" runs; None: no action
    other_device: str | None  # a profile exists for this device, not for the selected one
    card: Card | None


@dataclass(frozen=True, slots=True)
class LineAnnotation:
    """What stands at the end of a line that creates a submodule."""

    line: int
    label: str  # "12 x 14.0 mJ · 20 %"
    energy_j: float  # all calls per forward of the model
    share: float
    card: Card


@dataclass(frozen=True, slots=True)
class HoverAnnotation:
    """A range with a card: class name, assignment, call in forward."""

    span: Span
    card: Card


@dataclass(frozen=True, slots=True)
class ProblemAnnotation:
    """Why a class has no estimate; shown as a hint-level diagnostic on its name."""

    class_name: str
    span: Span
    message: str
    advice: str
    comment: str | None  # an irene comment that a code action can insert above the class
    severity: Literal["information", "warning"]


@dataclass(frozen=True, slots=True)
class Annotations:
    """All that a document shows, for one version of its text."""

    version: int
    classes: tuple[ClassAnnotation, ...]
    lines: tuple[LineAnnotation, ...]
    hovers: tuple[HoverAnnotation, ...]
    problems: tuple[ProblemAnnotation, ...]
    summary: str  # status bar: "GPT 372 mJ · A100-SXM4-80GB"
