"""A predictor moved to another machine by a few measured rows of it.

The rows say how much dearer a launch, a FLOP and a byte are there; all kinds of units share
these, each may differ from them a little. What was learned beside the physics stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from irene.energy.predicted.formula import Floats, UnitLaw
from irene.energy.predicted.predictor import Interval, Predictor
from irene.errors import DatasetError
from irene.training.ours.least_squares import fit
from irene.training.ours.observations import Observation
from irene.training.ours.rows import predict_rows

_LAUNCH, _FLOP, _BYTE = range(3)
_N_SHARED = 3
_KINDS = ("linear", "matmul", "softmax", "layer_norm", "embedding", "streamed", "copied")
_SHARED_STIFFNESS, _OWN_STIFFNESS = 1e-3, 0.2
"""Against a squared error of 1 in one row: machines differ by factors, kinds by some 10 %."""
_LEAST_DEVIATION = 0.03
"""Of a moved predictor, beside that of where it comes from."""
MIN_ROWS = 5


def moved(source: Predictor, rows: Sequence[Observation], n_multiprocessors: int) -> Predictor:
    """The source predictor with coefficients for the machine that `rows` were measured on.

    Raises:
        DatasetError: too few rows.
    """
    if len(rows) < MIN_ROWS:
        raise DatasetError(
            f"{len(rows)} measured rows of the new machine; at least {MIN_ROWS} are needed, "
            "modules and primitives"
        )
    start = replace(source, n_multiprocessors=n_multiprocessors)
    logs = np.log([row.energy_j for row in rows])
    shifts = np.zeros(_N_SHARED + len(_KINDS))
    stiffness = np.array([*[_SHARED_STIFFNESS] * _N_SHARED, *[_OWN_STIFFNESS] * len(_KINDS)])
    found = fit(lambda at: predict_rows(_shifted(start, at), rows).mean, shifts, logs, stiffness)
    there = _shifted(start, found)
    left = predict_rows(there, rows).mean - logs
    spread = max(_LEAST_DEVIATION, float(np.sqrt(np.mean(left**2))))
    intervals = {
        level: Interval(it.factor, max(it.floor, spread)) for level, it in source.intervals.items()
    }
    return replace(there, intervals=intervals)


def _shifted(predictor: Predictor, at: Floats) -> Predictor:
    """Coefficients moved by logarithms: launch, FLOP and byte, then each kind by its own."""
    own = dict(zip(_KINDS, at[_N_SHARED:], strict=True))
    units = {
        kind: replace(model, law=_unit_law(model.law, at, kind, float(own.get(kind, 0.0))))
        for kind, model in predictor.units.items()
    }
    law = predictor.modules.law
    modules = replace(
        predictor.modules,
        law=replace(
            law,
            streamed=law.streamed + at[_BYTE] + own["streamed"],
            copied=law.copied + at[_BYTE] + own["copied"],
            kernel=law.kernel + at[_LAUNCH],
            kernel_launch=law.kernel_launch + at[_LAUNCH],
            unit_launch=law.unit_launch + at[_LAUNCH],
        ),
    )
    return replace(predictor, units=units, modules=modules)


def _unit_law(law: UnitLaw, at: Floats, kind: str, own: float) -> UnitLaw:
    first, second, *rest = law.work
    busy = at[_FLOP] if kind in ("linear", "matmul") else at[_BYTE]
    work = (first + busy + own, second + busy + own, *(it + at[_BYTE] + own for it in rest))
    return UnitLaw(law.launch + float(at[_LAUNCH]), law.sharpness, tuple(float(it) for it in work))
