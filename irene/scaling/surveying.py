"""Which sizes to trace, so that few traces tell the costs at all others.

On meta tensors a large size costs what a small one costs. So laws are fitted and checked at the
corners of what they claim and inside: they are used between sizes at which they were seen to
hold, never beyond. A law that changes once between two of these is noticed, and so are exceptions
at powers of two and at multiples of small numbers; one at a single other length is not.

Where a corner shows other costs (a window that is full, the most positions that a config allows),
the last length at which they hold is found by bisection, and another piece begins after it. Where
costs depend on the remainder of the length (padding to a multiple, pooling, chunks), the multiples
and the remainders are pieces.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from irene.scaling.fitting import Misfit, Sample, fit, sample
from irene.scaling.laws import Laws
from irene.scaling.polynomials import Basis, Point, Term
from irene.scaling.scaled import Gap, Piece, ScaledTrace
from irene.tree import Trace
from irene.worker.protocol import Refusal

Tracer = Callable[[int, int], Trace | Refusal]
"""Traces a model at a batch and a length."""

_MOST_TRACES = 192
_STARTS = (37, 97, 293)  # where fits begin: no common sizes of models, between common windows
_SPREAD = (0, 5, 14, 21)  # from there three lengths to fit and one to check
_FEW_LENGTHS = 64  # not worth a search for a period
_LONGEST_PERIOD = 256
_FEW_REMAINDERS = 8  # each is a piece


def scale(tracer: Tracer, batches: range, lengths: range) -> ScaledTrace:
    """The costs of one model at all these batches and lengths, from a few traces.

    Args:
        tracer: Traces always the same model; a refused size is a gap.
        batches: Not empty. Batch 1 has pieces of its own, since models run other operations there.
        lengths: Not empty.
    """
    survey = _Survey(tracer)
    many = range(max(2, batches[0]), batches.stop)
    found = list(_covered(survey, many, lengths)) if many else []
    if batches[0] == 1:  # its costs change mostly at the same lengths
        parts = [it.lengths for it in found]
        for part in parts if parts and all(it.step == 1 for it in parts) else [lengths]:
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

    def fitted(self, points: Sequence[Point], chunk: int = 1) -> Laws | Misfit:
        """Laws through the traces at these points, that may depend on the number of chunks."""
        samples = []
        for point in dict.fromkeys(points):
            found = self.sample(point)
            if isinstance(found, Misfit):
                return found
            samples.append(found)
        return fit(samples, _basis(points, chunk))

    def holds(self, laws: Laws, point: Point) -> bool:
        """Whether laws give what a trace at this point gives, to the last FLOP and byte."""
        found = self.sample(point)
        return isinstance(found, Sample) and laws.at(point) == found.trace


def _basis(points: Sequence[Point], chunk: int) -> Basis:
    """To the second power of length and chunks together, and the first of the batch.

    What is one and the same at all points is no variable.
    """
    batches, lengths = (set(it) for it in zip(*points, strict=True))
    power = 2 if len(lengths) > 1 else 0
    return Basis(
        tuple(
            Term(batch, length, chunks)
            for batch in range(min(2, len(batches)))
            for chunks in range(power + 1 if chunk > 1 else 1)
            for length in range(power + 1 - chunks)
        ),
        chunk,
    )


def _covered(survey: _Survey, batches: range, lengths: range) -> Iterator[Piece | Gap]:
    """Pieces and gaps that together are all these sizes."""
    left = [lengths]
    while left:
        part = left.pop()
        if 1 < len(part) < 4:  # too few for a law of the length
            left += [part[i : i + 1] for i in range(len(part))]
            continue
        found = _piece(survey, batches, part, _wide(part))
        if isinstance(found, Gap):
            period = _period(survey, batches[0], part)
            if period > 1:
                yield from _periodic(survey, batches, part, period)
                continue
            found = _piece(survey, batches, part, _near(part))
        yield found
        if isinstance(found, Piece):
            left += _outside(part, found.lengths)


def _piece(
    survey: _Survey, batches: range, lengths: range, attempts: Iterable[Sequence[int]]
) -> Piece | Gap:
    """The longest piece around the first fit; an attempt is indices of lengths, as for `_grid`."""
    misfit = Misfit("too few lengths for a fit")
    for places in attempts:
        laws = survey.fitted(_grid(batches, [lengths[i] for i in places]))
        if isinstance(laws, Laws):
            extent = _extent(survey, laws, batches, lengths, places)
            if not isinstance(extent, Misfit):
                return Piece(batches, lengths[extent[0] : extent[1] + 1], laws)
            misfit = extent
        else:
            misfit = laws
    return Gap(batches, lengths, misfit.reason)


def _wide(lengths: range) -> Iterator[Sequence[int]]:
    """Indices of lengths over all of them, for a fit and its check; very short ones are left out.

    At these many sizes are equal by chance that are different elsewhere.
    """
    last = len(lengths) - 1
    start = min(bisect_left(lengths, _STARTS[0]), last // 4)
    yield (start, last // 3, last, last // 8) if last else (0, 0)


def _near(lengths: range) -> Iterator[Sequence[int]]:
    """Indices of lengths that are close to each other."""
    for first in dict.fromkeys(bisect_left(lengths, it) for it in _STARTS):
        if first + _SPREAD[-1] < len(lengths):
            yield [first + it for it in _SPREAD]


def _grid(batches: range, lengths: Sequence[int]) -> list[Point]:
    """All but the last length at both ends of the batches for a fit, the last one to check it."""
    *fitted, checked = lengths
    ends = (batches[0], batches[-1])
    return [*((b, s) for s in fitted for b in ends), (batches[len(batches) // 3], checked)]


def _extent(
    survey: _Survey, laws: Laws, batches: range, lengths: Sequence[int], near: Sequence[int]
) -> tuple[int, int] | Misfit:
    """The first and last index where laws hold that were fitted at the indices `near`."""
    ends = dict.fromkeys((batches[0], batches[-1]))

    def hold(i: int) -> bool:
        return all(survey.holds(laws, (batch, lengths[i])) for batch in ends)

    first = _farthest(hold, min(near), 0, lengths)
    last = _farthest(hold, max(near), len(lengths) - 1, lengths)
    if first is None or last is None:
        return Misfit("the costs change with the batch, or back and forth with the length")
    for length in _special(lengths[first : last + 1]):
        if not survey.holds(laws, (batches[0], length)):
            return Misfit(f"the costs at length {length} are others than around it")
    return first, last


def _farthest(
    hold: Callable[[int], bool], near: int, far: int, lengths: Sequence[int]
) -> int | None:
    """The index from `near` to `far` up to which laws hold, and after which they do not.

    None where they do not hold even there, or hold again behind: then they have exceptions.
    """
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
    behind = 2 * bad - good
    return None if behind in range(len(lengths)) and hold(behind) else good


def _probe(good: int, bad: int, lengths: Sequence[int]) -> int:
    """Between two indices: breaks lie mostly after a power of two."""
    step = 1 if good < bad else -1
    if step > 0 and _is_round(lengths[good]):
        return good + step
    between = range(good + step, bad, step)
    powers = [i for i in between if _is_round(lengths[i])]
    return powers[len(powers) // 2] if powers else between[len(between) // 2]


def _is_round(length: int) -> bool:
    return length.bit_count() == 1


def _special(lengths: Sequence[int]) -> tuple[int, ...]:
    """Inner lengths for which some code has a path of its own.

    One that a large power of two divides, one that many small numbers divide.
    """
    inner = lengths[1:-1] or lengths
    divisors = (3, 5, 6, 7, 8, 9, 10, 12)
    return (
        max(inner, key=lambda it: it & -it),
        max(inner, key=lambda it: sum(it % divisor == 0 for divisor in divisors)),
    )


def _period(survey: _Survey, batch: int, lengths: range) -> int:
    """The smallest power of two at whose multiples there are laws; 1 where none is needed."""

    def is_smooth(some: Sequence[int]) -> bool:
        return isinstance(survey.fitted([(batch, it) for it in some]), Laws)

    n = len(lengths)
    if (
        lengths.step > 1
        or n < _FEW_LENGTHS
        or is_smooth([lengths[-1 - n * i // 60] for i in (0, 1, 4, 9)])
    ):
        return 1
    period = 1
    candidate = _LONGEST_PERIOD
    while candidate > 1:
        last = _multiples(lengths, candidate)[-4:]
        if len(last) == 4:
            if not is_smooth(last):
                break
            period = candidate
        candidate //= 2
    return period


def _multiples(lengths: range, period: int) -> range:
    return lengths[-lengths[0] % period :: period]


def _periodic(
    survey: _Survey, batches: range, lengths: range, period: int
) -> Iterator[Piece | Gap]:
    """Of few remainders each by itself; of many the multiples, and the others together."""
    if period <= _FEW_REMAINDERS:
        for remainder in range(period):
            yield from _covered(survey, batches, lengths[remainder::period])
        return
    yield from _covered(survey, batches, _multiples(lengths, period))
    found = _chunked(survey, batches, lengths, period) or [
        _piece(survey, batches, lengths, _near(lengths))
    ]
    yield from found
    if isinstance(found[0], Piece):
        extent = range(min(it.lengths[0] for it in found), max(it.lengths[-1] for it in found) + 1)
        for part in _outside(lengths, extent):
            if any(it % period for it in part):
                yield from _covered(survey, batches, part)


def _chunked(survey: _Survey, batches: range, lengths: range, chunk: int) -> Sequence[Piece | Gap]:
    """The lengths that are no multiples of a chunk, a piece for each remainder, all of one law."""
    others = [it for it in lengths if it % chunk]
    low, high = others[0] // chunk + 1, others[-1] // chunk - 1
    middle, check = (low + high) // 2, (2 * low + high) // 3
    chosen = [(low, 5), (low, 2), (low, 3), (middle, 5), (middle, 2), (high, 3), (check, 4)]
    fitted = [i * chunk + chunk // part for i, part in chosen]
    laws = survey.fitted(_grid(batches, fitted), chunk)
    if isinstance(laws, Misfit):
        return []
    extent = _extent(survey, laws, batches, others, [bisect_left(others, it) for it in fitted])
    if isinstance(extent, Misfit):
        return []
    first, last = others[extent[0]], others[extent[1]]
    borders = (first + -first % chunk, last - last % chunk)  # another width shows at one of them
    beside = [it + side for it in borders for side in (-1, 1) if first <= it + side <= last]
    if not all(survey.holds(laws, (batches[0], it)) for it in beside):
        return []
    starts = (first + (remainder - first) % chunk for remainder in range(1, chunk))
    return [Piece(batches, range(it, last + 1, chunk), laws) for it in starts if it <= last]


def _outside(whole: range, part: range) -> list[range]:
    """What lies below and above a part."""
    below, above = whole[: whole.index(part[0])], whole[whole.index(part[-1]) + 1 :]
    return [it for it in (above, below) if it]
