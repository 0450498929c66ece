"""Windows of repeated forward passes: warm-up, energy by a meter, time by a stopwatch."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from irene.worker.meters import Meter, Reading
from irene.worker.profiling.stopwatch import Clock, Run, Stopwatch
from irene.worker.protocol import Progress

Report = Callable[[Progress], None]
Mark = TypeVar("Mark")

MIN_RUNS = 5
_WARM_UP_SHARE = 0.1
_LONGEST_WARM_UP_S = 3.0
_WARM_UP_RUNS = 2
_TOGETHER_S = 0.05
_REPORT_PERIOD_S = 0.2


@dataclass(frozen=True, slots=True)
class Timed:
    """The runs of a window, and how busy this process kept the machine's processors."""

    runs: tuple[Run, ...]
    load: float


@dataclass(frozen=True, slots=True)
class Metered:
    """A meter's reading over `n_runs` forward passes, one after another."""

    reading: Reading
    n_runs: int


class Pace:
    """Says where a profile of several windows is; its fraction never goes back."""

    def __init__(self, report: Report, window_s: float, n_windows: int) -> None:
        self.window_s = window_s
        self._report = report
        self._n_windows = n_windows
        self._n_done = 0
        self._fraction = 0.0
        self._reported_s = -math.inf

    def advance(self, what: str, n_runs: int, spent_s: float) -> None:
        """In the current window `n_runs` took `spent_s` so far."""
        now_s = time.monotonic()
        if now_s - self._reported_s < _REPORT_PERIOD_S:
            return
        self._reported_s = now_s
        n_all = max(MIN_RUNS, n_runs, math.ceil(n_runs * self.window_s / spent_s))
        all_s = n_all * spent_s / n_runs
        left_s = all_s - spent_s + (self._n_windows - self._n_done - 1) * all_s
        fraction = (self._n_done + n_runs / n_all) / self._n_windows
        self._fraction = max(self._fraction, fraction)
        message = f"measuring {what}: run {n_runs} of ~{n_all}, {left_s:.0f} s left"
        self._report(Progress(message, self._fraction))

    def next_window(self) -> None:
        self._n_done += 1


def warm_up(forward: Callable[[], object], clock: Clock[Mark], window_s: float) -> float:
    """Run until caches, pools and clocks are those of work; the time of the last run."""
    warm_up_s = min(_WARM_UP_SHARE * window_s, _LONGEST_WARM_UP_S)
    started_s = time.perf_counter()
    n_runs = 0
    while True:
        run_started_s = time.perf_counter()
        forward()
        clock.settle()
        now_s = time.perf_counter()
        n_runs += 1
        if n_runs >= _WARM_UP_RUNS and now_s - started_s >= warm_up_s:
            return now_s - run_started_s


def metered(
    forward: Callable[[], object], clock: Clock[Mark], meter: Meter, run_s: float, pace: Pace
) -> Metered:
    """Nothing but forward passes while the meter runs; one takes about `run_s`.

    Raises:
        MeterError: the meter is lost or cannot be trusted.
    """
    n_together = max(1, round(_TOGETHER_S / run_s))  # a GPU is not made to wait between runs
    n_runs = 0
    meter.start()
    started_s = time.perf_counter()
    while True:
        for _ in range(n_together):
            forward()
        clock.settle()
        n_runs += n_together
        spent_s = time.perf_counter() - started_s
        pace.advance("energy", n_runs, spent_s)
        if spent_s >= pace.window_s and n_runs >= MIN_RUNS:
            break
    reading = meter.stop()
    pace.next_window()
    return Metered(reading, n_runs)


def timed(forward: Callable[[], object], watch: Stopwatch[Mark], pace: Pace) -> Timed:
    """Forward passes with every module timed."""
    runs: list[Run] = []
    started_s, busy_started_s = time.perf_counter(), time.process_time()
    with watch.running():
        while True:
            forward()
            runs.append(watch.read())
            spent_s = time.perf_counter() - started_s
            pace.advance("time", len(runs), spent_s)
            if spent_s >= pace.window_s and len(runs) >= MIN_RUNS:
                break
    busy_s = time.process_time() - busy_started_s
    pace.next_window()
    return Timed(tuple(runs), min(busy_s / spent_s / n_usable_cpus(), 1.0))


def n_usable_cpus() -> int:
    """Processors that this process may use: fewer than the machine has under an affinity limit."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
