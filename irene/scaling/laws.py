"""Laws: each size of a trace as an exact function of batch and length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from irene.scaling.patterns import filled
from irene.scaling.polynomials import Basis, Point, Polynomial
from irene.tree import Trace

Depth = Literal["levels", "log2"]


@dataclass(frozen=True, slots=True)
class Law:
    """One size: a polynomial, for sorts and Fourier transforms times a logarithm.

    With `depth` "levels" it is multiplied by ceil(log2 n), the levels of a sort over the longest
    of some dimensions, with "log2" by log2 n and rounded, as for a fast Fourier transform over
    their product (both as in `irene.worker.ops`). The dimensions are the laws number `of`.
    """

    polynomial: Polynomial
    depth: Depth | None = None
    of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Laws:
    """All sizes of a trace: `law_of[i]` is the number of the law of size i of the pattern."""

    pattern: Trace
    basis: Basis
    laws: tuple[Law, ...]
    law_of: tuple[int, ...]

    def at(self, point: Point) -> Trace | None:
        """The trace at this point; None where a law gives no natural number, so does not hold."""
        terms = self.basis.at(point)
        found = [it.polynomial.at(terms) for it in self.laws]
        amounts = [it for it in found if it is not None and it >= 0]
        if len(amounts) < len(found):
            return None
        values = [
            amount
            if law.depth is None
            else times_depth(amount, law.depth, [amounts[i] for i in law.of])
            for law, amount in zip(self.laws, amounts, strict=True)
        ]
        return filled(self.pattern, (values[i] for i in self.law_of))


def times_depth(amount: int, depth: Depth, dimensions: Sequence[int]) -> int:
    """An amount at each level of a sort or transform over these dimensions."""
    if depth == "levels":
        return amount * _levels(dimensions)
    return round(amount * math.log2(max(2, math.prod(dimensions))))


def per_level(total: int, depth: Depth, dimensions: Sequence[int]) -> int:
    """The inverse of `times_depth` where `total` is a value of it."""
    if depth == "levels":
        return total // _levels(dimensions)
    return round(total / math.log2(max(2, math.prod(dimensions))))


def _levels(dimensions: Sequence[int]) -> int:
    return (max(2, *dimensions) - 1).bit_length()
