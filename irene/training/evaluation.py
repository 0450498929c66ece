"""Predictions of tested rows to errors and coverage, as the protocols average them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from irene.energy.predicted.predictor import Level
from irene.errors import DatasetError
from irene.training.measurements import LEVELS
from irene.training.splits import AVERAGE
from irene.writing import write_whole

CellKey = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Tested:
    """A row that was left out of training; `low_j` and `high_j` are None without an interval."""

    cell: CellKey
    level_name: str
    level: Level
    energy_j: float
    predicted_j: float
    low_j: float | None
    high_j: float | None

    @property
    def error_percent(self) -> float:
        """Absolute, of the measured energy."""
        return 100.0 * abs(self.predicted_j - self.energy_j) / self.energy_j

    @property
    def is_covered(self) -> bool | None:
        """Whether the measured energy lies in the interval."""
        if self.low_j is None or self.high_j is None:
            return None
        return self.low_j <= self.energy_j <= self.high_j


@dataclass(frozen=True, slots=True)
class Result:
    """A cross-validation."""

    protocol: str
    folds: Mapping[str, tuple[Tested, ...]]

    @property
    def rows(self) -> tuple[Tested, ...]:
        """All tested rows."""
        return tuple(row for rows in self.folds.values() for row in rows)

    def to_json(self) -> dict[str, Any]:
        """`mean`, `per_fold`, `coverage`, `protocol`."""
        return {
            "mean": mean_over_models(self.rows),
            "per_fold": {name: mean_over_models(rows) for name, rows in self.folds.items()},
            "coverage": _coverage(self.folds),
            "protocol": self.protocol,
        }


def protocol(split: str, method: str, features: str) -> str:
    """One sentence that says how figures were made."""
    return f"method {method}, features {features}; {split}; {AVERAGE}"


def mean_over_models(rows: Sequence[Tested]) -> dict[Level, float | None]:
    """Mean over models of the mean error of their rows; None where a level has no row.

    Raises:
        DatasetError: no row at all.
    """
    if not rows:
        raise DatasetError("no row was tested: the split is empty")
    means: dict[Level, float | None] = {}
    for level in LEVELS:
        by_model: dict[str, list[float]] = {}
        for row in rows:
            if row.level == level:
                by_model.setdefault(row.cell[0], []).append(row.error_percent)
        values = [float(np.mean(it)) for it in by_model.values()]
        means[level] = round(float(np.mean(values)), 4) if values else None
    return means


def _coverage(folds: Mapping[str, Sequence[Tested]]) -> dict[str, dict[Level, float | None]]:
    """Share of rows within their 90 % interval: mean over folds, and the worst fold."""
    shares: dict[Level, list[float]] = {level: [] for level in LEVELS}
    for rows in folds.values():
        for level in LEVELS:
            covered = [it.is_covered for it in rows if it.level == level]
            if covered and None not in covered:
                shares[level].append(float(np.mean([bool(it) for it in covered])))
    return {
        "mean": {level: _or_none(np.mean, shares[level]) for level in LEVELS},
        "worst": {level: _or_none(np.min, shares[level]) for level in LEVELS},
    }


def _or_none(of: Any, values: Sequence[float]) -> float | None:  # noqa: ANN401 - numpy's reductions
    return round(float(of(values)), 4) if values else None


COLUMNS = (
    "model_name",
    "batch_size",
    "seq_len",
    "level_name",
    "level",
    "predicted",
    "low",
    "high",
)


def write_predictions(rows: Iterable[Tested], path: Path) -> None:
    """A CSV row per tested node, in joules; low and high are empty without an interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        ends = ("" if it is None else repr(it) for it in (row.low_j, row.high_j))
        writer.writerow([*row.cell, row.level_name, row.level, repr(row.predicted_j), *ends])
    write_whole(path, text.getvalue())
