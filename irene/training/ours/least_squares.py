"""Nonlinear least squares with a prior on each coefficient (Levenberg and Marquardt)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from irene.energy.predicted.formula import Floats

_STEP = 1e-5
_LONGEST = 2.0
"""Coefficients are logarithms: one step changes none by more than e to this."""
_N_DAMPINGS = 12
_ENOUGH = 1e-9


def fit(
    model: Callable[[Floats], Floats],
    start: Floats,
    target: Floats,
    stiffness: Floats,
    n_steps: int = 60,
) -> Floats:
    """The coefficients that bring `model` nearest to `target`.

    Args:
        model: coefficients to predictions.
        start: first guess, and centre of the prior.
        target: what is to be met.
        stiffness: of the prior, against a squared error of 1 in one row.
        n_steps: at most.

    Raises:
        ValueError: the target or the first predictions are not finite.
    """
    damping, now = 1e-2, start.astype(float).copy()

    def cost(at: Floats) -> float:
        error = model(at) - target
        return float(error @ error + stiffness @ (at - start) ** 2)

    best = cost(now)
    if not np.isfinite(best):
        raise ValueError("the first guess has no finite cost")
    for _ in range(n_steps):
        slope, curvature = _derivatives(model, now, target)
        slope = slope + stiffness * (now - start)
        curvature = curvature + np.diag(stiffness)
        for _ in range(_N_DAMPINGS):
            damped = curvature + damping * np.diag(np.diag(curvature))
            step = np.clip(np.linalg.solve(damped, -slope), -_LONGEST, _LONGEST)
            trial = cost(now + step)
            if trial < best:
                break
            damping *= 4.0
        else:
            return now
        gained, best, now = best - trial, trial, now + step
        damping = max(damping / 4.0, 1e-9)
        if gained < _ENOUGH * (1.0 + best):
            break
    return now


def _derivatives(
    model: Callable[[Floats], Floats], at: Floats, target: Floats
) -> tuple[Floats, Floats]:
    here = model(at)
    jacobian = np.empty((len(target), len(at)))
    for place in range(len(at)):
        moved = at.copy()
        moved[place] += _STEP
        jacobian[:, place] = (model(moved) - here) / _STEP
    return jacobian.T @ (here - target), jacobian.T @ jacobian
