"""Which rows train and which are tested, for each protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from irene.errors import DatasetError
from irene.training.measurements import BERT_FAMILY, GPT_FAMILY, PAPER_MODELS

Split = Literal["model", "sizes", "family", "larger"]
CellKey = tuple[str, int, int]
Row = TypeVar("Row")

N_SIZE_FOLDS = 4
SMALL_BATCH, SMALL_LENGTH = 16, 128

PROTOCOLS: dict[Split, str] = {
    "model": "leave one model out",
    "sizes": "leave one model out and, of the others too, one of four folds of (batch, length): "
    "cells sorted by batch then length, shuffled by numpy.random.RandomState(0).permutation, "
    "the k-th of the shuffled order in fold k mod 4",
    "family": "leave a family out: bert, distilbert, roberta; gpt2, distilgpt2, openai-gpt",
    "larger": "train on the rows with batch <= 16 and length <= 128 of the other models, test "
    "all other rows of the model left out",
}
AVERAGE = (
    "absolute percentage error per row, mean over the rows of a model (repeated rows counted "
    "each time), then mean over models"
)


@dataclass(frozen=True, slots=True)
class Fold:
    """One training run: what it is called, and which cells it trains on and tests."""

    name: str
    trains: Callable[[CellKey], bool]
    tests: Callable[[CellKey], bool]


def folds(split: Split, keys: Sequence[CellKey]) -> Iterator[Fold]:
    """The folds of a split over the paper's models among `keys`.

    Raises:
        DatasetError: a side of a fold has no cell.
    """
    known = [key for key in dict.fromkeys(keys) if key[0] in PAPER_MODELS]
    for fold in _folds(split, known):
        for what, chosen in (("train on", fold.trains), ("test", fold.tests)):
            if not any(chosen(key) for key in known):
                raise DatasetError(
                    f"split {split}, fold {fold.name}: no cell to {what}; the data need several "
                    f"of the models {', '.join(PAPER_MODELS)}"
                )
        yield fold


def _folds(split: Split, keys: Sequence[CellKey]) -> Iterator[Fold]:
    models = list(dict.fromkeys(key[0] for key in keys))
    if not models:
        raise DatasetError(f"split {split}: none of the models {', '.join(PAPER_MODELS)} is there")
    if split == "family":
        for name, family in (("BERTs", BERT_FAMILY), ("GPTs", GPT_FAMILY)):
            yield Fold(name, _outside(family), _inside(family))
    elif split == "sizes":
        yield from _size_folds(keys, models)
    else:
        for model in models:
            yield (
                _larger(model)
                if split == "larger"
                else Fold(model, _outside((model,)), _inside((model,)))
            )


def _inside(models: Sequence[str]) -> Callable[[CellKey], bool]:
    return lambda key: key[0] in models


def _outside(models: Sequence[str]) -> Callable[[CellKey], bool]:
    return lambda key: key[0] not in models


def _larger(model: str) -> Fold:
    def is_small(key: CellKey) -> bool:
        return key[1] <= SMALL_BATCH and key[2] <= SMALL_LENGTH

    return Fold(
        model,
        lambda key: key[0] != model and is_small(key),
        lambda key: key[0] == model and not is_small(key),
    )


def _size_folds(keys: Sequence[CellKey], models: Sequence[str]) -> Iterator[Fold]:
    number = size_folds(keys)
    for model in models:
        for k in range(N_SIZE_FOLDS):

            def trains(key: CellKey, model: str = model, k: int = k) -> bool:
                return key[0] != model and number[key[1:]] != k

            def tests(key: CellKey, model: str = model, k: int = k) -> bool:
                return key[0] == model and number[key[1:]] == k

            yield Fold(f"{model}/{k}", trains, tests)


def size_folds(keys: Sequence[CellKey]) -> dict[tuple[int, int], int]:
    """The fold of each (batch, length)."""
    cells = sorted({key[1:] for key in keys})
    shuffled = np.random.RandomState(0).permutation(len(cells))
    return {cells[cell]: k % N_SIZE_FOLDS for k, cell in enumerate(shuffled)}
