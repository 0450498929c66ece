"""Checks that values of measured data can be what their columns say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from irene.errors import DatasetError
from irene.training.measurements import MeasuredNode

_POWER_RANGE_W = (2.0, 20e3)
"""Energy over time of one pass at the wall: a small board to a server of eight cards."""
_RATE_RANGE_FLOP_S = (1e7, 1e16)
_COARSE_J = (1e-10, 3e-10, 3e-3)
"""Per FLOP, per byte, per node: within a factor of 3 of both of the paper's machines."""
_COARSE_RANGE = (1 / 200, 60.0)
"""Of the coarse energy: data-centre cards at half precision to nodes bound by launches."""


def number_from(value: object, where: str, what: str) -> float:
    """A finite number from 0 on.

    Raises:
        DatasetError: it is none.
    """
    is_text_or_number = isinstance(value, str | int | float) and not isinstance(value, bool)
    try:
        number = float(value) if is_text_or_number else math.nan  # type: ignore[arg-type] # as asked
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0.0:
        raise DatasetError(f"{where}: {what} is {value!r}, not a number from 0 on")
    return number


def count_from(value: object, where: str, what: str) -> int:
    """A whole number from 1 on: a batch size, a length.

    Raises:
        DatasetError: it is none.
    """
    number = number_from(value, where, what)
    if number < 1 or number != int(number):
        raise DatasetError(f"{where}: {what} is {value!r}, not a whole number from 1 on")
    return int(number)


def energy_from(text: object, where: str, name: str, *, required: bool) -> float | None:
    """An energy in joules; None only where it is not required.

    Raises:
        DatasetError: missing, not a number, or not above 0.
    """
    if text is None or text == "":
        if required:
            raise DatasetError(
                f"{where}: {name} has no energy; measure it, or remove the row: it is never taken "
                "as 0"
            )
        return None
    if isinstance(text, bool):
        raise DatasetError(f"{where}: the energy of {name} is {text!r}, not a number")
    try:
        energy_j = float(text)  # type: ignore[arg-type]  # a wrong type is the error below
    except (TypeError, ValueError) as err:
        raise DatasetError(f"{where}: the energy of {name} is {text!r}, not a number") from err
    if not math.isfinite(energy_j) or energy_j <= 0.0:
        raise DatasetError(
            f"{where}: the energy of {name} is {text} J; an energy is above 0: measure it again, "
            "or remove the row"
        )
    return energy_j


def check_units(nodes: Sequence[MeasuredNode], where: str) -> None:
    """Energies, times and FLOPs that are off by a power of 1,000, judged by the median row.

    Raises:
        DatasetError: which column cannot be in the unit that it should have.
    """
    _check(
        [it.energy_j / it.time_s for it in nodes if it.energy_j and it.time_s > 0.0],
        _POWER_RANGE_W,
        f"{where}: the median power (energy / time) is {{:.3g}} W; energies must be in J and times "
        "in s: is one of them off by 1,000?",
    )
    _check(
        [1e6 * it.n_mflop / it.time_s for it in nodes if it.n_mflop > 0.0 and it.time_s > 0.0],
        _RATE_RANGE_FLOP_S,
        f"{where}: the median rate is {{:.3g}} FLOP/s; flops must be in MFLOP and times in s",
    )
    _check(
        [it.energy_j / _coarse_j(it) for it in nodes if it.energy_j],
        _COARSE_RANGE,
        f"{where}: the median energy is {{:.3g}} times what its FLOPs and bytes let expect; is a "
        "column off by 1,000? (energies in J, flops in MFLOP, mem_bytes in MiB)",
    )


def _coarse_j(node: MeasuredNode) -> float:
    per_flop, per_byte, per_node = _COARSE_J
    return per_flop * 1e6 * node.n_mflop + per_byte * 2**20 * node.n_mib + per_node


def _check(values: Sequence[float], limits: tuple[float, float], message: str) -> None:
    if not values:
        return
    median = statistics.median(values)
    if not limits[0] <= median <= limits[1]:
        raise DatasetError(message.format(median))
