"""Joules, seconds, FLOP and bytes as people read them: the only formatting of energies.

Inside the program everything is J, s, W, FLOP (a multiply-add is 2) and bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_PREFIXES = (
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
)

MAX_PERCENT_FACTOR = 1.5
"""The widest interval that is written in percent."""


def format_energy(energy_j: float) -> str:
    """`0.0312 -> "31.2 mJ"`: three significant digits and an SI prefix."""
    return _format(energy_j, "J")


def format_time(time_s: float) -> str:
    """`0.00123 -> "1.23 ms"`."""
    return _format(time_s, "s")


def format_power(power_w: float) -> str:
    """`250.0 -> "250 W"`."""
    return _format(power_w, "W")


def format_flops(n_flops: float) -> str:
    """`2.2e9 -> "2.20 GFLOP"`; a multiply-add counts 2."""
    return _format(float(n_flops), "FLOP")


def format_bytes(n_bytes: float) -> str:
    """`1536 -> "1.54 kB"`: decimal prefixes, as bandwidths have them."""
    return _format(float(n_bytes), "B")


def format_flop_rate(flop_s: float) -> str:
    """`312e12 -> "312 TFLOP/s"`."""
    return _format(flop_s, "FLOP/s")


def format_bandwidth(b_s: float) -> str:
    """`2.039e12 -> "2.04 TB/s"`."""
    return _format(b_s, "B/s")


def format_count(n: float) -> str:
    """`109482240 -> "109 M"`: a plain count, of parameters for example."""
    return _format(float(n), "").strip()


def format_share(share: float) -> str:
    """`0.028 -> "2.8 %"`, `0.2 -> "20 %"`, `0.0004 -> "<0.1 %"`; a share of 1 is all."""
    percent = 100.0 * share
    if 0.0 < percent < 0.1:
        return "<0.1 %"
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %"


def format_spread(value: float, high: float) -> str:
    """`(1.0, 3.0) -> "x/÷ 3.0"`: the factor between a value and either end of its interval.

    Intervals are symmetric in the logarithm. `± 40 %` is said up to a factor of 1.5, where it is
    nearly right and errs on the wide side: the lower end of x/÷ 1.4 is 29 % below the value.
    """
    if value <= 0.0:
        return "± 0 %"
    factor = high / value
    return f"x/÷ {factor:.1f}" if factor > MAX_PERCENT_FACTOR else f"± {100 * (factor - 1):.0f} %"


def format_calls(n_calls: int, each_j: float) -> str:
    """`(12, 0.031) -> "12 x 31.0 mJ"`; a single call is the energy alone."""
    return format_energy(each_j) if n_calls == 1 else f"{n_calls} x {format_energy(each_j)}"


@dataclass(frozen=True, slots=True)
class EnergyScale:
    """One unit and one number of decimals for all energies of a table.

    A table counts in steps of its last digit, so that integers add up where texts must.
    """

    step_j: float
    prefix: str
    decimals: int

    def text(self, n_steps: int) -> str:
        """`3117 -> "31.17 mJ"`."""
        return f"{n_steps * 10.0**-self.decimals:.{self.decimals}f} {self.prefix}J"


def energy_scale(total_j: float, n_digits: int = 3) -> EnergyScale:
    """The scale that shows `total_j` with `n_digits` digits, and its parts beside it."""
    scale, prefix = _prefix(total_j)
    decimals = _decimals(total_j / scale) + n_digits - 3
    return EnergyScale(scale * 10.0**-decimals, prefix, decimals)


def format_column(energies_j: Sequence[float]) -> list[str]:
    """Energies of one table: one unit, one number of decimals, three digits for the largest.

    The first is the total of the others. Rounded parts are adjusted in their last digit
    (largest remainder), so that the printed parts add up to the printed total exactly.
    """
    total, parts = energies_j[0], list(energies_j[1:])
    scale = energy_scale(total)
    wanted = round(total / scale.step_j)
    rounded = apportion([part / scale.step_j for part in parts], wanted)
    return [scale.text(n_steps) for n_steps in (wanted, *rounded)]


def apportion(values: Sequence[float], total: int) -> list[int]:
    """Integers near `values` whose sum is `total` where the values' own sum rounds to it."""
    floors = [math.floor(value + 1e-9) for value in values]  # 2.9999999999999996 is 3
    missing = total - sum(floors)
    if not 0 <= missing <= len(values):
        return [round(value) for value in values]
    by_remainder = sorted(range(len(values)), key=lambda i: floors[i] - values[i])
    for i in by_remainder[:missing]:
        floors[i] += 1
    return floors


def _format(value: float, unit: str) -> str:
    if value == 0.0:
        return f"0 {unit}"
    if not math.isfinite(value):
        return f"{value} {unit}"
    scale, prefix = _prefix(value)
    scaled = value / scale
    return f"{scaled:.{_decimals(scaled)}f} {prefix}{unit}"


def _prefix(value: float) -> tuple[float, str]:
    magnitude = abs(value)
    for scale, prefix in _PREFIXES:
        if magnitude >= scale * 0.9995:  # 999.7 m is shown as 1.00, with the next prefix
            return scale, prefix
    return _PREFIXES[-1] if magnitude else (1.0, "")


def _decimals(scaled: float) -> int:
    magnitude = abs(scaled)
    if magnitude >= 99.95:
        return 0
    return 1 if magnitude >= 9.995 else 2
