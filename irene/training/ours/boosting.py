"""Fits boosted trees to what the physics leaves over."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from irene.energy.predicted.boosted import BoostedTrees, xgboost
from irene.energy.predicted.formula import Floats

_PARAMETERS = {
    "max_depth": 3,
    "eta": 0.1,
    "subsample": 0.8,
    "min_child_weight": 2,
    "lambda": 1.0,
    "seed": 0,
    "nthread": 1,
    "verbosity": 0,
}
_N_TREES, _N_FOLDS = 150, 4


def fit_trees(
    features: Floats,
    residuals: Floats,
    groups: tuple[int, ...],
    noise: float,
    n_measured: Floats,
    signatures: Sequence[Hashable],
) -> BoostedTrees:
    """The trees, with the deviation of errors on rows that were held out."""
    del groups, signatures
    number = np.random.RandomState(0).permutation(len(residuals)) % _N_FOLDS
    errors = [
        _train(features[number != k], residuals[number != k], n_measured[number != k]).correct(
            features[number == k], ()
        )[0]
        - residuals[number == k]
        for k in range(_N_FOLDS)
        if (number == k).any() and (number != k).any()
    ]
    whole = _train(features, residuals, n_measured)
    spread = float(np.sqrt(np.mean(np.concatenate(errors) ** 2))) if errors else noise
    return BoostedTrees(whole.json, float(np.hypot(spread, noise)))


def _train(features: Floats, residuals: Floats, weights: Floats) -> BoostedTrees:
    package = xgboost()
    data = package.DMatrix(features, label=residuals, weight=weights)
    booster = package.train({**_PARAMETERS, "base_score": 0.0}, data, _N_TREES)
    return BoostedTrees(booster.save_raw("json").decode("utf-8"), 0.0)
