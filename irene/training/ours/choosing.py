"""How well a recipe predicts within training folds: what it is chosen by.

Of each fold that leaves one model out, only its training rows are read. Among them models
are left out again: one alone, one with the larger of the small sizes, and a whole family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from irene.energy.predicted.formula import Floats
from irene.training.measurements import BERT_FAMILY, GPT_FAMILY, LEVELS, PAPER_MODELS
from irene.training.ours.fitting import Recipe, fit_predictor
from irene.training.ours.observations import Observation
from irene.training.ours.rows import predict_rows
from irene.training.splits import SMALL_BATCH, SMALL_LENGTH

_Rows = Sequence[Observation]


def training_error(rows: _Rows, n_multiprocessors: int, recipe: Recipe) -> float:
    """Percentage error, the geometric mean over inner splits, levels and models left out."""
    known = [row for row in rows if row.model_name in PAPER_MODELS]
    logs = [
        float(np.log(np.mean(errors)))
        for model in dict.fromkeys(row.model_name for row in known)
        for training, tested in _inner_folds([row for row in known if row.model_name != model])
        for errors in _errors(training, tested, n_multiprocessors, recipe)
    ]
    return float(np.exp(np.mean(logs)))


def _inner_folds(rows: _Rows) -> Iterator[tuple[_Rows, _Rows]]:
    small = [row for row in rows if row.cell[1] <= SMALL_BATCH and row.cell[2] <= SMALL_LENGTH]
    for model in dict.fromkeys(row.model_name for row in rows):
        others = [row for row in rows if row.model_name != model]
        yield others, [row for row in rows if row.model_name == model]
        yield (
            [row for row in small if row.model_name != model and _is_smaller(row)],
            [row for row in small if row.model_name == model and not _is_smaller(row)],
        )
    for family in (BERT_FAMILY, GPT_FAMILY):
        yield (
            [row for row in rows if row.model_name in family],
            [row for row in rows if row.model_name not in family],
        )


def _is_smaller(row: Observation) -> bool:
    return row.cell[1] * row.cell[2] <= SMALL_BATCH * SMALL_LENGTH // 2


def _errors(
    training: _Rows, tested: _Rows, n_multiprocessors: int, recipe: Recipe
) -> Iterator[Floats]:
    """Absolute percentage errors of the tested rows, an array for each level."""
    found = predict_rows(fit_predictor(training, n_multiprocessors, recipe), tested)
    errors = 100.0 * np.abs(np.expm1(found.mean - np.log([row.energy_j for row in tested])))
    levels = np.array([row.level for row in tested])
    yield from (errors[levels == level] for level in LEVELS if (levels == level).any())
