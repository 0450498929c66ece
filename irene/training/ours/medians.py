"""Measurements of one signature put together: medians, and how far models disagree.

Rows of one model and signature are one measurement that was copied, so each model has one
voice. Sessions drift, so that medians over models are steadier than means.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from irene.energy.predicted.formula import Floats
from irene.training.ours.observations import Observation

Subject = TypeVar("Subject", bound=Hashable)

_SMALLEST_NOISE = 0.004
_USUAL_NOISE = 0.01
_ENOUGH_PAIRS = 10


@dataclass(frozen=True, slots=True)
class Medians(Generic[Subject]):
    """One entry per signature."""

    subjects: tuple[Subject, ...]
    logs: Floats  # of the median
    n_measured: Floats
    noise: float  # standard deviation of one measurement's logarithm


def medians(
    rows: Iterable[Observation],
    subject: Callable[[Observation], Subject],
    value: Callable[[Observation], float],
) -> Medians[Subject]:
    """Medians over models of every subject."""
    found: dict[Subject, dict[str, float]] = {}
    for row in rows:
        found.setdefault(subject(row), {}).setdefault(row.model_name, value(row))
    logs = [np.log(list(by_model.values())) for by_model in found.values()]
    return Medians(
        tuple(found),
        np.array([np.log(np.median(np.exp(it))) for it in logs]),
        np.array([float(len(it)) for it in logs]),
        _noise(logs),
    )


def _noise(logs: list[Floats]) -> float:
    spreads = [(it - it.mean()) ** 2 * len(it) / (len(it) - 1) for it in logs if len(it) > 1]
    if not spreads:
        return _USUAL_NOISE
    pooled = np.concatenate(spreads)
    if len(pooled) <= _ENOUGH_PAIRS:
        return _USUAL_NOISE
    return max(_SMALLEST_NOISE, float(np.sqrt(pooled.mean())))
