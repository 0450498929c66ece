"""Exact integer polynomials of batch and length, fitted through as many points as they have terms.

All arithmetic is on integers: the inverse of the matrix of terms is kept as integers over one
denominator, so that fitting a column of sizes is one product, and a value that is not an
integer is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm

Point = tuple[int, int]  # batch, length


@dataclass(frozen=True, slots=True)
class Term:
    """A product of powers of batch, length and the number of chunks."""

    batch: int
    length: int
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Basis:
    """The terms that a polynomial is a sum of; a chunk is so many positions, the last one fewer."""

    terms: tuple[Term, ...]
    chunk: int = 1

    def at(self, point: Point) -> tuple[int, ...]:
        """The value of each term."""
        batch, length = point
        chunks = -(-length // self.chunk)
        return tuple(batch**it.batch * length**it.length * chunks**it.chunks for it in self.terms)


@dataclass(frozen=True, slots=True)
class Polynomial:
    """The sum of `numerators` times the terms of a basis, over `denominator`."""

    numerators: tuple[int, ...]
    denominator: int

    def at(self, terms: Sequence[int]) -> int | None:
        """The value where the terms of the basis have these values; None if not an integer."""
        total = sum(n * t for n, t in zip(self.numerators, terms, strict=True))
        value, rest = divmod(total, self.denominator)
        return None if rest else value


@dataclass(frozen=True, slots=True)
class Interpolation:
    """The inverse of the matrix of a basis at as many points: from values to polynomials."""

    inverse: tuple[tuple[int, ...], ...]
    denominator: int

    def through(self, values: Sequence[int]) -> Polynomial:
        """The one polynomial that has these values at the points."""
        return Polynomial(
            tuple(sum(a * v for a, v in zip(row, values, strict=True)) for row in self.inverse),
            self.denominator,
        )


def interpolation(basis: Basis, points: tuple[Point, ...]) -> Interpolation | None:
    """How to fit `basis` through `points`, one for each term; None where they leave it open."""
    if len(points) != len(basis.terms):
        return None
    return _inverted(tuple(basis.at(it) for it in points))


@lru_cache(maxsize=256)
def _inverted(matrix: tuple[tuple[int, ...], ...]) -> Interpolation | None:
    """Gauss and Jordan, exactly."""
    n = len(matrix)
    rows = [
        [Fraction(it) for it in row] + [Fraction(int(i == j)) for j in range(n)]
        for i, row in enumerate(matrix)
    ]
    for column in range(n):
        pivot = next((i for i in range(column, n) if rows[i][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        lead = rows[column][column]
        rows[column] = [it / lead for it in rows[column]]
        for i in range(n):
            factor = rows[i][column]
            if i != column and factor:
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    inverse = [row[n:] for row in rows]
    denominator = lcm(*(it.denominator for row in inverse for it in row))
    return Interpolation(
        tuple(tuple(int(it * denominator) for it in row) for row in inverse), denominator
    )
