"""How many multiprocessors the measured card has.

The paper names no cards. Clocks and power of its machines are those of a GTX 1070 (15) and a
GTX 1080 Ti (28); the memory clock under load tells which.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from irene.errors import DatasetError
from irene.training.measurements import RESOURCES, Cell

_BY_MEMORY_CLOCK = {3802: 15, 5005: 28}
_CLOCK = RESOURCES.index("gpu_mem_clk")
_TOLERANCE_MHZ = 40


def n_multiprocessors_of(cells: Sequence[Cell]) -> int:
    """The count, from the highest memory clock that most cells reached.

    Raises:
        DatasetError: another machine, so that the count must be given.
    """
    clocks = [
        max(node.resources[_CLOCK] for node in cell.nodes)
        for cell in cells
        if any(node.resources[_CLOCK] > 0.0 for node in cell.nodes)
    ]
    clock = statistics.median(clocks) if clocks else 0.0
    for known, count in _BY_MEMORY_CLOCK.items():
        if abs(clock - known) <= _TOLERANCE_MHZ:
            return count
    raise DatasetError(
        "the card of these measurements is not known (its memory clock is "
        f"{clock:.0f} MHz): give its number of multiprocessors with --multiprocessors"
    )
