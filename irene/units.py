"""Joules, seconds, FLOP and bytes as people read them: the only formatting of energies.

Inside the program everything is J, s, W, FLOP (a multiply-add is 2) and bytes.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
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

    def text(self, n_steps: int, energy_j: float) -> str:
        """`(3117, 0.03117) -> "31.17 mJ"`; what is too small for a step: `"< 0.01 mJ"`."""
        is_below = n_steps == 0 and energy_j > 0.0
        number = f"{max(n_steps, is_below) * 10.0**-self.decimals:.{self.decimals}f}"
        return f"{'< ' if is_below else ''}{number} {self.prefix}J"


SHOWN_DIGITS = ((1e-2, 3), (1e-4, 2))
"""Parts of at least this share of a total have so many digits or more."""


def energy_scale(total_j: float, parts_j: Iterable[float]) -> EnergyScale:
    """The scale that shows `total_j` with four digits or more, and its parts as SHOWN_DIGITS says.

    One digit more than a value alone has: it takes what rounding leaves when parts add up.
    """
    scale, prefix = _prefix(total_j)
    decimals = _decimals(total_j / scale) + 1
    parts_j = tuple(parts_j)
    for share, n_digits in SHOWN_DIGITS:
        smallest_j = min((it for it in parts_j if it >= share * total_j), default=total_j)
        for _ in range(2):  # 1,000 steps and more, of which the smallest part is to be 10 or 100
            decimals += 0.0 < smallest_j < 0.995 * 10 ** (n_digits - 1 - decimals) * scale
    return EnergyScale(scale * 10.0**-decimals, prefix, decimals)


def format_column(energies_j: Sequence[float]) -> list[str]:
    """Energies of one table: one unit and one number of decimals; see `energy_scale`.

    The first is the total of the others; the printed parts add up to it exactly.
    """
    total_j, parts_j = energies_j[0], energies_j[1:]
    scale = energy_scale(total_j, parts_j)
    total = round(total_j / scale.step_j)
    steps = apportion([part_j / scale.step_j for part_j in parts_j], total)
    return [scale.text(n, it) for n, it in zip((total, *steps), energies_j, strict=True)]


def apportion(values: Sequence[float], total: int) -> list[int]:
    """Integers near `values` whose sum is `total`, where that is nearly the sum of the values.

    All are rounded; the rest goes to the largest, half a percent of each at most while others
    are left, and to those that no other equals first: equal values stay equal where they can.
    """
    steps = [round(value) for value in values]
    rest = total - sum(steps)
    if not steps or abs(rest) > len(steps) + total / 100:
        return steps
    n_alike = Counter(steps)
    order = sorted(
        range(len(steps)),
        key=lambda i: (steps[i] < 100, n_alike[steps[i]] > 1, -values[i]),
    )
    sign = 1 if rest > 0 else -1
    for i in itertools.cycle(order):
        if rest == 0:
            return steps
        moved = min(abs(rest), max(1, steps[i] // 200))
        moved = moved if sign > 0 else min(moved, steps[i])
        steps[i] += sign * moved
        rest -= sign * moved
    return steps


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
