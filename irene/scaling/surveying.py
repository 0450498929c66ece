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
from itertools import islice

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
_FEW_LENGTHS = 64  # not worth a search for a period


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
        if isinstance(found, Piece):
            yield found
            left += _outside(part, found.lengths)
        else:
            yield from _by_remainder(survey, batches, part) or [found]


def _piece(survey: _Survey, batches: range, lengths: range) -> Piece | Gap:
    """The longest piece around the first fit: of all lengths, else of some that are near."""
    misfit = Misfit("too few lengths for a fit")
    for near, points in _attempts(batches, lengths):
        laws = survey.fitted(points)
        part = laws if isinstance(laws, Misfit) else _extent(survey, laws, batches, lengths, near)
        if isinstance(laws, Laws) and isinstance(part, range):
            return Piece(batches, part, laws)
        misfit = part
    return Gap(batches, lengths, misfit.reason)


def _extent(
    survey: _Survey, laws: Laws, batches: range, lengths: range, near: tuple[int, int]
) -> range | Misfit:
    """Where laws hold that were fitted between two lengths, given by index."""
    ends = dict.fromkeys((batches[0], batches[-1]))

    def hold(i: int) -> bool:
        return all(survey.holds(laws, (batch, lengths[i])) for batch in ends)

    first = _farthest(hold, near[0], 0, lengths)
    last = _farthest(hold, near[1], len(lengths) - 1, lengths)
    if first is None or last is None:
        return Misfit("the costs change with the batch")
    part = lengths[first : last + 1]
    round_length = _roundest(part)
    if not survey.holds(laws, (batches[0], round_length)):
        return Misfit(f"the costs at length {round_length} are others than around it")
    return part


def _farthest(
    hold: Callable[[int], bool], near: int, far: int, lengths: range
) -> int | None:
    """The index from `near` to `far` up to which laws hold; None where not even there."""
    if hold(far):
        return far
    if not hold(near):
        return None
    good, bad = near, far
    while abs(good - bad) > 1:
        probe = _probe(good, bad, lengths)
        if hold(probe):
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


def _roundest(lengths: range) -> int:
    """The inner length that the largest power of two divides: some code has a path for such."""
    return max(lengths[1:-1] or lengths, key=lambda it: it & -it)


def _by_remainder(survey: _Survey, batches: range, lengths: range) -> list[Piece | Gap]:
    """A piece for each remainder of the length, for the smallest period at which one has laws."""
    if lengths.step > 1 or len(lengths) < _FEW_LENGTHS:
        return []
    for period in _PERIODS:
        classes = [lengths[i::period] for i in range(period)]
        for _, points in islice(_attempts(batches, classes[0]), 2):
            if isinstance(survey.fitted(points), Laws):
                return [it for one in classes for it in _covered(survey, batches, one)]
    return []


def _outside(whole: range, part: range) -> list[range]:
    """What lies below and above a part."""
    below, above = whole[: whole.index(part[0])], whole[whole.index(part[-1]) + 1 :]
    return [it for it in (above, below) if it]


def _attempts(batches: range, lengths: range) -> Iterator[tuple[tuple[int, int], list[Point]]]:
    """The indices of the first and last length of a fit, and its points with that of its check."""
    last = len(lengths) - 1
    start = min(bisect_left(lengths, _STARTS[0]), last // 4)
    if last - start >= 3:
        yield (start, last), _grid(batches, lengths, (start, last // 3, last, last // 8))
    for first in dict.fromkeys(bisect_left(lengths, it) for it in _STARTS):
        if first + _SPREAD[-1] <= last:
            near = [first + it for it in _SPREAD]
            yield (near[0], near[-1]), _grid(batches, lengths, near)


def _grid(batches: range, lengths: range, places: Sequence[int]) -> list[Point]:
    """Three lengths at both ends of the batches for a fit, a fourth between them to check it."""
    *fitted, checked = (lengths[i] for i in places)
    ends = (batches[0], batches[-1])
    return [*((b, s) for s in fitted for b in ends), (batches[len(batches) // 3], checked)]
