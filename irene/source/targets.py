"""Which class is built, with which arguments, on which inputs, and who said so.

Order of precedence, everywhere: a comment above the class, `[tool.irene]` of
`pyproject.toml`, the editor's settings or the command line's options, a Transformers
config, the constructor's defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from irene.worker.protocol import BuildSpec

Origin = Literal["comment", "pyproject.toml", "settings", "option", "config", "default"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value and who chose it; `where` is for people: "pyproject.toml, line 12"."""

    value: str
    origin: Origin
    where: str


@dataclass(frozen=True, slots=True)
class Options:
    """What the editor's settings or the command line's options say; None: nothing."""

    origin: Origin  # "settings" or "option"
    device: str | None = None
    batch_size: int | None = None
    sequence_length: int | None = None
    dtype: str | None = None
    attention: str | None = None
    predictor: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A class of a file that can be tried, and how."""

    class_name: str  # qualified in the file; "" for a bare config folder
    build: BuildSpec
    device: Chosen
    batch_size: Chosen
    sequence_length: Chosen
    dtype: Chosen
    attention: Chosen
    arguments: Chosen  # value: as shown to people
    inputs: Chosen
