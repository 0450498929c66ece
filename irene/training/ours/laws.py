"""The physics of a machine from its medians: a few coefficients per kind, and of modules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from irene.energy.predicted.formula import ABSENT, Floats, ModuleLaw, UnitLaw, module_log, unit_log
from irene.energy.predicted.units import UnitKind
from irene.training.ours.least_squares import fit

_LAUNCH_J = 4e-3
_FREE, _LOOSE, _FIXED = 1e-3, 1e-2, 1e6
"""Stiffness of a prior: hardly any, weak, and held."""

STREAM_TO_SOFTMAX = 0.78
"""Price by the byte of a streaming kernel against softmax: the median efficiencies of the two
on five cards of NeuSight's data (0.61 and 0.78 of the bandwidth)."""
_STREAM_STIFFNESS, _UNITS_STIFFNESS = 30.0, 10.0


def fit_unit_law(
    kind: UnitKind, work: Floats, logs: Floats, known: Mapping[UnitKind, UnitLaw], scale: float
) -> UnitLaw:
    """Coefficients of one kind; `scale` is that of the quantity, 1 for joules.

    A linear layer launches two kernels, and the data may have none so small that it shows:
    its floor starts at those of an embedding and of a softmax together.
    """
    used = work.max(axis=0) > 0.0
    is_matrix = kind in ("linear", "matmul")
    first = 0.3 if is_matrix else 0.5
    coefficients = np.where(used, math.log(first * scale), ABSENT)
    coefficients[2:] = np.where(used[2:], math.log(0.5 * scale), ABSENT)
    launch, launch_stiffness = math.log(_LAUNCH_J * scale), _FREE
    if kind == "linear" and {"embedding", "softmax"} <= known.keys():
        floors = (known["embedding"].launch, known["softmax"].launch)
        launch, launch_stiffness = math.log(sum(math.exp(it) for it in floors)), 1.0
    start = np.array([launch, math.log(3.0) - 1.0, *coefficients])
    stiffness = np.array(
        [launch_stiffness, _LOOSE, *np.where(used, 2.0 * _FREE, _FIXED)],
    )
    found = fit(lambda at: unit_log(_unit_law(at), work), start, logs, stiffness)
    return _unit_law(found)


def _unit_law(at: Sequence[float] | Floats) -> UnitLaw:
    launch, sharpness, *work = (float(it) for it in at)
    return UnitLaw(launch, sharpness, tuple(work))


def fit_module_law(
    rows: Floats, logs: Floats, units: Mapping[UnitKind, UnitLaw], scale: float
) -> ModuleLaw:
    """Prices of what modules issue beside their units.

    The price of streaming starts at what softmax costs by the byte: training models of one
    family issue too few kinds of kernels to tell it from the copies and launches.
    """
    stream, stiffness = math.log(2.5 * scale), _LOOSE
    if "softmax" in units:
        stream, stiffness = (
            math.log(STREAM_TO_SOFTMAX) + units["softmax"].work[0],
            _STREAM_STIFFNESS,
        )
    start = np.array(
        [
            stream,
            stream + 0.9,
            math.log(0.5 * scale),
            math.log(3.0 * scale),
            math.log(4.0 * scale),
            math.log(3.0),
            0.0,
        ]
    )
    stiff = np.array([stiffness, *[_LOOSE] * 5, _UNITS_STIFFNESS])
    found = fit(lambda at: module_log(_module_law(at), rows), start, logs, stiff)
    return _module_law(found)


def _module_law(at: Floats) -> ModuleLaw:
    return ModuleLaw(*(float(it) for it in at))
