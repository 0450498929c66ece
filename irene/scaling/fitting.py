"""From samples of one model at several sizes to the laws that go through all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import get_args

from irene.scaling.laws import Depth, Law, Laws, per_level, times_depth
from irene.scaling.patterns import dimensions_beside, pattern_of, sizes_of
from irene.scaling.polynomials import Basis, Interpolation, Point, Polynomial, interpolation
from irene.tree import Trace

Column = tuple[int, ...]  # one size in each sample


@dataclass(frozen=True, slots=True)
class Sample:
    """A trace at one batch and length, taken apart."""

    point: Point
    trace: Trace
    pattern: Trace
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why no laws go through the samples."""

    reason: str


def sample(point: Point, trace: Trace) -> Sample:
    """The trace as a sample at `point`."""
    return Sample(point, trace, pattern_of(trace), sizes_of(trace))


def fit(samples: Sequence[Sample], basis: Basis) -> Laws | Misfit:
    """The laws of `basis` through as many samples as it has terms, checked at all others.

    There must be others: a polynomial goes through any values at as many points as it has terms.
    """
    pattern = samples[0].pattern
    if any(it.pattern != pattern for it in samples):
        return Misfit("other operations run")
    points = [it.point for it in samples]
    chosen = _independent(points, basis)
    if len(chosen) == len(samples):
        return Misfit("too few sizes are left to check a fit")
    through = interpolation(basis, tuple(points[i] for i in chosen))
    if through is None:
        return Misfit("too few sizes are left to fit")
    return _Fitting(samples, basis, chosen, through).laws()


def _independent(points: Sequence[Point], basis: Basis) -> tuple[int, ...]:
    """The first points whose terms are linearly independent, at most as many as terms."""
    chosen: list[int] = []
    reduced: list[tuple[int, list[int]]] = []  # rows in echelon form, with the column of each lead
    for i, point in enumerate(points):
        row = list(basis.at(point))
        for column, above in reduced:
            factor = row[column]
            row = [a * above[column] - factor * b for a, b in zip(row, above, strict=True)]
        lead = next((j for j, it in enumerate(row) if it), None)
        if lead is not None:
            divisor = math.gcd(*row)
            reduced.append((lead, [it // divisor for it in row]))
            chosen.append(i)
    return tuple(chosen)


class _Fitting:
    """Fits the columns of some samples, equal columns once."""

    def __init__(
        self,
        samples: Sequence[Sample],
        basis: Basis,
        chosen: tuple[int, ...],
        through: Interpolation,
    ) -> None:
        self._pattern = samples[0].pattern
        self._columns: list[Column] = list(zip(*(it.sizes for it in samples), strict=True))
        self._basis = basis
        self._terms = [basis.at(it.point) for it in samples]
        self._chosen = chosen
        self._through = through
        self._laws: list[Law] = []

    def laws(self) -> Laws | Misfit:
        """First the polynomials, then what is deep in one of them."""
        numbers = {it: self._number(self._plain(it)) for it in dict.fromkeys(self._columns)}
        law_of = [numbers[it] for it in self._columns]
        if None in law_of:
            self._fill_deep(law_of, numbers)
        found = tuple(it for it in law_of if it is not None)
        if len(found) < len(law_of):
            n_open = len(law_of) - len(found)
            return Misfit(f"{n_open} of {len(law_of)} sizes are no polynomial of batch and length")
        return Laws(self._pattern, self._basis, tuple(self._laws), found)

    def _fill_deep(self, law_of: list[int | None], numbers: dict[Column, int | None]) -> None:
        beside = dimensions_beside(self._pattern)
        found: dict[tuple[Column, tuple[int, ...]], int | None] = {}
        for i, number in enumerate(law_of):
            if number is not None:
                continue
            dimensions = dict.fromkeys(numbers[self._columns[j]] for j in beside.get(i, ()))
            key = (self._columns[i], tuple(it for it in dimensions if it is not None))
            if key not in found:
                found[key] = self._number(self._deep(*key))
            law_of[i] = found[key]

    def _number(self, law: Law | None) -> int | None:
        if law is None:
            return None
        self._laws.append(law)
        return len(self._laws) - 1

    def _plain(self, column: Column) -> Law | None:
        found = self._polynomial(column)
        return None if found is None else Law(found)

    def _deep(self, column: Column, dimensions: tuple[int, ...]) -> Law | None:
        """A polynomial times the depth of one dimension or of two."""
        for of in chain(combinations(dimensions, 1), combinations(dimensions, 2)):
            sizes = [self._amounts(of, terms) for terms in self._terms]
            for depth in get_args(Depth):
                pairs = list(zip(column, sizes, strict=True))
                shares = tuple(per_level(it, depth, n) for it, n in pairs)
                again = tuple(
                    times_depth(it, depth, n) for it, n in zip(shares, sizes, strict=True)
                )
                found = self._polynomial(shares) if again == column else None
                if found is not None:
                    return Law(found, depth, of)
        return None

    def _amounts(self, of: tuple[int, ...], terms: Sequence[int]) -> list[int]:
        amounts = (self._laws[i].polynomial.at(terms) for i in of)
        return [it for it in amounts if it is not None]

    def _polynomial(self, column: Column) -> Polynomial | None:
        """Through the chosen points, if it has all other values too."""
        found = self._through.through([column[i] for i in self._chosen])
        if all(found.at(it) == v for it, v in zip(self._terms, column, strict=True)):
            return found
        return None
