"""What a set of runs says: which of them were disturbed, and the times of the others."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from irene.worker.profiling.stopwatch import Path, Run
from irene.worker.protocol import CallTime

_MAD_TO_STD = 1.4826  # of a normal distribution
_FAR = 5.0  # standard deviations
_SLOWER = 0.02  # of the median: closer runs count, however alike the others are


def disturbed(times_s: Sequence[float]) -> list[bool]:
    """Runs far slower than most, by the median absolute deviation; none is too fast."""
    median_s = statistics.median(times_s)
    deviation_s = _MAD_TO_STD * statistics.median(abs(it - median_s) for it in times_s)
    limit_s = median_s + max(_FAR * deviation_s, _SLOWER * median_s)
    return [it > limit_s for it in times_s]


def call_times(paths: Sequence[Path], runs: Sequence[Run]) -> tuple[CallTime, ...]:
    """Mean times of each path over `runs`.

    Time times calls is the path's mean share of a forward pass, so that what a path takes
    is never below what those under it take.
    """
    times = (_call_time(path, index, runs) for index, path in enumerate(paths))
    return tuple(it for it in times if it is not None)


def _call_time(path: Path, index: int, runs: Sequence[Run]) -> CallTime | None:
    n_calls = sum(run.n_calls[index] for run in runs if index < len(run.n_calls))
    if n_calls == 0:
        return None
    calls = max(1, round(n_calls / len(runs)))
    each_s = [run.times_s[index] / calls if index < len(run.times_s) else 0.0 for run in runs]
    return CallTime(path, calls, statistics.fmean(each_s), statistics.pstdev(each_s))
