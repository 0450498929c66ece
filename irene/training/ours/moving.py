"""A predictor moved to another machine by a few measured rows of it.

The rows say how much dearer a launch, a FLOP and a byte are there; all kinds of units share
these, each may differ from them a little. What was learned beside the physics is half
believed: part of it belongs to the operations, part to the machine that it was learned on.
Seconds are moved as joules are, by the times of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from irene.energy.predicted.boosted import BoostedTrees
from irene.energy.predicted.correction import Blend, Correction
from irene.energy.predicted.formula import Floats, UnitLaw
from irene.energy.predicted.predictor import Interval, Level, ModuleModel, Predictor, UnitModel
from irene.energy.predicted.process import GaussianProcess
from irene.errors import DatasetError
from irene.training.measurements import LEVELS
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
_BELIEVED = 0.5
_N_FOLDS = 5
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
    start = _half_believed(replace(source, n_multiprocessors=n_multiprocessors))
    logs = np.log([row.energy_j for row in rows])
    there = _nearest(start, rows, logs)
    spreads = _spreads(start, rows, logs)
    intervals = {
        level: Interval(it.factor, spreads[level]) for level, it in source.intervals.items()
    }
    timed = [row for row in rows if row.time_s > 0.0]
    if len(timed) >= MIN_ROWS and start.modules.time_law is not None:
        seconds = _nearest(_of_times(start), timed, np.log([row.time_s for row in timed]))
        there = _with_times(there, seconds)
    return replace(there, intervals=intervals)


def _spreads(start: Predictor, rows: Sequence[Observation], logs: Floats) -> dict[Level, float]:
    """By level, how far off rows are that were left out; where a level has none, the widest."""
    number = np.arange(len(rows)) % _N_FOLDS
    errors = np.empty(len(rows))
    for k in range(_N_FOLDS):
        kept = [row for row, fold in zip(rows, number, strict=True) if fold != k]
        left_out = [row for row, fold in zip(rows, number, strict=True) if fold == k]
        near = _nearest(start, kept, logs[number != k])
        errors[number == k] = predict_rows(near, left_out).mean - logs[number == k]
    levels = np.array([row.level for row in rows])
    known = {
        level: max(_LEAST_DEVIATION, float(np.sqrt(np.mean(errors[levels == level] ** 2))))
        for level in LEVELS
        if (levels == level).any()
    }
    return {level: known.get(level, max(known.values())) for level in LEVELS}


def _nearest(start: Predictor, rows: Sequence[Observation], logs: Floats) -> Predictor:
    """The predictor with the coefficients that bring it nearest to what was measured."""
    shifts = np.zeros(_N_SHARED + len(_KINDS))
    stiffness = np.array([*[_SHARED_STIFFNESS] * _N_SHARED, *[_OWN_STIFFNESS] * len(_KINDS)])
    found = fit(lambda at: predict_rows(_shifted(start, at), rows).mean, shifts, logs, stiffness)
    return _shifted(start, found)


def _half_believed(predictor: Predictor) -> Predictor:
    units = {
        kind: replace(model, correction=_half(model.correction))
        for kind, model in predictor.units.items()
    }
    modules = replace(predictor.modules, correction=_half(predictor.modules.correction))
    return replace(predictor, units=units, modules=modules)


def _half(correction: Correction | None) -> Correction | None:
    match correction:
        case GaussianProcess():
            return replace(correction, alpha=_BELIEVED * correction.alpha)
        case BoostedTrees():
            return replace(correction, leaves=_BELIEVED * correction.leaves)
        case Blend():
            first, second = _half(correction.first), _half(correction.second)
            assert first is not None
            assert second is not None
            return Blend(first, second, correction.share)
    return correction


def _of_times(predictor: Predictor) -> Predictor:
    """The physics of seconds in the place of that of joules; nothing is learned beside it."""
    units = {
        kind: UnitModel(model.time_law, None, None)
        for kind, model in predictor.units.items()
        if model.time_law is not None
    }
    assert predictor.modules.time_law is not None
    modules = ModuleModel(predictor.modules.time_law, None, None)
    return replace(predictor, units=units, modules=modules)


def _with_times(predictor: Predictor, seconds: Predictor) -> Predictor:
    units = {
        kind: replace(model, time_law=seconds.units[kind].law)
        for kind, model in predictor.units.items()
    }
    modules = replace(predictor.modules, time_law=seconds.modules.law)
    return replace(predictor, units=units, modules=modules)


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
