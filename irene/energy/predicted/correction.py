"""The small interface of what is learned beside the physics, and a mean of several."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from irene.energy.predicted.process import Floats


class Correction(Protocol):
    """What is learned of the logarithm that the physics leaves over."""

    def correct(
        self, features: Floats, signatures: Sequence[Hashable]
    ) -> tuple[Floats, Floats]: ...


@dataclass(frozen=True, slots=True)
class Blend:
    """The mean of several corrections; the first knows how sure it is."""

    parts: tuple[Correction, ...]

    def correct(self, features: Floats, signatures: Sequence[Hashable]) -> tuple[Floats, Floats]:
        """Mean of the means, deviation of the first."""
        found = [part.correct(features, signatures) for part in self.parts]
        mean: Floats = np.mean([mean for mean, _ in found], axis=0)
        return mean, found[0][1]
