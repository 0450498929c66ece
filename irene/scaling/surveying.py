"""Which sizes to trace, so that few traces tell the costs at all others.

On meta tensors a large size costs what a small one costs. So laws are fitted and checked at the
corners of what they claim and inside: they are used between sizes at which they were seen to
hold, never beyond. Where a corner shows other costs (a window that is full, the most positions
that a config allows), the last length at which they hold is found by bisection, and another
piece begins after it. Where costs depend on the remainder of the length (padding to a multiple,
pooling), each remainder is a piece.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from irene.scaling.fitting import Misfit, Sample, fit, sample
from irene.scaling.laws import Laws
from irene.scaling.polynomials import Basis, Point, Term
from irene.scaling.scaled import Gap, Piece, ScaledTrace
from irene.tree import Trace
from irene.worker.protocol import Refusal

Tracer = Callable[[int, int], Trace | Refusal]
"""Traces a model at a batch and a length."""

_MANY = Basis(tuple(Term(b, s) for b in (0, 1) for s in (0, 1, 2)))
_ONE = Basis(tuple(Term(0, s) for s in (0, 1, 2)))

_MOST_TRACES = 128
_STARTS = (37, 97, 293)  # where fits begin: no common sizes of models, between common windows
_SPREAD = (0, 5, 14, 21)  # from there three lengths to fit and one to check
_PERIODS = (2, 4, 8)


def scale(tracer: Tracer, batches: range, lengths: range) -> ScaledTrace:
    """The costs of one model at all these batches and lengths, from a few traces.

    Batch 1 is a piece of its own, since models run other operations there.
    """
    survey = _Survey(tracer)
    many = range(max(2, batches[0]), batches.stop)
    found = list(_covered(survey, many, lengths)) if many else []
    if batches[0] == 1:  # its costs change mostly at the same lengths
        for part in [it.lengths for it in found] or [lengths]:
            found += _covered(survey, batches[:1], part)
    return ScaledTrace(
        pieces=tuple(it for it in found if isinstance(it, Piece)),
        gaps=tuple(it for it in found if isinstance(it, Gap)),
        n_traces=survey.n_traces,
    )


class _Survey:
    """What was traced of a model so far; nothing is traced twice."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._samples: dict[Point, Sample | Misfit] = {}

    @property
    def n_traces(self) -> int:
        return len(self._samples)

    def sample(self, point: Point) -> Sample | Misfit:
        """The trace at a point, or why there is none."""
        if point not in self._samples:
            if self.n_traces == _MOST_TRACES:
                return Misfit(f"the costs change too often: {_MOST_TRACES} sizes were traced")
            traced = self._tracer(*point)
            self._samples[point] = (
                Misfit(f"no trace at {point[0]} x {point[1]}: {traced.message}")
                if isinstance(traced, Refusal)
                else sample(point, traced)
            )
        return self._samples[point]

    def fitted(self, points: Sequence[Point]) -> Laws | Misfit:
        """Laws through the traces at these points."""
        samples = []
        for point in dict.fromkeys(points):
            found = self.sample(point)
            if isinstance(found, Misfit):
                return found
            samples.append(found)
        return fit(samples, _ONE if len({batch for batch, _ in points}) == 1 else _MANY)

    def holds(self, laws: Laws, point: Point) -> bool:
        """Whether laws give what a trace at this point gives, to the last FLOP and byte."""
        found = self.sample(point)
        return isinstance(found, Sample) and laws.at(point) == found.trace


def _covered(survey: _Survey, batches: range, lengths: range) -> Iterator[Piece | Gap]:
    """Pieces and gaps that together are all these sizes."""
    left = [lengths]
    while left:
        part = left.pop()
        found = _piece(survey, batches, part)
        if isinstance(found, Gap) and found.lengths == part:
            yield from _by_remainder(survey, batches, part) or [found]
        else:
            yield found
            left += _outside(part, found.lengths)


def _piece(survey: _Survey, batches: range, lengths: range) -> Piece | Gap:
    """The longest piece around the first fit: of all lengths, else of some that are near."""
    reason = "too few lengths for a fit"
    for first, last, points in _attempts(batches, lengths):
        laws = survey.fitted(points)
        if isinstance(laws, Laws):
            return _extended(survey, laws, batches, lengths, (first, last))
        reason = laws.reason
    return Gap(batches, lengths, reason)


def _extended(
    survey: _Survey, laws: Laws, batches: range, lengths: range, near: tuple[int, int]
) -> Piece | Gap:
    """The piece on which laws hold that were fitted between two lengths, given by index."""

    def holds(batch: int, i: int) -> bool:
        return survey.holds(laws, (batch, lengths[i]))

    first = _farthest(partial(holds, batches[0]), near[0], 0, lengths)
    last = _farthest(partial(holds, batches[-1]), near[1], len(lengths) - 1, lengths)
    if first is None or last is None:
        return Gap(batches, lengths, "other costs with other batches")
    part = lengths[first : last + 1]
    inside = part[len(part) * 2 // 3]
    for point in ((batches[-1], part[0]), (batches[0], part[-1]), (batches[0], inside)):
        if not survey.holds(laws, point):
            return Gap(batches, part, f"other costs at {point[0]} x {point[1]} than around it")
    return Piece(batches, part, laws)


def _farthest(
    holds: Callable[[int], bool], near: int, far: int, lengths: range
) -> int | None:
    """The index from `near` to `far` up to which laws hold; None where not even there."""
    if holds(far):
        return far
    if not holds(near):
        return None
    good, bad = near, far
    while abs(good - bad) > 1:
        probe = _probe(good, bad, lengths)
        if holds(probe):
            good = probe
        else:
            bad = probe
    return good


def _probe(good: int, bad: int, lengths: range) -> int:
    """Between two indices: breaks lie mostly after a power of two."""
    step = 1 if good < bad else -1
    if step > 0 and _is_round(lengths[good]):
        return good + step
    between = range(good + step, bad, step)
    powers = [i for i in between if _is_round(lengths[i])]
    return powers[len(powers) // 2] if powers else between[len(between) // 2]


def _is_round(length: int) -> bool:
    return length.bit_count() == 1


def _by_remainder(survey: _Survey, batches: range, lengths: range) -> list[Piece | Gap]:
    """A piece for each remainder of the length, for the smallest period at which one has laws."""
    if lengths.step > 1:
        return []
    for period in _PERIODS:
        classes = [lengths[i::period] for i in range(period)]
        near = next(iter(_clusters(classes[0])), None)
        if near and isinstance(survey.fitted(_grid(batches, classes[0], near)), Laws):
            return [it for one in classes for it in _covered(survey, batches, one)]
    return []


def _outside(whole: range, part: range) -> list[range]:
    """What lies below and above a part."""
    below, above = whole[: whole.index(part[0])], whole[whole.index(part[-1]) + 1 :]
    return [it for it in (above, below) if it]


def _attempts(batches: range, lengths: range) -> Iterator[tuple[int, int, list[Point]]]:
    """Points for a fit and its check, with the indices of their first and last length."""
    n = len(lengths)
    for first in (0, _starts(lengths)[0]):
        if n - first > 3:
            yield first, n - 1, _spanning(batches, lengths[first:])
    for near in _clusters(lengths):
        yield near[0], near[-1], _grid(batches, lengths, near)


def _starts(lengths: range) -> list[int]:
    """Indices of the lengths where fits begin, at most the last index."""
    return [min(bisect_left(lengths, it), len(lengths) - 1) for it in _STARTS]


def _clusters(lengths: range) -> Iterator[tuple[int, ...]]:
    """Indices of lengths that are near each other."""
    for first in dict.fromkeys(_starts(lengths)):
        if first + _SPREAD[-1] < len(lengths):
            yield tuple(first + it for it in _SPREAD)


def _grid(batches: range, lengths: range, near: Sequence[int]) -> list[Point]:
    """Three lengths at two batches for a fit, the last length to check it."""
    low, high = batches[min(1, len(batches) - 1)], batches[min(3, len(batches) - 1)]
    *fitted, checked = (lengths[i] for i in near)
    return [*((b, s) for s in fitted for b in (low, high)), (high, checked)]


def _spanning(batches: range, lengths: range) -> list[Point]:
    """The corners of all sizes with points between them for a fit, and two inside to check it."""
    n = len(lengths)
    ends = (lengths[0], lengths[n // 3], lengths[-1])
    fitted = ((b, s) for s in ends for b in (batches[0], batches[-1]))
    inside = ((batches[len(batches) // 3], lengths[n // 8]), (batches[0], lengths[2 * n // 3]))
    return [*fitted, *inside]
