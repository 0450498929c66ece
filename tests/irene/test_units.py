"""Energies, times and counts as people read them."""

import math
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irene import units

SCALES = {"P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "": 0, "m": -3, "µ": -6, "n": -9, "p": -12}

positive = st.floats(1e-12, 9e17)


@pytest.mark.parametrize(
    ("value_j", "expected"),
    [
        (0.0312, "31.2 mJ"),
        (0.0, "0 J"),
        (1.0, "1.00 J"),
        (12.345, "12.3 J"),
        (372.4, "372 J"),
        (999.4, "999 J"),
        (999.7, "1.00 kJ"),
        (99.96, "100 J"),
        (9.996, "10.0 J"),
        (-0.0312, "-31.2 mJ"),
        (1.5e-6, "1.50 µJ"),
        (4e18, "4000 PJ"),
        (math.inf, "inf J"),
    ],
)
def test_an_energy_has_three_digits_and_a_prefix(value_j: float, expected: str) -> None:
    assert units.format_energy(value_j) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.format_time(0.00123), "1.23 ms"),
        (units.format_power(250.0), "250 W"),
        (units.format_flops(2_200_000_000), "2.20 GFLOP"),
        (units.format_flop_rate(312e12), "312 TFLOP/s"),
        (units.format_bandwidth(2.039e12), "2.04 TB/s"),
        (units.format_bytes(1536), "1.54 kB"),
        (units.format_count(109_482_240), "109 M"),
        (units.format_count(7), "7.00"),
        (units.format_share(0.028), "2.8 %"),
        (units.format_share(0.2), "20 %"),
        (units.format_share(0.0995), "10 %"),
        (units.format_share(0.0004), "<0.1 %"),
        (units.format_share(0.0), "0.0 %"),
        (units.format_share(1.0), "100 %"),
        (units.format_spread(1.0, 1.4), "± 40 %"),
        (units.format_spread(1.0, 1.5), "± 50 %"),
        (units.format_spread(1.0, 1.52), "x/÷ 1.5"),
        (units.format_spread(2.30, 4.32), "x/÷ 1.9"),
        (units.format_spread(1.0, 3.0), "x/÷ 3.0"),
        (units.format_spread(0.0, 0.0), "± 0 %"),
        (units.format_calls(12, 0.031), "12 x 31.0 mJ"),
        (units.format_calls(1, 0.031), "31.0 mJ"),
    ],
)
def test_every_quantity_has_its_own_format(text: str, expected: str) -> None:
    assert text == expected


@given(positive)
def test_what_is_printed_is_the_value_to_three_digits(value_j: float) -> None:
    number, unit = units.format_energy(value_j).split(" ")
    printed = Fraction(number) * Fraction(10) ** SCALES[unit.removesuffix("J")]
    assert abs(printed - Fraction(value_j)) <= Fraction(value_j) * Fraction(51, 10_000)
    assert len(re.sub(r"\D", "", number).lstrip("0")) == 3


def printed(text: str) -> Fraction:
    """The number of an energy; one that is only bounded adds nothing."""
    return Fraction(0) if text.startswith("<") else Fraction(text.split(" ", maxsplit=1)[0])


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30))
def test_printed_parts_add_up_to_the_printed_total(parts_j: list[float]) -> None:
    column = units.format_column([sum(parts_j), *parts_j])
    total, *parts = [printed(text) for text in column]
    assert sum(parts) == total
    assert len({text.split(" ")[-1] for text in column}) == 1


@given(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=30))
def test_a_printed_part_is_off_by_a_digit_or_half_a_percent(parts_j: list[float]) -> None:
    total_j = sum(parts_j)
    scale = units.energy_scale(total_j, parts_j)
    column = units.format_column([total_j, *parts_j])
    for text, part_j in zip(column[1:], parts_j, strict=True):
        printed_j = float(printed(text)) * 10.0 ** SCALES[scale.prefix]
        assert abs(printed_j - part_j) <= 1.501 * scale.step_j + 0.0051 * part_j


@given(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=30))
def test_small_parts_have_digits(parts_j: list[float]) -> None:
    """Three from 1 % on, two from 0.01 % on; a smaller one is never shown as 0."""
    total_j = sum(parts_j)
    for text, part_j in zip(units.format_column([total_j, *parts_j])[1:], parts_j, strict=True):
        digits = re.sub(r"\D", "", text).lstrip("0")
        share = part_j / total_j
        assert len(digits) >= 1 + (share > 1.02e-4) + (share > 1.02e-2), text


@pytest.mark.parametrize(
    ("energies_j", "expected"),
    [
        # what rounding leaves goes to the largest
        ([0.1, 0.0333333, 0.0333333, 0.0333334], ["100.0 mJ", "33.3 mJ", "33.3 mJ", "33.4 mJ"]),
        # small parts have two digits
        ([0.372, 0.36968, 2.27e-3, 5e-5], ["372.000 mJ", "369.680 mJ", "2.270 mJ", "0.050 mJ"]),
        # equal parts are shown equal, the largest makes up for it
        (
            [1.0, 0.17036, 0.17036, 0.17036, 0.48892],
            ["1.000 J", "0.170 J", "0.170 J", "0.170 J", "0.490 J"],
        ),
        # what is too small for two digits has a bound, and only nothing is 0
        ([2.0, 1.99999, 1e-5, 0.0], ["2.000 J", "2.000 J", "< 0.001 J", "0.000 J"]),
        ([0.0, 0.0], ["0.000 J", "0.000 J"]),
    ],
)
def test_a_column_has_one_unit_and_one_number_of_decimals(
    energies_j: list[float], expected: list[str]
) -> None:
    assert units.format_column(energies_j) == expected
