"""Intervals that hold: how many deviations cover 90 % of rows of models that were left out.

Within the training data each model is left out once; its errors, in deviations that the
predictor itself gave, say how many are needed. No interval is narrower than repeated
measurements of one signature scatter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from irene.energy.predicted.formula import Floats
from irene.energy.predicted.predictor import Interval, Level, LogPrices, Predictor
from irene.training.measurements import LEVELS
from irene.training.ours.medians import medians
from irene.training.ours.observations import Observation
from irene.training.ours.rows import predict_rows
from irene.training.splits import N_SIZE_FOLDS, size_folds

COVERED = 0.90
_CAUTION: dict[Level, float] = {"ml": 0.0, "module": 0.25, "model": 0.75}
"""From the quantile over all rows (0) to that of the worst model (1). Rows of one model err
together, the more so the higher the level, so that few models say little about the next."""
_USUAL_FACTOR = 2.0
"""Where a single model was measured, so that none can be left out."""
_FACTOR_RANGE = (1.0, 4.0)

Fit = Callable[[Sequence[Observation]], Predictor]


def calibrated(predictor: Predictor, rows: Sequence[Observation], fit: Fit) -> Predictor:
    """The predictor with intervals calibrated on models left out of `rows`."""
    floors = repeatability(rows)
    errors = _errors_of_left_out(rows, fit, floors)
    intervals = {
        level: Interval(_factor(errors[level], _CAUTION[level]), floors[level]) for level in LEVELS
    }
    return replace(predictor, intervals=intervals)


def repeatability(rows: Sequence[Observation]) -> dict[Level, float]:
    """Standard deviation of one measurement's logarithm around others of its signature."""
    return {
        level: medians(
            [row for row in rows if row.level == level],
            lambda row: row.signature,
            lambda row: row.energy_j,
        ).noise
        for level in LEVELS
    }


def _errors_of_left_out(
    rows: Sequence[Observation], fit: Fit, floors: dict[Level, float]
) -> dict[Level, list[Floats]]:
    """Errors in deviations, by level, an array for each model."""
    errors: dict[Level, list[Floats]] = {level: [] for level in LEVELS}
    models = list(dict.fromkeys(row.model_name for row in rows))
    if len(models) < 2:
        return errors
    number = size_folds([row.cell for row in rows])
    for place, model in enumerate(models):
        tested = [row for row in rows if row.model_name == model]
        training = [
            row
            for row in rows
            if row.model_name != model and number[row.cell[1:]] != place % N_SIZE_FOLDS
        ]
        found = predict_rows(fit(training), tested)
        for level, scaled in _scaled(tested, found, floors).items():
            errors[level].append(scaled)
    return errors


def _scaled(
    rows: Sequence[Observation], found: LogPrices, floors: dict[Level, float]
) -> dict[Level, Floats]:
    logs = np.log([row.energy_j for row in rows])
    levels = np.array([row.level for row in rows])
    return {
        level: np.abs(found.mean - logs)[chosen]
        / np.maximum(found.deviation[chosen], floors[level])
        for level in LEVELS
        for chosen in (levels == level,)
    }


def _factor(errors: Sequence[Floats], caution: float) -> float:
    """The 90 % quantile, every model with one voice, on the way to that of the worst model."""
    errors = [it for it in errors if len(it)]
    if not errors:
        return _USUAL_FACTOR
    worst = max(float(np.quantile(it, COVERED)) for it in errors)
    factor = (1.0 - caution) * _pooled_quantile(errors) + caution * worst
    return float(np.clip(factor, *_FACTOR_RANGE))


def _pooled_quantile(errors: Sequence[Floats]) -> float:
    values = np.concatenate(errors)
    weights = np.concatenate([np.full(len(it), 1.0 / len(it)) for it in errors])
    order = np.argsort(values)
    shares = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(shares, COVERED)), len(values) - 1)
    return float(values[order][place])
