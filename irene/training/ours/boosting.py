"""Boosted trees of what the physics leaves over, trained with xgboost, kept as arrays."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from irene.energy.predicted.boosted import DEPTH, BoostedTrees
from irene.energy.predicted.correction import Blend
from irene.energy.predicted.formula import Floats
from irene.errors import PredictorError
from irene.training.ours.process_fitting import fit_process

_COMMON = {
    "eta": 0.1,
    "subsample": 0.8,
    "min_child_weight": 2,
    "base_score": 0.0,
    "seed": 0,
    "nthread": 1,
    "verbosity": 0,
}
_N_FOLDS = 4


@dataclass(frozen=True, slots=True)
class TreeFit:
    """How boosted trees are trained; calling it trains them."""

    depth: int
    n_trees: int
    stiffness: float  # xgboost's lambda: how much a leaf is held to 0

    def __call__(
        self,
        features: Floats,
        residuals: Floats,
        groups: tuple[int, ...],
        noise: float,
        n_measured: Floats,
        signatures: Sequence[Hashable],
    ) -> BoostedTrees:
        """The trees, with the deviation of errors on rows that were held out.

        Raises:
            PredictorError: xgboost is not installed.
        """
        del groups, signatures
        number = np.random.RandomState(0).permutation(len(residuals)) % _N_FOLDS
        errors = [
            self.train(features[kept], residuals[kept], n_measured[kept], 0.0).correct(
                features[~kept], ()
            )[0]
            - residuals[~kept]
            for kept in (number != k for k in range(_N_FOLDS))
            if kept.any() and not kept.all()
        ]
        spread = float(np.sqrt(np.mean(np.concatenate(errors) ** 2))) if errors else noise
        return self.train(features, residuals, n_measured, float(np.hypot(spread, noise)))

    def parameters(self) -> dict[str, object]:
        """As xgboost takes them."""
        return {**_COMMON, "max_depth": self.depth, "lambda": self.stiffness}

    def train(
        self, features: Floats, residuals: Floats, weights: Floats, deviation: float
    ) -> BoostedTrees:
        """The trees of all rows, with a deviation that is given."""
        package = _xgboost()
        data = package.DMatrix(features, label=residuals, weight=weights)
        booster = package.train(self.parameters(), data, self.n_trees)
        return trees_of(json.loads(booster.save_raw("json")), deviation)


DEEP = TreeFit(DEPTH, 150, 1.0)
"""Of units, whose sizes span a grid that is dense."""
SHALLOW = TreeFit(2, 100, 30.0)
"""Of modules: few kinds of them, so that deep trees learn which model a module is of."""


@dataclass(frozen=True, slots=True)
class BlendFit:
    """The mean of a Gaussian process, which says how sure it is, and of boosted trees."""

    trees: TreeFit
    share: float  # of the trees

    def __call__(
        self,
        features: Floats,
        residuals: Floats,
        groups: tuple[int, ...],
        noise: float,
        n_measured: Floats,
        signatures: Sequence[Hashable],
    ) -> Blend:
        """Both of the same rows.

        Raises:
            PredictorError: xgboost is not installed.
        """
        rest = (groups, noise, n_measured, signatures)
        process = fit_process(features, residuals, *rest)
        return Blend(process, self.trees(features, residuals, *rest), self.share)


def trees_of(model: Mapping[str, Any], deviation: float) -> BoostedTrees:
    """The trees of xgboost's own JSON, filled up to their full depth."""
    trees = [_filled(tree) for tree in model["learner"]["gradient_booster"]["model"]["trees"]]
    splits, thresholds, leaves = (list(part) for part in zip(*trees, strict=True))
    return BoostedTrees(
        np.array(splits, dtype=np.intp),
        np.array(thresholds, dtype=np.float32),
        np.array(leaves, dtype=float),
        deviation,
    )


def _filled(tree: Mapping[str, Any]) -> tuple[list[int], list[float], list[float]]:
    """Splits and thresholds level by level, then leaves; an early leaf is repeated below."""
    splits, thresholds = [], []
    level = [0]
    for _ in range(DEPTH):
        below = []
        for node in level:
            is_leaf = tree["left_children"][node] < 0
            splits.append(0 if is_leaf else int(tree["split_indices"][node]))
            thresholds.append(np.inf if is_leaf else float(tree["split_conditions"][node]))
            left, right = tree["left_children"][node], tree["right_children"][node]
            below += [node, node] if is_leaf else [left, right]
        level = below
    return splits, thresholds, [float(tree["split_conditions"][node]) for node in level]


def _xgboost() -> Any:  # noqa: ANN401 - xgboost has no types
    try:
        import xgboost  # noqa: PLC0415 - loaded when trees are trained
    except ImportError as err:
        raise PredictorError(
            "boosted trees are trained with xgboost: install irene-energy[server]"
        ) from err
    return xgboost
