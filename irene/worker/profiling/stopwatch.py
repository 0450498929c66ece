"""Times every call of a module in real forward passes, by its path in the tree.

It stands in `torch.nn.Module.__call__`, as the tracer does, so that both see the same calls.
Hooks would be seen by the model: `nn.TransformerEncoder` takes another path with them.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import torch

Path = tuple[str, ...]
Mark = TypeVar("Mark")


class Clock(Protocol[Mark]):
    """A device's own time."""

    def mark(self) -> Mark:
        """A point in the stream of work."""

    def settle(self) -> None:
        """Return once all work before is done, so that marks can be read."""

    def seconds(self, start: Mark, end: Mark) -> float:
        """Time between two marks."""


class CpuClock:
    """Work on the CPU is done when its call returns."""

    def mark(self) -> int:
        return time.perf_counter_ns()

    def settle(self) -> None:
        """Nothing is under way."""

    def seconds(self, start: int, end: int) -> float:
        return 1e-9 * (end - start)


class CudaClock:
    """Events in the stream: the host runs ahead, undisturbed, and the GPU's time is read later."""

    def __init__(self, device: str) -> None:
        self._device = device

    def mark(self) -> torch.cuda.Event:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def settle(self) -> None:
        import torch

        torch.cuda.synchronize(self._device)

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return 1e-3 * float(start.elapsed_time(end))


@dataclass(frozen=True, slots=True)
class Run:
    """One forward pass: calls and total time of each path, in the order of `Stopwatch.paths`.

    Paths that first came in a later run are beyond the end.
    """

    n_calls: array[int]
    times_s: array[float]


@dataclass(slots=True)
class _Place(Generic[Mark]):
    """A path, and the spans of its calls in the current run."""

    path: Path
    index: int
    inside: dict[str, _Place[Mark]] = field(default_factory=dict)
    spans: list[tuple[Mark, Mark]] = field(default_factory=list)


class Stopwatch(Generic[Mark]):
    """Times the forward passes of `model` on this thread; the first path is the root's."""

    def __init__(self, model: torch.nn.Module, clock: Clock[Mark]) -> None:
        self._clock = clock
        self._scopes = {id(module): scope for scope, module in model.named_modules()}
        self._root: _Place[Mark] = _Place((), 0)
        self._places = [self._root]
        self._stack: list[_Place[Mark]] = []

    @property
    def paths(self) -> list[Path]:
        return [place.path for place in self._places]

    def read(self) -> Run:
        """The run since the last reading."""
        self._clock.settle()
        n_calls = array("q", (len(place.spans) for place in self._places))
        times_s = array("d", (self._total_s(place) for place in self._places))
        for place in self._places:
            place.spans.clear()
        return Run(n_calls, times_s)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Calls of modules on this thread are timed."""
        import torch

        original = torch.nn.Module.__call__
        thread = threading.get_ident()
        mark, stack = self._clock.mark, self._stack

        def call(module: torch.nn.Module, *args: object, **kwargs: object) -> object:
            if threading.get_ident() != thread:
                return original(module, *args, **kwargs)
            place = self._place_of(module)
            stack.append(place)
            start = mark()
            try:
                return original(module, *args, **kwargs)
            finally:
                place.spans.append((start, mark()))
                stack.pop()

        torch.nn.Module.__call__ = call  # type: ignore[method-assign] # restored below
        try:
            yield
        finally:
            torch.nn.Module.__call__ = original  # type: ignore[method-assign] # as it was

    def _place_of(self, module: torch.nn.Module) -> _Place[Mark]:
        if not self._stack:
            return self._root
        parent = self._stack[-1]
        scope = self._scopes.get(id(module))
        if scope is None:  # made in forward: named as the tracer does
            above = parent.path[-1] if parent.path else ""
            scope = f"{above}.<{type(module).__name__}>".lstrip(".")
        place = parent.inside.get(scope)
        if place is None:
            place = _Place((*parent.path, scope), len(self._places))
            parent.inside[scope] = place
            self._places.append(place)
        return place

    def _total_s(self, place: _Place[Mark]) -> float:
        return sum(self._clock.seconds(start, end) for start, end in place.spans)
