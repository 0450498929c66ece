"""Wall energy of nodes that were run: `a * E_gpu + P * t`, two numbers per machine.

A small correction of the logarithm, linear in time and power, with its own constant for
each level and kind of unit, takes up what differs between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irene.energy.predicted.formula import UNIT_KINDS, Floats
from irene.energy.predicted.predictor import Interval, Level
from irene.errors import DatasetError
from irene.training.measurements import LEVELS
from irene.training.ours.intervals import COVERED, repeatability
from irene.training.ours.observations import Observation

_STIFFNESS = 1.0
_TIME_CENTRE, _TIME_UNIT, _POWER_CENTRE = -7.0, 2.0, 4.7
"""Logarithms of a millisecond and of 110 W, where the measurements lie."""


@dataclass(frozen=True, slots=True)
class WallLayer:
    """The wall energy of a machine from what its driver and clock say."""

    a: float  # per joule of the driver
    base_w: float
    correction: Floats
    intervals: dict[Level, Interval]

    def log_prices(self, rows: Sequence[Observation]) -> Floats:
        """Logarithms of joules of rows that were run."""
        result: Floats = _base(rows, self.a, self.base_w) + _columns(rows) @ self.correction
        return result


def fit_wall(rows: Sequence[Observation]) -> WallLayer:
    """The wall layer of a machine, from rows that were run.

    Raises:
        DatasetError: none was run.
    """
    run = [row for row in rows if was_run(row)]
    measured = list({(row.cell, row.signature): row for row in run}.values())
    if not measured:
        raise DatasetError("no row with times_mean and gpu_energy_mean: nothing was profiled")
    energy_j = np.array([row.energy_j for row in measured])
    parts = np.array([(row.gpu_energy_j, row.time_s) for row in measured])
    (a, base_w), *_ = np.linalg.lstsq(parts / energy_j[:, None], np.ones(len(measured)), rcond=None)
    left = np.log(energy_j) - _base(measured, a, base_w)
    columns = _columns(measured)
    normal = columns.T @ columns + _STIFFNESS * np.eye(columns.shape[1])
    correction = np.linalg.solve(normal, columns.T @ left)
    errors = np.abs(left - columns @ correction)
    floors = repeatability(run)
    levels = np.array([row.level for row in measured])
    intervals = {level: _interval(errors[levels == level], floors[level]) for level in LEVELS}
    return WallLayer(float(a), float(base_w), correction, intervals)


def was_run(row: Observation) -> bool:
    """Whether the driver's energy and the time of a row are known."""
    return row.time_s > 0.0 and row.gpu_energy_j > 0.0


def _interval(errors: Floats, floor: float) -> Interval:
    """As wide as 90 % of the errors; where there are none, as the meter repeats."""
    half_width = float(np.quantile(errors, COVERED)) if len(errors) else 2.0 * floor
    return Interval(1.0, half_width)


def _base(rows: Sequence[Observation], a: float, base_w: float) -> Floats:
    parts = np.array([(row.gpu_energy_j, row.time_s) for row in rows])
    return np.log(a * parts[:, 0] + base_w * parts[:, 1])


def _columns(rows: Sequence[Observation]) -> Floats:
    times = np.log([row.time_s for row in rows])
    powers = np.log([row.gpu_energy_j for row in rows]) - times
    ones = np.ones(len(rows))
    slopes = np.array([ones, (times - _TIME_CENTRE) / _TIME_UNIT, powers - _POWER_CENTRE]).T
    kinds = np.array([row.unit.kind if row.unit else row.level for row in rows])
    constants = [slopes[:, :1] * (kinds == level)[:, None] for level in LEVELS[1:]]
    own = [slopes * (kinds == kind)[:, None] for kind in UNIT_KINDS]
    return np.hstack([slopes, *constants, *own])
