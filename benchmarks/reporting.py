"""Tables of the benchmarks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest text, names to the left, figures to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [
            row[0].ljust(widths[0]),
            *(it.rjust(w) for it, w in zip(row[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells))


def against(
    name: str, times_s: Sequence[float], baseline: str, baseline_s: Sequence[float]
) -> tuple[str, ...]:
    """A row: median, baseline of the same run, and their ratio."""
    mine, theirs = statistics.median(times_s), statistics.median(baseline_s)
    return (name, f"{mine:.3f} s", baseline, f"{theirs:.3f} s", f"{mine / theirs:.2f}")


HEADER = ("figure", "median", "baseline", "median", "ratio")
