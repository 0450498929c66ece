"""Standardising and polynomial features, as scikit-learn does them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from irene.training.paper.table import Floats

DEGREE = 3


@dataclass(frozen=True, slots=True)
class Scaler:
    """Mean and standard deviation per column; a constant column keeps its scale."""

    mean: Floats
    std: Floats

    def apply(self, columns: Floats) -> Floats:
        """Columns with mean 0 and deviation 1 over the rows that the scaler was fitted on."""
        scaled: Floats = (columns - self.mean) / self.std
        return scaled


def fit_scaler(columns: Floats) -> Scaler:
    """The scaler of `columns`, each row counted."""
    std = columns.std(axis=0)
    return Scaler(columns.mean(axis=0), np.where(std > 0.0, std, 1.0))


def identity_scaler(n_columns: int) -> Scaler:
    """Leaves columns as they are."""
    return Scaler(np.zeros(n_columns), np.ones(n_columns))


def polynomials(columns: Floats) -> NDArray[np.float32]:
    """The constant and all monomials up to the third degree: 14 -> 680, 6 -> 84 columns."""
    n_rows, n_columns = columns.shape
    narrow = columns.astype(np.float32).T
    products: dict[tuple[int, ...], NDArray[np.float32]] = {(): np.ones(n_rows, dtype=np.float32)}
    for degree in range(1, DEGREE + 1):
        for chosen in combinations_with_replacement(range(n_columns), degree):
            products[chosen] = products[chosen[:-1]] * narrow[chosen[-1]]
    return np.array(list(products.values()), dtype=np.float32).T.copy()
