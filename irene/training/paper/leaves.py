"""One least-squares regression per primitive type: features to joules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from irene.errors import DatasetError, PredictorError
from irene.training.paper.config import FeatureSet, PaperConfig
from irene.training.paper.scaling import Scaler, fit_scaler, identity_scaler
from irene.training.paper.table import Floats, NodeTable, select


@dataclass(frozen=True, slots=True)
class LeafRegressor:
    """An ordinary least-squares regression with intercept."""

    scaler: Scaler
    coefficients: Floats
    intercept_j: float


Leaves = Mapping[str, LeafRegressor]


def fit_leaves(table: NodeTable, config: PaperConfig) -> Leaves:
    """The regressors of all primitive types in the table.

    Raises:
        DatasetError: no primitive with an energy to train on.
    """
    known = table.is_leaf & ~np.isnan(table.energy_j)
    columns = select(table, config.feature_sets, known)
    kinds = np.array(table.kinds)
    regressors = {
        str(kind): _fit(columns[rows], table.energy_j[rows], config)
        for kind in np.unique(kinds[known])
        for rows in (known & (kinds == kind),)
    }
    if not regressors:
        raise DatasetError("no measured primitive (type ml or ml-np) to train on")
    return regressors


def _fit(columns: Floats, energy_j: Floats, config: PaperConfig) -> LeafRegressor:
    standardised = config.standardize_features
    scaler = fit_scaler(columns) if standardised else identity_scaler(columns.shape[1])
    scaled = scaler.apply(columns)
    centre, mean_j = scaled.mean(axis=0), float(energy_j.mean())
    solution, *_ = np.linalg.lstsq(scaled - centre, energy_j - mean_j, rcond=None)
    return LeafRegressor(scaler, solution, mean_j - float(centre @ solution))


def predict_leaves(table: NodeTable, leaves: Leaves, sets: Sequence[FeatureSet]) -> Floats:
    """Joules of every leaf; 0 at inner nodes, which are the sum of their children.

    Raises:
        PredictorError: a primitive type that the training data did not have.
    """
    columns = select(table, sets, table.is_leaf)
    kinds = np.array(table.kinds)
    unseen = sorted(set(kinds[table.is_leaf].tolist()) - set(leaves))
    if unseen:
        raise PredictorError(
            f"no regressor for {', '.join(unseen)}: the training data had only "
            f"{', '.join(sorted(leaves))}; train on data with it, or use --method ours"
        )
    predicted = np.zeros(len(kinds))
    for kind, regressor in leaves.items():
        rows = table.is_leaf & (kinds == kind)
        scaled = regressor.scaler.apply(columns[rows])
        predicted[rows] = scaled @ regressor.coefficients + regressor.intercept_j
    return predicted
