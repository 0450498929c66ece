"""Open documents and their last good values: versions, debounce, cancel; no LSP types.

Values are answered at once from what was computed last, moved to the lines where they now
stand, while a newer estimate runs behind. Each document has one estimate in flight; a newer
text cancels it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from irene_server.lines import Edit, Text, apply, moved, text_of, trimmed
from irene_server.shifting import shifted

if TYPE_CHECKING:
    from irene.annotations import Annotations

log = logging.getLogger(__name__)

State = Literal["fresh", "pending", "stale", "failed"]
"""fresh: of the text shown; pending: an estimate of it is under way; stale: of an older text,
and either nothing newer can be had or it takes long; failed: the estimate itself broke."""

DEBOUNCE_PER_UPDATE = 1.5
MIN_DEBOUNCE_S = 0.03
MAX_DEBOUNCE_S = 0.6
STALE_AFTER_S = 1.0
"""How long old values stand unmarked: shorter updates would make labels flicker at each key."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document at one moment."""

    uri: str
    path: str  # absolute; a made-up one for a document that is no file
    text: str
    version: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What an estimate made of a snapshot."""

    annotations: Annotations
    is_whole: bool  # the text could be read to its end
    device: str | None = None  # the name of the device that the values stand for


Publish = Callable[["Annotations"], None]


class Estimator(Protocol):
    """Reads a snapshot.

    `publish` takes what can be said before all values are there; it is None where values of
    an older text stand, which an unfinished estimate must not blank.
    """

    async def __call__(self, snapshot: Snapshot, publish: Publish | None) -> Reading: ...


class Clock(Protocol):
    """Time, and waiting for it."""

    def now_s(self) -> float: ...

    async def sleep(self, duration_s: float) -> None: ...


class SystemClock:
    """The clock of this machine."""

    def now_s(self) -> float:
        return time.monotonic()

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


@dataclass(frozen=True, slots=True)
class View:
    """What a document shows now: values at the lines of `text`, and how far they hold."""

    uri: str
    text: Text
    version: int
    annotations: Annotations | None  # None: nothing is known yet
    state: State
    is_reading: bool  # an estimate runs at this moment
    device: str | None


@dataclass(slots=True)
class _Open:
    """An open document. `origins[i]` is the line of the values' text that is line i + 1 now."""

    uri: str
    path: str
    text: Text
    version: int
    origins: tuple[int, ...]
    values: Annotations | None = None
    device: str | None = None
    is_complete: bool = False  # `values` are final ones, not those of an unfinished estimate
    state: State = "pending"
    is_reading: bool = False
    took_s: float = 0.0
    task: asyncio.Task[None] | None = None
    known: asyncio.Event = field(default_factory=asyncio.Event)


class Analysis:
    """All open documents. Every method runs on the event loop's thread."""

    def __init__(
        self,
        estimate: Estimator,
        on_change: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._estimate = estimate
        self._on_change = on_change
        self._clock = clock or SystemClock()
        self._open: dict[str, _Open] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def open(self, uri: str, path: str, content: str, version: int) -> None:
        """Starts to estimate a document, without a debounce."""
        self.close(uri)
        text = text_of(content)
        document = _Open(uri, path, text, version, tuple(range(1, text.n_lines + 1)))
        self._open[uri] = document
        self._start(document, delay_s=0.0)

    def change(self, uri: str, version: int, edits: Iterable[Edit]) -> None:
        """Applies edits, each to the text after those before it, and estimates again."""
        document = self._open.get(uri)
        if document is None:
            return
        for edit in edits:
            self._apply(document, edit)
        document.version = version
        document.state = "pending"
        self._start(document, delay_s=_debounce_s(document.took_s))

    def close(self, uri: str) -> None:
        """Forgets a document and cancels what runs for it."""
        document = self._open.pop(uri, None)
        if document is not None:
            self._cancel(document)
            document.known.set()

    def again(self, uris: Iterable[str] | None = None, delay_s: float = 0.0) -> None:
        """Estimates documents anew, all by default: something that they depend on changed.

        What changes many times within `delay_s` leads to one estimate.
        """
        for uri in list(self._open) if uris is None else uris:
            if uri in self._open:
                self._open[uri].state = "pending"
                self._start(self._open[uri], delay_s)

    def text(self, uri: str) -> Text | None:
        """The latest text of an open document."""
        document = self._open.get(uri)
        return document.text if document else None

    def snapshot(self, uri: str) -> Snapshot | None:
        """The latest text of an open document, with its version."""
        document = self._open.get(uri)
        return _snapshot(document) if document else None

    def view(self, uri: str) -> View | None:
        """What a document shows now; None for one that is not open."""
        document = self._open.get(uri)
        if document is None:
            return None
        values = document.values
        placed = values and shifted(values, document.origins)
        return View(
            uri=uri,
            text=document.text,
            version=document.version,
            annotations=placed,
            state=document.state,
            is_reading=document.is_reading,
            device=document.device,
        )

    async def first_view(self, uri: str) -> View | None:
        """As `view`, but waits until the classes of a document just opened are known."""
        document = self._open.get(uri)
        if document is not None:
            await document.known.wait()
        return self.view(uri)

    @property
    def uris(self) -> tuple[str, ...]:
        return tuple(self._open)

    async def shut_down(self) -> None:
        """Closes all documents and waits for what was cancelled."""
        for uri in self.uris:
            self.close(uri)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _apply(self, document: _Open, edit: Edit) -> None:
        before, edit = document.text, trimmed(document.text, edit)
        document.text = apply(before, edit)
        document.origins = moved(document.origins, before, edit, document.text)

    def _start(self, document: _Open, delay_s: float) -> None:
        superseded = self._cancel(document)
        document.task = asyncio.ensure_future(self._update(document, delay_s, superseded))

    def _cancel(self, document: _Open) -> asyncio.Task[None] | None:
        task, document.task = document.task, None
        if task is None or task.done():
            return None
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _update(
        self, document: _Open, delay_s: float, superseded: asyncio.Task[None] | None
    ) -> None:
        await self._clock.sleep(delay_s)
        if superseded is not None:  # its process may still have to be stopped
            await asyncio.wait({superseded})
        mark = asyncio.ensure_future(self._mark_stale(document))
        try:
            if not await self._read(document):
                await mark
        finally:
            mark.cancel()

    async def _mark_stale(self, document: _Open) -> None:
        """Says that old values are old, but only when they stay for longer than a moment."""
        await self._clock.sleep(STALE_AFTER_S)
        if document.is_complete:
            self._end(document, "stale")

    async def _read(self, document: _Open) -> bool:
        """Whether there are new values, or none to wait for; False: the old ones stay.

        A newer task drops what this one still finds: a cancel can come too late to stop it.
        """
        task = asyncio.current_task()
        started_s = self._clock.now_s()

        def publish(annotations: Annotations) -> None:
            if document.task is task:
                self._show(document, Reading(annotations, is_whole=False), "pending")

        document.is_reading = True
        try:
            reading = await self._estimate(
                _snapshot(document), None if document.is_complete else publish
            )
        except Exception:  # the request rim: one document's fault must not end the server
            log.exception("The estimate of %s failed", document.uri)
            reading = None
        finally:
            document.is_reading = False
        if document.task is not task:
            return True
        if reading is None:
            self._end(document, "failed")
            return True
        document.took_s = self._clock.now_s() - started_s
        if document.is_complete and not reading.is_whole:
            return False
        document.is_complete = reading.is_whole
        self._show(document, reading, "fresh")
        return True

    def _show(self, document: _Open, reading: Reading, state: State) -> None:
        """New values, of the text as it is: each edit starts a newer task."""
        document.values, document.device = reading.annotations, reading.device
        document.origins = tuple(range(1, document.text.n_lines + 1))
        self._end(document, state)

    def _end(self, document: _Open, state: State) -> None:
        document.state = state
        document.known.set()
        self._on_change(document.uri)


def _snapshot(document: _Open) -> Snapshot:
    return Snapshot(document.uri, document.path, document.text.content, document.version)


def _debounce_s(took_s: float) -> float:
    """A pause that suits the last update: 75 ms after one of 50 ms."""
    return min(max(DEBOUNCE_PER_UPDATE * took_s, MIN_DEBOUNCE_S), MAX_DEBOUNCE_S)
