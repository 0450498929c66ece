"""The small interface of what is learned beside the physics, and a mean of two."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from irene.energy.predicted.process import Floats


class Correction(Protocol):
    """What is learned of the logarithm that the physics leaves over."""

    def correct(
        self, features: Floats, signatures: Sequence[Hashable]
    ) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True, slots=True)
class Blend:
    """A weighted mean of two corrections; the first knows how sure it is."""

    first: Correction
    second: Correction
    share: float  # of the second

    def correct(self, features: Floats, signatures: Sequence[Hashable]) -> tuple[Floats, Floats]:
        """Mean of the means, deviation of the first."""
        mean, deviation = self.first.correct(features, signatures)
        other, _ = self.second.correct(features, signatures)
        return (1.0 - self.share) * mean + self.share * other, deviation
