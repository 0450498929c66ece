"""Scales of a Gaussian process by its marginal likelihood, then the process itself."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from irene.energy.predicted.formula import Floats
from irene.energy.predicted.process import GaussianProcess, Scales, condition, distances, matern

_MOST_ROWS = 400
"""For the search of scales; the process then gets all rows."""
_USUAL_LENGTH, _USUAL_SIGNATURE = math.log(2.0), math.log(0.005)
_FIRST_STEP, _LAST_STEP, _N_ROUNDS = 0.7, 0.08, 24


def fit_process(
    features: Floats,
    residuals: Floats,
    groups: tuple[int, ...],
    noise: float,
    n_measured: Floats,
    signatures: Sequence[Hashable],
) -> GaussianProcess:
    """The process of residuals that physics left, with the scales that make them likeliest."""
    chosen = np.arange(len(residuals))
    if len(chosen) > _MOST_ROWS:
        chosen = np.random.RandomState(0).permutation(len(residuals))[:_MOST_ROWS]
    search = _Search(
        features[chosen], residuals[chosen], groups, noise**2 / n_measured[chosen] + 1e-10
    )
    scales = search.best(noise)
    return condition(scales, groups, features, residuals, n_measured, signatures)


class _Search:
    """Coordinate search over logarithms of amplitude, signature part and lengths."""

    def __init__(
        self, features: Floats, residuals: Floats, groups: tuple[int, ...], variances: Floats
    ) -> None:
        self._residuals, self._variances = residuals, variances
        self._n_lengths = max(groups) + 1
        unit = Scales(1.0, 0.0, 0.0, (1.0,))
        self._squares = [
            distances(columns, columns, (0,) * columns.shape[1], unit)
            for group in range(self._n_lengths)
            for columns in (features[:, [place for place, it in enumerate(groups) if it == group]],)
        ]

    def best(self, noise: float) -> Scales:
        """The likeliest scales."""
        spread = max(float(np.std(self._residuals)), 1e-3)
        now = np.array([math.log(spread), _USUAL_SIGNATURE, *[_USUAL_LENGTH] * self._n_lengths])
        steps, best = np.full(len(now), _FIRST_STEP), self._cost(now)
        for _ in range(_N_ROUNDS):
            for place in range(len(now)):
                for sign in (1.0, -1.0):
                    trial = now.copy()
                    trial[place] += sign * steps[place]
                    cost = self._cost(trial) if _is_allowed(trial) else math.inf
                    if cost < best - 1e-3:
                        best, now = cost, trial
                        break
                else:
                    steps[place] *= 0.5
            if steps.max() < _LAST_STEP:
                break
        amplitude, signature, *lengths = np.exp(now).tolist()
        return Scales(amplitude, signature, noise, tuple(lengths))

    def _cost(self, at: Floats) -> float:
        """Minus the logarithm of the likelihood, with a weak prior on the scales."""
        scales = Scales(math.exp(at[0]), 0.0, 0.0, ())
        squared = sum(
            square * math.exp(-2.0 * length)
            for square, length in zip(self._squares, at[2:], strict=True)
        )
        covariance = matern(np.asarray(squared), scales)
        covariance[np.diag_indices_from(covariance)] += math.exp(2.0 * at[1]) + self._variances
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return math.inf
        white = np.linalg.solve(factor, self._residuals)
        prior = 0.5 * (at[1] - _USUAL_SIGNATURE) ** 2 + ((at[2:] - _USUAL_LENGTH) ** 2).sum()
        return float(0.5 * white @ white + np.log(np.diag(factor)).sum() + prior)


def _is_allowed(at: Floats) -> bool:
    amplitude, signature, lengths = at[0], at[1], at[2:]
    return bool(
        math.log(1e-3) < amplitude < 0.0
        and math.log(1e-3) <= signature <= math.log(0.2)
        and (lengths > -2.0).all()
        and (lengths < 1.0).all()
    )
