"""From a document to its estimates: the one path that the editor and the command line take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from irene.energy.prices import PricedNode
from irene.source.targets import Target
from irene.tree import Trace
from irene.worker.protocol import Profile, Progress, Refusal

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A target with its price on a device; `profile` where it was run on that device."""

    target: Target
    device_id: str
    device_name: str
    trace: Trace
    priced: PricedNode
    profile: Profile | None
    profiled_elsewhere: tuple[str, ...]  # other device ids with a stored profile


@dataclass(frozen=True, slots=True)
class Refused:
    """A target that has no estimate, and why."""

    target: Target
    refusal: Refusal


Outcome = Estimate | Refused
