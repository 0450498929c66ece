"""The predictor with nothing run: described by the tracer, blind to what it must not read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from irene.energy.predicted.units import Unit
from irene.errors import DatasetError
from irene.training.crossvalidation import crossvalidate_ours, fit_calibrated
from irene.training.measurements import PAPER_MODELS, Dataset
from irene.training.ours.card import n_multiprocessors_of
from irene.training.ours.fitting import SHIPPED, Recipe, fit_predictor
from irene.training.ours.moving import MIN_ROWS, moved
from irene.training.ours.observations import Observation
from irene.training.ours.profiled import fit_wall
from irene.training.ours.published import DIFFERENCES, build_spec
from irene.training.ours.rows import predict_rows
from irene.training.ours.tracing import _trace, trace_cells
from irene.worker.tracing import trace

CARDS = {"device_1": 15, "device_2": 28}
FAST = replace(SHIPPED, with_intervals=False)

GOALS = {  # ml, module, model with a model left out, nothing run
    "device_1": (0.9, 0.7, 0.8),
    "device_2": (2.05, 1.1, 1.4),
}
FAMILY_GOALS = {"device_1": (2.6, 2.4, 1.8), "device_2": (3.2, 3.3, 2.7)}
PROFILED_GOALS = {"device_1": (0.55, 0.5, 0.45), "device_2": (0.4, 0.4, 0.35)}
REACHED = 1.05


def check(means: dict[str, float], goals: Sequence[float]) -> None:
    for (level, mean), goal in zip(means.items(), goals, strict=True):
        assert mean <= REACHED * goal, level


@pytest.mark.parametrize("model", PAPER_MODELS)
def test_sizes_between_traces_are_exact(model: str, tmp_path: Path) -> None:
    """What follows from six traces is what a trace there sees, length 64 (the head's) included."""
    shapes = [(b, s) for b in (8, 16, 24, 32) for s in (32, 64, 160, 256)]
    traced = trace_cells([(model, *shape) for shape in shapes])
    for shape in ((16, 64), (32, 256)):
        assert traced[(model, *shape)] == _trace((model, *shape), tmp_path)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda it: it.classes[0])
def test_differences_apply_to_what_is_there(difference, tmp_path: Path) -> None:  # type: ignore[no-untyped-def] # a table's entry
    """Each has its reason, and its classes and lost operations are those of today's version."""
    assert difference.reason
    for model in difference.models:
        root = trace(build_spec(model, 8, 32, tmp_path)).root
        pending, found, names = [root], set(), set()
        while pending:
            node = pending.pop()
            if node.class_name in difference.classes:
                found.add(node.class_name)
                names |= {it.class_name for it in node.children if it.kind == "primitive"}
            pending.extend(node.children)
        assert found
        assert not difference.gone or names & set(difference.gone)


def test_every_row_is_explained(rows: Sequence[Observation], dataset: Dataset) -> None:
    """All rows of the six models are matched to a node of a trace."""
    n_rows = sum(cell.model_name in PAPER_MODELS for cell, _ in dataset.nodes())
    assert len(rows) == n_rows


def test_copied_rows_stand_for_the_first_of_their_signature(rows: Sequence[Observation]) -> None:
    """GPT's second layer of the MLP carries the first one's value, so its shape too."""
    row = next(it for it in rows if it.level_name == "h.0.mlp.c_proj:Conv1D")
    tokens = row.cell[1] * row.cell[2]
    assert row.unit == Unit("linear", "flat", 1, tokens, 768, 3072)


def test_nothing_run_reads_nothing_of_what_was_run(
    rows: Sequence[Observation], machine: str
) -> None:
    """With runtime columns and energies of tested rows gone, predictions stay the same."""
    training = [it for it in rows if it.model_name != "gpt2"]
    tested = [it for it in rows if it.model_name == "gpt2"]
    blank = [
        replace(it, energy_j=math.nan, time_s=math.nan, gpu_energy_j=math.nan) for it in tested
    ]
    predictor = fit_predictor(training, CARDS[machine])
    expected = predict_rows(predictor, tested)
    found = predict_rows(predictor, blank)
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.deviation, expected.deviation)


def test_runtime_columns_of_training_rows_are_not_needed(
    rows: Sequence[Observation], machine: str
) -> None:
    """Energies and shapes are enough."""
    result = crossvalidate_ours(rows, "family", "static", CARDS[machine], FAST)
    bare = [replace(it, time_s=math.nan, gpu_energy_j=math.nan) for it in rows]
    again = crossvalidate_ours(bare, "family", "static", CARDS[machine], FAST)
    assert again.to_json()["mean"] == result.to_json()["mean"]


def test_a_model_left_out(rows: Sequence[Observation], machine: str) -> None:
    """Errors and coverage of the main protocol."""
    found = crossvalidate_ours(rows, "model", "static", CARDS[machine]).to_json()
    check(found["mean"], GOALS[machine])
    assert all(0.87 <= it <= 0.955 for it in found["coverage"]["mean"].values())


def test_a_family_left_out(rows: Sequence[Observation], machine: str) -> None:
    """Errors where the other family's layers were never seen, and honest intervals."""
    found = crossvalidate_ours(rows, "family", "static", CARDS[machine]).to_json()
    check(found["mean"], FAMILY_GOALS[machine])
    assert all(it >= 0.8 for it in found["coverage"]["mean"].values())


def test_profiled(rows: Sequence[Observation], machine: str) -> None:
    """Driver energy and time to the wall, by two numbers per machine."""
    found = crossvalidate_ours(rows, "model", "profiled", CARDS[machine]).to_json()
    check(found["mean"], PROFILED_GOALS[machine])
    wall = fit_wall(rows)
    expected = {"device_1": (1.05, 98.0), "device_2": (0.99, 116.0)}[machine]
    assert (wall.a, wall.base_w) == (
        pytest.approx(expected[0], abs=0.01),
        pytest.approx(expected[1], rel=0.03),
    )


def test_profiled_needs_a_profile(rows: Sequence[Observation], machine: str) -> None:
    """`profiled` refuses rows that were not run; `all` predicts them."""
    bare = [
        replace(it, time_s=math.nan) if it.model_name == "gpt2" and it.level == "model" else it
        for it in rows
    ]
    with pytest.raises(DatasetError, match="not run"):
        crossvalidate_ours(bare, "family", "profiled", CARDS[machine], FAST)
    found = crossvalidate_ours(bare, "family", "all", CARDS[machine], FAST)
    assert len(found.rows) == len(rows)


def test_a_few_rows_move_a_predictor(machine: str, rows: Sequence[Observation]) -> None:
    """A predictor of a card twice as dear is brought back by 20 rows."""
    training = [it for it in rows if it.model_name != "gpt2"]
    tested = [it for it in rows if it.model_name == "gpt2"]
    twice = [replace(it, energy_j=2.0 * it.energy_j) for it in training]
    source = fit_calibrated(twice, CARDS[machine], FAST)
    pool = list({it.signature: it for it in training}.values())
    order = np.random.RandomState(0).permutation(len(pool))[:20]
    there = moved(source, [pool[place] for place in order], CARDS[machine])
    logs = np.log([it.energy_j for it in tested])
    before = np.abs(predict_rows(source, tested).mean - logs).mean()
    after = np.abs(predict_rows(there, tested).mean - logs).mean()
    assert before > 0.6
    assert after < 0.08
    with pytest.raises(DatasetError, match=f"at least {MIN_ROWS}"):
        moved(source, pool[:2], CARDS[machine])


def test_an_empty_split_is_an_error() -> None:
    """Nothing to train on, or no module."""
    with pytest.raises(DatasetError, match="split is empty"):
        fit_predictor([], 15, Recipe(None, None))


def test_cards_are_told_by_their_clocks(
    dataset: Dataset, rows: Sequence[Observation], machine: str
) -> None:
    """And an unknown one must be named."""
    assert n_multiprocessors_of(dataset.cells, rows) == CARDS[machine]
    assert n_multiprocessors_of((), rows) == CARDS[machine]  # without clocks, by their steps
    nodes = dataset.cells[0].nodes
    other = tuple(
        replace(it, resources=(*it.resources[:5], 9501.0, *it.resources[6:])) for it in nodes
    )
    with pytest.raises(DatasetError, match="--multiprocessors"):
        n_multiprocessors_of([replace(dataset.cells[0], nodes=other)], rows)
