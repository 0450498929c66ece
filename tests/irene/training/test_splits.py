"""Who trains and who is tested, under each protocol."""

from __future__ import annotations

import numpy as np
import pytest

from irene.errors import DatasetError
from irene.training.measurements import PAPER_MODELS
from irene.training.splits import CellKey, Split, folds, size_folds

SHAPES = [(b, s) for b in (8, 16, 24, 32) for s in range(32, 257, 32)]
KEYS: list[CellKey] = [(model, b, s) for model in PAPER_MODELS for b, s in SHAPES]


@pytest.mark.parametrize(
    ("split", "n_folds", "n_tested"),
    [("model", 6, 6 * 32), ("family", 2, 6 * 32), ("larger", 6, 6 * 24), ("sizes", 24, 6 * 32)],
)
def test_no_row_of_a_tested_model_trains(split: Split, n_folds: int, n_tested: int) -> None:
    """Every row is tested once (of `larger`, the large ones), by a fold that knows no such model."""
    found = list(folds(split, KEYS))
    assert len(found) == n_folds
    tested = []
    for fold in found:
        models = {key[0] for key in KEYS if fold.tests(key)}
        assert not any(fold.trains(key) for key in KEYS if key[0] in models)
        tested += [key for key in KEYS if fold.tests(key)]
    assert len(tested) == len(set(tested)) == n_tested


def test_sizes_are_shuffled_as_the_protocol_says() -> None:
    """Cells by batch then length, shuffled with seed 0, the k-th in fold k mod 4."""
    order = np.random.RandomState(0).permutation(32)
    expected = {sorted(SHAPES)[cell]: k % 4 for k, cell in enumerate(order)}
    assert size_folds(KEYS) == expected


def test_sizes_that_are_tested_do_not_train() -> None:
    """Not with any model."""
    for fold in folds("sizes", KEYS):
        tested = {key[1:] for key in KEYS if fold.tests(key)}
        assert not tested & {key[1:] for key in KEYS if fold.trains(key)}


def test_larger_trains_on_small_shapes() -> None:
    """Batch up to 16 and length up to 128."""
    for fold in folds("larger", KEYS):
        assert {key[1:] for key in KEYS if fold.trains(key)} == {
            (b, s) for b in (8, 16) for s in (32, 64, 96, 128)
        }


@pytest.mark.parametrize("keys", [[], [("other", 8, 32)], [("gpt2", 8, 32)]])
def test_an_empty_split_is_an_error(keys: list[CellKey]) -> None:
    """No model of the paper, or a single one, so that nothing trains."""
    with pytest.raises(DatasetError, match="split model"):
        list(folds("model", keys))
