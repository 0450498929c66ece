"""Energies of inner nodes from those of their children, by weights that are trained.

    P(n) = sum over children c of w(c) * P(c)        w(c) from the features of c

Trees are held level by level, children of one parent side by side, so that sums over
children and gradients are a few array operations per level, never a loop over nodes.
Gradients are written out; the optimiser is Adam as PyTorch has it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from irene.errors import DatasetError
from irene.training.paper.config import PaperConfig
from irene.training.paper.scaling import Scaler, fit_scaler, identity_scaler, polynomials
from irene.training.paper.table import Floats, NodeTable, Places, select

_log = logging.getLogger(__name__)

LEARNING_RATE = 1e-3
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class Weights:
    """One parameter vector for all nodes, and the scaler of their features."""

    scaler: Scaler
    slope: Floats
    intercept: float


@dataclass(frozen=True, slots=True)
class _Level:
    """Nodes of one depth, and where the children of each parent begin among them."""

    nodes: Places
    starts: Places
    parents: Places  # one for each start


@dataclass(frozen=True, slots=True)
class _Forest:
    """Some trees: their levels from the deepest up, inner nodes, rows of the features."""

    levels: tuple[_Level, ...]
    rows: Places  # of the distinct features, for each node
    distinct: NDArray[np.float32]  # distinct features with their monomials
    leaf_j: Floats
    energy_j: Floats
    scored: NDArray[np.bool_]  # inner nodes with a known energy


def aggregate(
    table: NodeTable, leaf_j: Floats, weights: Weights | None, config: PaperConfig
) -> Floats:
    """Energies of all nodes: leaves keep `leaf_j`, inner nodes are made from their children."""
    nodes = np.arange(len(table.parents))
    if weights is None:
        factors = np.ones(len(nodes))
    else:
        rows, distinct = _distinct(table, config, weights.scaler)
        scores = distinct @ weights.slope.astype(np.float32) + np.float32(weights.intercept)
        factors = _weighting(config)(scores.astype(float))[0][rows]
        if config.training_strategy == "unstructured":
            return np.where(table.is_leaf, leaf_j, factors)
    return _sum_up(_levels(table, nodes), leaf_j, factors)


def fit_weights(table: NodeTable, leaf_j: Floats, config: PaperConfig, seed: int) -> Weights | None:
    """The trained weights; None for the strategy that trains nothing.

    Raises:
        DatasetError: no inner node with an energy to train on.
    """
    if config.training_strategy == "none" or config.weighting_setting == "exact_one":
        return None
    columns = _columns(table, config)
    scaler = (
        fit_scaler(columns) if config.standardize_features else identity_scaler(columns.shape[1])
    )
    rows, distinct = _distinct(table, config, scaler)
    forests = _forests(table, leaf_j, rows, distinct)
    if not forests:
        raise DatasetError("no measured module or model to train the weights on")
    theta = _start(distinct.shape[1], seed)
    optimiser = _Adam(np.zeros_like(theta), np.zeros_like(theta))
    for epoch in range(config.num_epochs):
        losses = []
        for forest in forests:
            loss, gradient = _loss(forest, theta, config)
            theta = optimiser.step(theta, gradient)
            losses.append(loss)
        if config.log_train_diff:
            _log.info("epoch %d: mean loss of a tree %.6g", epoch + 1, float(np.mean(losses)))
    if not np.isfinite(theta).all():
        raise DatasetError("the weights do not settle: a feature or energy is far out of range")
    return Weights(scaler, theta[:-1], float(theta[-1]))


def _columns(table: NodeTable, config: PaperConfig) -> Floats:
    return select(table, config.feature_sets, np.ones(len(table.parents), dtype=bool))


def _start(n_columns: int, seed: int) -> Floats:
    """A `torch.nn.Linear(n_columns, 1)` as it starts: uniform within 1 / sqrt(n)."""
    limit = 1.0 / np.sqrt(n_columns)
    return np.random.default_rng(seed).uniform(-limit, limit, n_columns + 1)


def _distinct(
    table: NodeTable, config: PaperConfig, scaler: Scaler
) -> tuple[Places, NDArray[np.float32]]:
    """Each node's row among the distinct features, and these with their monomials."""
    columns = _columns(table, config)
    distinct, rows = np.unique(columns, axis=0, return_inverse=True)
    scaled = scaler.apply(distinct)
    if config.polynomial_features:
        return rows.ravel(), polynomials(scaled)
    return rows.ravel(), scaled.astype(np.float32)


def _levels(table: NodeTable, nodes: Places) -> tuple[_Level, ...]:
    """Levels below the roots, from the deepest up; indices are places in `nodes`."""
    parents, depths = table.parents[nodes] - nodes[0], table.depths[nodes]
    levels = []
    for depth in range(int(depths.max(initial=0)), 0, -1):
        places = np.flatnonzero(depths == depth)
        places = places[np.argsort(parents[places], kind="stable")]
        owners, starts = np.unique(parents[places], return_index=True)
        levels.append(_Level(places, starts, owners))
    return tuple(levels)


def _forests(
    table: NodeTable, leaf_j: Floats, rows: Places, distinct: NDArray[np.float32]
) -> Sequence[_Forest]:
    """One for each tree with a scored node: a training step each, in file order."""
    forests = []
    bounds = np.flatnonzero(np.diff(table.cells, prepend=-1, append=-1))
    for first, last in pairwise(bounds):
        nodes = np.arange(first, last)
        scored = ~table.is_leaf[nodes] & ~np.isnan(table.energy_j[nodes])
        if not scored.any():
            continue
        own, own_rows = np.unique(rows[nodes], return_inverse=True)
        forests.append(
            _Forest(
                _levels(table, nodes),
                own_rows.ravel(),
                distinct[own],
                leaf_j[nodes],
                table.energy_j[nodes],
                scored,
            )
        )
    return forests


def _sum_up(levels: Sequence[_Level], leaf_j: Floats, factors: Floats) -> Floats:
    """Children times their factors, level by level."""
    energies = leaf_j.copy()
    for level in levels:
        parts = factors[level.nodes] * energies[level.nodes]
        energies[level.parents] = np.add.reduceat(parts, level.starts)
    return energies


def _loss(forest: _Forest, theta: Floats, config: PaperConfig) -> tuple[float, Floats]:
    """Sum over scored nodes of the (relative) squared error, and its gradient."""
    scores = (forest.distinct @ theta[:-1].astype(np.float32) + np.float32(theta[-1])).astype(float)
    factors, slopes = (it[forest.rows] for it in _weighting(config)(scores))
    below = _STRATEGIES[config.training_strategy]
    predicted = below(forest, factors)
    scale = np.where(forest.scored, forest.energy_j, 1.0) if config.normalize_loss_scale else 1.0
    error = np.where(forest.scored, (predicted - forest.energy_j) / scale, 0.0)
    outer = 2.0 * error / scale
    by_factor = _GRADIENTS[config.training_strategy](forest, factors, predicted, outer)
    by_score = np.bincount(forest.rows, by_factor * slopes, minlength=len(forest.distinct))
    gradient = np.append(by_score.astype(np.float32) @ forest.distinct, by_score.sum())
    return float(np.sum(error**2)), gradient


def _weighting(config: PaperConfig) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Scores to factors and to the slopes of these."""
    if config.weighting_setting == "free":
        return lambda scores: (scores, np.ones_like(scores))
    tau = config.tanh_scalar

    def close_to_one(scores: Floats) -> tuple[Floats, Floats]:
        bent = np.tanh(scores)
        return 1.0 + bent / tau, (1.0 - bent**2) / tau

    return close_to_one


def _end2end(forest: _Forest, factors: Floats) -> Floats:
    return _sum_up(forest.levels, forest.leaf_j, factors)


def _end2end_gradient(forest: _Forest, factors: Floats, predicted: Floats, outer: Floats) -> Floats:
    """From the roots down: an energy counts for itself and for all nodes above it."""
    by_energy, by_factor = outer.copy(), np.zeros_like(factors)
    for level in reversed(forest.levels):
        above = np.repeat(by_energy[level.parents], _lengths(level))
        by_factor[level.nodes] = above * predicted[level.nodes]
        by_energy[level.nodes] += above * factors[level.nodes]
    return by_factor


def _stepwise(forest: _Forest, factors: Floats) -> Floats:
    """Each node from the measured energies of its children."""
    energies = np.zeros_like(factors)
    for level in forest.levels:
        parts = factors[level.nodes] * forest.energy_j[level.nodes]
        energies[level.parents] = np.add.reduceat(parts, level.starts)
    return energies


def _stepwise_gradient(
    forest: _Forest, factors: Floats, predicted: Floats, outer: Floats
) -> Floats:
    del predicted
    by_factor = np.zeros_like(factors)
    for level in forest.levels:
        above = np.repeat(outer[level.parents], _lengths(level))
        by_factor[level.nodes] = above * forest.energy_j[level.nodes]
    return by_factor


def _unstructured(forest: _Forest, factors: Floats) -> Floats:
    del forest
    return factors


def _unstructured_gradient(
    forest: _Forest, factors: Floats, predicted: Floats, outer: Floats
) -> Floats:
    del forest, factors, predicted
    return outer


def _lengths(level: _Level) -> Places:
    return np.diff(level.starts, append=len(level.nodes))


_STRATEGIES = {"end2end": _end2end, "stepwise": _stepwise, "unstructured": _unstructured}
_GRADIENTS = {
    "end2end": _end2end_gradient,
    "stepwise": _stepwise_gradient,
    "unstructured": _unstructured_gradient,
}


class _Adam:
    """Adam with PyTorch's defaults; the invariant is the number of steps taken."""

    def __init__(self, mean: Floats, square: Floats) -> None:
        self._mean, self._square, self._n_steps = mean, square, 0

    def step(self, theta: Floats, gradient: Floats) -> Floats:
        """The parameters after one step down `gradient`."""
        first, second = _BETAS
        self._n_steps += 1
        self._mean = first * self._mean + (1.0 - first) * gradient
        self._square = second * self._square + (1.0 - second) * gradient**2
        mean = self._mean / (1.0 - first**self._n_steps)
        square = self._square / (1.0 - second**self._n_steps)
        return theta - LEARNING_RATE * mean / (np.sqrt(square) + _EPSILON)
