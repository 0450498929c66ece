"""How many multiprocessors the measured card has.

The paper names no cards. Clocks and power of its machines are those of a GTX 1070 (15) and a
GTX 1080 Ti (28); the memory clock under load tells which. Data without clocks are told by the
energy of their linear layers, which rises in steps of a wave over the multiprocessors.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from irene.energy.predicted.formula import unit_log
from irene.energy.predicted.predictor import unit_works
from irene.energy.predicted.units import Unit
from irene.errors import DatasetError
from irene.training.measurements import RESOURCES, Cell
from irene.training.ours.laws import fit_unit_law
from irene.training.ours.medians import medians
from irene.training.ours.observations import Observation

_BY_MEMORY_CLOCK = {3802: 15, 5005: 28}
_CLOCK = RESOURCES.index("gpu_mem_clk")
_TOLERANCE_MHZ = 40
_TILES_EACH = 2  # of a linear layer are at work on one multiprocessor at a time


def n_multiprocessors_of(cells: Sequence[Cell], rows: Sequence[Observation]) -> int:
    """The count, from the highest memory clock that most cells reached, else from `rows`.

    Raises:
        DatasetError: another machine, so that the count must be given.
    """
    clocks = [
        max(known)
        for cell in cells
        for known in ([it.resources[_CLOCK] for it in cell.nodes if it.resources[_CLOCK] > 0.0],)
        if known
    ]
    if not clocks:
        return _by_steps(rows)
    clock = statistics.median(clocks)
    for known_mhz, count in _BY_MEMORY_CLOCK.items():
        if abs(clock - known_mhz) <= _TOLERANCE_MHZ:
            return count
    raise DatasetError(
        "the card of these measurements is not known (its memory clock is "
        f"{clock:.0f} MHz): give its number of multiprocessors with --multiprocessors"
    )


def _by_steps(rows: Sequence[Observation]) -> int:
    """The known count that explains the linear layers best."""
    linear = [row for row in rows if row.unit is not None and row.unit.kind == "linear"]
    if not linear:
        raise DatasetError(
            "neither clocks nor linear layers tell the card of these measurements: give its "
            "number of multiprocessors with --multiprocessors"
        )
    found = medians(linear, _unit_of, lambda row: row.energy_j)
    errors = {}
    for count in _BY_MEMORY_CLOCK.values():
        work = unit_works(found.subjects, _TILES_EACH * count)
        law = fit_unit_law("linear", work, found.logs, {}, 1.0)
        errors[count] = float(np.sum((unit_log(law, work) - found.logs) ** 2))
    return min(errors, key=lambda count: errors[count])


def _unit_of(row: Observation) -> Unit:
    assert row.unit is not None
    return row.unit
