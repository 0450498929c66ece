"""Versions, debounce, cancel and old values, with a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from irene.annotations import Annotations, ClassAnnotation, LineAnnotation
from irene.source.outline import Span
from irene_server.analysis import Analysis, Publish, Reading, Snapshot, View
from irene_server.lines import Edit, text_of

URI = "file:///net.py"
TEXT = "import torch\nclass Net:\n    fc = Linear(3)\n    act = ReLU(1)\n"


class ManualClock:
    """A clock that stands still until a test moves it on."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now_s(self) -> float:
        return self._now_s

    async def sleep(self, duration_s: float) -> None:
        if duration_s <= 0.0:
            await asyncio.sleep(0)
            return
        wake = asyncio.Event()
        self._sleepers.append((self._now_s + duration_s, wake))
        await wake.wait()

    async def advance(self, duration_s: float) -> None:
        await settle()
        self._now_s += duration_s
        for due_s, wake in self._sleepers:
            if due_s <= self._now_s + 1e-9:
                wake.set()
        await settle()


async def settle() -> None:
    """Lets everything run that can run."""
    for _ in range(20):
        await asyncio.sleep(0)


def read(text: str, version: int, label: Callable[[str], str]) -> Annotations:
    """A small real estimator: a class is a line with `class`, a value a line with `(`."""
    lines = list(enumerate(text.splitlines(), 1))
    return Annotations(
        version=version,
        classes=tuple(
            ClassAnnotation("Net", n, Span(n, 6, n, 9), label(it), "value", "Net", None, None)
            for n, it in lines
            if it.startswith("class ")
        ),
        lines=tuple(LineAnnotation(n, label(it), 1.0, 0.5, None) for n, it in lines if "(" in it),
        hovers=(),
        problems=(),
        summary="",
    )


@dataclass
class SlowEstimator:
    """Reads text as `read` does, in `takes_s`; a text with `???` cannot be read to its end.

    Unless it `stops`, a cancel comes too late: it ends with its values all the same.
    """

    clock: ManualClock
    takes_s: float = 0.0
    stops: bool = True
    texts: list[str] = field(default_factory=list)  # of all estimates that began
    n_running: int = 0
    most_running: int = 0

    async def __call__(self, snapshot: Snapshot, publish: Publish | None) -> Reading:
        self.texts.append(snapshot.text)
        self.n_running += 1
        self.most_running = max(self.most_running, self.n_running)
        try:
            if publish is not None:
                publish(read(snapshot.text, snapshot.version, lambda _: "…"))
            await self.clock.sleep(self.takes_s)
        except asyncio.CancelledError:
            if self.stops:
                raise
            if publish is not None:
                publish(read(snapshot.text, snapshot.version, lambda _: "late"))
        finally:
            self.n_running -= 1
        if "raise" in snapshot.text:
            raise RuntimeError("a fault of the estimator")
        whole = "???" not in snapshot.text
        return Reading(read(snapshot.text, snapshot.version, str.strip), whole, "A100")


@dataclass
class Bench:
    """An analysis with its estimator and clock, and what it announced."""

    takes_s: float = 0.0
    clock: ManualClock = field(default_factory=ManualClock)
    changes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.estimator = SlowEstimator(self.clock, self.takes_s)
        self.analysis = Analysis(self.estimator, self.changes.append, self.clock)
        self.version = 1

    async def open(self, text: str = TEXT) -> None:
        self.analysis.open(URI, "/net.py", text, self.version)
        await settle()
        await self.clock.advance(self.takes_s)

    def edit(self, old: str, new: str) -> None:
        text = self.analysis.text(URI)
        assert text is not None
        start = text.content.index(old)
        self.version += 1
        self.analysis.change(URI, self.version, [Edit(start, start + len(old), new)])

    @property
    def view(self) -> View:
        view = self.analysis.view(URI)
        assert view is not None
        return view

    @property
    def shown(self) -> list[tuple[int, str]]:
        assert self.view.annotations is not None
        return [(it.line, it.label) for it in self.view.annotations.lines]

    async def close(self) -> None:
        await self.analysis.shut_down()


LABELS = [(3, "fc = Linear(3)"), (4, "act = ReLU(1)")]


async def test_values_follow_the_opening_of_a_document() -> None:
    """A document just opened shows placeholders, then values of its version."""
    bench = Bench(takes_s=2.0)
    bench.analysis.open(URI, "/net.py", TEXT, 1)
    first = asyncio.ensure_future(bench.analysis.first_view(URI))
    await settle()
    assert bench.shown == [(3, "…"), (4, "…")]
    assert (first.done(), bench.view.state) == (True, "pending")
    await bench.clock.advance(2.0)
    assert (bench.shown, bench.view.state, bench.view.device) == (LABELS, "fresh", "A100")
    assert bench.view.annotations is not None
    assert bench.view.annotations.version == 1
    await bench.close()


async def test_old_values_move_with_the_lines_at_once() -> None:
    """A line above moves all values down before any estimate has run."""
    bench = Bench()
    await bench.open()
    bench.edit("class Net", "\nclass Net")
    assert bench.shown == [(4, "fc = Linear(3)"), (5, "act = ReLU(1)")]
    assert bench.view.annotations is not None
    assert [(it.line, it.name_span) for it in bench.view.annotations.classes] == [
        (3, Span(3, 6, 3, 9))
    ]
    assert (bench.view.state, bench.view.version) == ("pending", 2)
    await bench.close()


async def test_a_deleted_line_takes_its_value_with_it() -> None:
    """Nothing is shown on the line that took its place."""
    bench = Bench()
    await bench.open()
    bench.edit("    fc = Linear(3)\n", "")
    assert bench.shown == [(3, "act = ReLU(1)")]
    await bench.close()


async def test_values_follow_after_the_debounce() -> None:
    """Old values stand, unmarked, until the new ones are there."""
    bench = Bench(takes_s=0.2)
    await bench.open()
    bench.edit("Linear(3)", "Linear(30)")
    await bench.clock.advance(0.1)
    assert bench.estimator.texts == [TEXT]
    await bench.clock.advance(0.2)
    assert (bench.shown, bench.view.state) == (LABELS, "pending")
    await bench.clock.advance(0.2)
    assert bench.shown == [(3, "fc = Linear(30)"), (4, "act = ReLU(1)")]
    assert bench.view.state == "fresh"
    await bench.close()


@pytest.mark.parametrize(
    ("took_s", "debounce_s"), [(0.0, 0.03), (0.05, 0.075), (0.2, 0.3), (10.0, 0.6)]
)
async def test_the_debounce_follows_the_last_update(took_s: float, debounce_s: float) -> None:
    """A fast document is read again at once, a slow one after a pause."""
    bench = Bench(takes_s=took_s)
    await bench.open()
    bench.edit("Linear(3)", "Linear(4)")
    await bench.clock.advance(debounce_s - 0.001)
    assert len(bench.estimator.texts) == 1
    await bench.clock.advance(0.002)
    assert len(bench.estimator.texts) == 2
    await bench.close()


async def test_one_estimate_in_flight() -> None:
    """Each key cancels the estimate of the text before it; the last text is read."""
    bench = Bench(takes_s=1.0)
    await bench.open()
    for width in range(4, 10):
        bench.edit(f"Linear({width - 1})", f"Linear({width})")
        await bench.clock.advance(0.9)
    await bench.clock.advance(1.0)
    assert bench.shown[0] == (3, "fc = Linear(9)")
    assert bench.estimator.most_running == 1
    await bench.close()


async def test_an_estimate_that_ends_in_spite_of_a_cancel_is_dropped() -> None:
    """Its values are those of an older text: at the lines of the newer one they would be wrong."""
    bench = Bench(takes_s=1.0)
    await bench.open()
    bench.estimator.stops = False
    bench.edit("Linear(3)", "Linear(4)")
    await bench.clock.advance(0.6)
    bench.edit("class Net", "\nclass Net")
    await settle()
    assert bench.shown == [(4, "fc = Linear(3)"), (5, "act = ReLU(1)")]
    assert bench.view.state == "pending"
    await bench.clock.advance(0.6)
    await bench.clock.advance(1.0)
    assert bench.shown == [(4, "fc = Linear(4)"), (5, "act = ReLU(1)")]
    assert bench.view.state == "fresh"
    await bench.close()


async def test_a_late_part_of_a_superseded_estimate_is_dropped() -> None:
    """Also what an estimate says before it ends is of the text that it began with."""
    bench = Bench(takes_s=1.0)
    bench.estimator.stops = False
    bench.analysis.open(URI, "/net.py", TEXT, 1)
    await settle()
    bench.edit("class Net", "\nclass Net")
    await settle()
    assert (bench.shown, bench.view.state) == ([(4, "…"), (5, "…")], "pending")
    await bench.close()


async def test_an_estimate_that_files_made_old_is_dropped() -> None:
    """The version of the text is the same; what it was built from is not."""
    bench = Bench(takes_s=1.0)
    bench.estimator.stops = False
    bench.analysis.open(URI, "/net.py", TEXT, 1)
    await settle()
    bench.analysis.again(delay_s=0.5)
    await settle()
    assert (bench.shown, bench.view.state) == ([(3, "…"), (4, "…")], "pending")
    await bench.clock.advance(0.5)
    await bench.clock.advance(1.0)
    assert (bench.shown, bench.view.state) == (LABELS, "fresh")
    await bench.close()


async def test_keys_within_the_debounce_start_nothing() -> None:
    """A burst of keys is one estimate."""
    bench = Bench()
    await bench.open()
    for width in range(4, 10):
        bench.edit(f"Linear({width - 1})", f"Linear({width})")
        await bench.clock.advance(0.02)
    await bench.clock.advance(1.0)
    assert len(bench.estimator.texts) == 2
    await bench.close()


async def test_broken_text_keeps_the_last_good_values() -> None:
    """They stay at their lines, are marked stale after a moment, and go when the text is whole."""
    bench = Bench()
    await bench.open()
    bench.edit("import torch\n", "import torch\nx = ???\n")
    await bench.clock.advance(0.1)
    assert bench.shown == [(4, "fc = Linear(3)"), (5, "act = ReLU(1)")]
    assert bench.view.state == "pending"
    await bench.clock.advance(1.0)
    assert bench.shown == [(4, "fc = Linear(3)"), (5, "act = ReLU(1)")]
    assert bench.view.state == "stale"
    bench.edit("???", "1")
    await bench.clock.advance(0.1)
    assert bench.view.state == "fresh"
    await bench.close()


async def test_a_document_that_opens_broken_shows_what_can_be_known() -> None:
    """There are no older values to keep; the next text, whole, replaces them."""
    bench = Bench()
    await bench.open("x = ???\nclass Net:\n    fc = Linear(3)\n")
    assert (bench.shown, bench.view.state) == ([(3, "fc = Linear(3)")], "fresh")
    bench.edit("???", "1")
    await bench.clock.advance(0.1)
    assert bench.view.state == "fresh"
    await bench.close()


async def test_a_slow_estimate_marks_old_values_stale() -> None:
    """After a second the reader is told that the numbers are old."""
    bench = Bench()
    await bench.open()
    bench.estimator.takes_s = 5.0
    bench.edit("Linear(3)", "Linear(4)")
    await bench.clock.advance(0.1)
    assert bench.view.state == "pending"
    n_changes = len(bench.changes)
    await bench.clock.advance(1.0)
    assert (bench.view.state, len(bench.changes)) == ("stale", n_changes + 1)
    assert bench.view.is_reading
    await bench.clock.advance(4.0)
    assert (bench.view.state, bench.view.is_reading) == ("fresh", False)
    await bench.close()


async def test_a_failing_estimate_keeps_the_values(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next edit is estimated as ever."""
    bench = Bench()
    await bench.open()
    bench.edit("import torch", "raise it")
    await bench.clock.advance(0.1)
    assert (bench.shown, bench.view.state) == (LABELS, "failed")
    assert "a fault of the estimator" in caplog.text
    bench.edit("raise it", "import torch")
    await bench.clock.advance(0.1)
    assert bench.view.state == "fresh"
    await bench.close()


async def test_a_closed_document_is_forgotten() -> None:
    """What ran for it is cancelled, whoever waited gets nothing, edits that come late are dropped."""
    bench = Bench(takes_s=9.0)
    bench.analysis.open(URI, "/net.py", "x", 1)
    bench.analysis.close(URI)
    assert await bench.analysis.first_view(URI) is None
    bench.analysis.change(URI, 2, [Edit(0, 0, "y")])
    await settle()
    assert (bench.analysis.view(URI), bench.estimator.n_running) == (None, 0)
    await bench.close()


async def test_documents_are_independent() -> None:
    """Two files, even with one class name, have their own values; `again` reads both anew."""
    bench = Bench()
    await bench.open()
    bench.analysis.open("file:///other.py", "/other.py", "class Net:\n    a = B(2)\n", 7)
    await settle()
    other = bench.analysis.view("file:///other.py")
    assert other is not None
    assert other.annotations is not None
    assert [(it.line, it.label) for it in other.annotations.lines] == [(2, "a = B(2)")]
    assert bench.shown == LABELS
    bench.analysis.again()
    await settle()
    assert len(bench.estimator.texts) == 4
    await bench.close()


async def test_many_changes_of_files_are_one_estimate() -> None:
    """A checkout tells of each file; the documents are read once, when it is over."""
    bench = Bench()
    await bench.open()
    for _ in range(50):
        bench.analysis.again(delay_s=0.5)
        await bench.clock.advance(0.1)
    await bench.clock.advance(0.5)
    assert len(bench.estimator.texts) == 2
    await bench.close()


def test_text_is_what_the_edits_made() -> None:
    """The estimator's own small reader sees what the editor shows."""
    assert text_of(TEXT).line(3) == "    fc = Linear(3)"
