"""Polynomials of batch and length: exact, through as many points as they have terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irene.scaling.polynomials import Basis, Point, Polynomial, Term, interpolation

LINEAR = Basis((Term(0, 0), Term(0, 1)))
SIX = Basis(tuple(Term(b, s) for b in (0, 1) for s in (0, 1, 2)))
CHUNKED = Basis((Term(0, 0), Term(1, 1, 1)), chunk=64)
GRID = tuple((b, s) for b in (2, 64) for s in (2, 37, 2048))


@given(st.lists(st.integers(-(10**15), 10**15), min_size=6, max_size=6))
def test_a_polynomial_has_the_values_that_it_goes_through(values: list[int]) -> None:
    """Of any size: all arithmetic is on integers."""
    through = interpolation(SIX, GRID)
    assert through is not None
    polynomial = through.through(values)
    assert [polynomial.at(SIX.at(it)) for it in GRID] == values


@pytest.mark.parametrize(
    ("basis", "point", "terms"),
    [
        (SIX, (3, 5), (1, 5, 25, 3, 15, 75)),
        (CHUNKED, (3, 64), (1, 3 * 64)),
        (CHUNKED, (3, 65), (1, 3 * 65 * 2)),
    ],
)
def test_terms_at_a_point(basis: Basis, point: Point, terms: tuple[int, ...]) -> None:
    """Chunks are counted with the last one, however short."""
    assert basis.at(point) == terms


@pytest.mark.parametrize("points", [((1, 5), (2, 5)), ((1, 5),), ((1, 5), (1, 6), (1, 7))])
def test_points_that_leave_it_open_give_no_polynomial(points: tuple[Point, ...]) -> None:
    """Two batches tell nothing about the length; one point is too few, three are too many."""
    assert interpolation(LINEAR, points) is None


def test_a_value_that_is_no_integer_is_none() -> None:
    half = Polynomial((0, 1), 2)
    assert [half.at(LINEAR.at((1, it))) for it in (4, 5)] == [2, None]
