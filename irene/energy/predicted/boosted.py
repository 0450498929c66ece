"""Boosted trees on the logarithm of what the physics leaves over, evaluated with numpy.

xgboost trains them; their splits are kept as arrays, each tree filled up to its full depth,
so that predicting needs no xgboost. Trees do not know how far a node is from their training
data: the standard deviation is one number.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irene.energy.predicted.process import Floats

DEPTH = 3


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """Trees of depth 3: node i has the children 2i + 1 (below the threshold) and 2i + 2."""

    splits: NDArray[np.intp]  # (trees, 7), which feature
    thresholds: NDArray[np.float32]  # (trees, 7)
    leaves: Floats  # (trees, 8)
    deviation: float

    def correct(self, features: Floats, signatures: Sequence[Hashable]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the correction."""
        del signatures
        narrow = features.astype(np.float32)  # as xgboost compares them
        trees = np.arange(len(self.splits))
        nodes = np.zeros((len(features), len(trees)), dtype=np.intp)
        rows = np.arange(len(features))[:, None]
        for _ in range(DEPTH):
            values = narrow[rows, self.splits[trees, nodes]]
            nodes = 2 * nodes + 1 + (values >= self.thresholds[trees, nodes])
        mean = self.leaves[trees, nodes - (2**DEPTH - 1)].sum(axis=1)
        return mean, np.full(len(mean), self.deviation)
