"""Both methods under every protocol: fit on a fold's training rows, predict the others.

With features `static` no runtime column of a tested row is read, and with every split no
row of the model that is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from irene.energy.predicted.predictor import Interval, Predictor
from irene.errors import DatasetError
from irene.training.evaluation import Result, Tested, protocol
from irene.training.measurements import PAPER_MODELS, Cell, Dataset
from irene.training.ours.fitting import SHIPPED, Recipe, fit_predictor
from irene.training.ours.intervals import calibrated
from irene.training.ours.observations import Observation, observe
from irene.training.ours.profiled import WallLayer, fit_wall, was_run
from irene.training.ours.rows import predict_rows
from irene.training.ours.tracing import CellKey, TracedCell, trace_cells
from irene.training.paper.config import FeatureSet, PaperConfig
from irene.training.paper.predictor import PaperPredictor, fit_paper, predict_paper
from irene.training.splits import PROTOCOLS, Fold, Split, folds

Features = Literal["static", "profiled", "all"]

FEATURE_SETS: dict[Features, tuple[FeatureSet, ...]] = {
    "static": ("model_specs",),
    "profiled": ("resource_utilization",),
    "all": ("model_specs", "resource_utilization"),
}


def crossvalidate_paper(
    dataset: Dataset, split: Split, features: Features, config: PaperConfig
) -> tuple[Result, dict[str, PaperPredictor]]:
    """The paper's method; also the predictor of each fold."""
    config = replace(config, feature_sets=FEATURE_SETS[features])
    tested: dict[str, tuple[Tested, ...]] = {}
    predictors = {}
    for fold in folds(split, [_key(cell) for cell in dataset.cells]):
        predictor = fit_paper(
            [cell for cell in dataset.cells if _in_paper(cell) and fold.trains(_key(cell))], config
        )
        cells = [cell for cell in dataset.cells if _in_paper(cell) and fold.tests(_key(cell))]
        tested[fold.name] = tuple(_tested_cells(cells, predictor))
        predictors[fold.name] = predictor
    return Result(protocol(PROTOCOLS[split], "paper", features), tested), predictors


def crossvalidate_ours(
    rows: Sequence[Observation],
    split: Split,
    features: Features,
    n_multiprocessors: int,
    recipe: Recipe = SHIPPED,
) -> Result:
    """Our method: nothing run, or profiled (`all`: profiled where a row was run)."""
    tested = {
        fold.name: tuple(_tested_fold(rows, fold, features, n_multiprocessors, recipe))
        for fold in folds(split, [row.cell for row in rows])
    }
    return Result(protocol(PROTOCOLS[split], "ours", features), tested)


def observations(
    dataset: Dataset, traced: dict[CellKey, TracedCell] | None = None
) -> tuple[tuple[Observation, ...], tuple[str, ...]]:
    """Rows with what they were measured on; models are traced here unless `traced` is given."""
    if traced is None:
        traced = trace_cells([_key(cell) for cell in dataset.cells])
    return observe(dataset.cells, traced)


def fit_calibrated(
    rows: Sequence[Observation], n_multiprocessors: int, recipe: Recipe = SHIPPED
) -> Predictor:
    """A predictor, with intervals that hold for models left out where they are wanted."""
    predictor = fit_predictor(rows, n_multiprocessors, recipe)
    if not recipe.with_intervals:
        return predictor
    bare = replace(recipe, with_times=False)
    return calibrated(
        predictor,
        rows,
        lambda some: fit_predictor(some, n_multiprocessors, bare),
    )


def _key(cell: Cell) -> CellKey:
    return (cell.model_name, cell.batch_size, cell.seq_len)


def _in_paper(cell: Cell) -> bool:
    return cell.model_name in PAPER_MODELS


def _tested_cells(cells: Sequence[Cell], predictor: PaperPredictor) -> Iterator[Tested]:
    predicted = predict_paper(cells, predictor)
    nodes = [(cell, node) for cell in cells for node in cell.nodes]
    for (cell, node), joules in zip(nodes, predicted.tolist(), strict=True):
        if node.energy_j is None:
            continue
        is_model = node.node_type == "model"
        name = cell.model_name if is_model else f"{node.scope}:{node.class_name}"
        value = 0.0 if np.isnan(joules) else joules  # a missing prediction counts as 0
        yield Tested(_key(cell), name, node.level, node.energy_j, value, None, None)


def _tested_fold(
    rows: Sequence[Observation],
    fold: Fold,
    features: Features,
    n_multiprocessors: int,
    recipe: Recipe,
) -> Iterator[Tested]:
    training = [row for row in rows if fold.trains(row.cell)]
    testing = [row for row in rows if fold.tests(row.cell)]
    if features != "static":
        run = [row for row in testing if was_run(row)]
        if len(run) < len(testing) and features == "profiled":
            raise DatasetError(
                f"{len(testing) - len(run)} tested rows were not run (times_mean and "
                "gpu_energy_mean are missing): use --features static or all"
            )
        yield from _from_wall(run, fit_wall(training)) if run else ()
        testing = [row for row in testing if not was_run(row)]
    if testing:
        yield from _from_predictor(testing, fit_calibrated(training, n_multiprocessors, recipe))


def _from_wall(rows: Sequence[Observation], wall: WallLayer) -> Iterator[Tested]:
    for row, log in zip(rows, wall.log_prices(rows).tolist(), strict=True):
        yield _tested(row, log, wall.intervals[row.level], 0.0)


def _from_predictor(rows: Sequence[Observation], predictor: Predictor) -> Iterator[Tested]:
    found = predict_rows(predictor, rows)
    logs = zip(rows, found.mean.tolist(), found.deviation.tolist(), strict=True)
    for row, log, deviation in logs:
        yield _tested(row, log, predictor.intervals[row.level], deviation)


def _tested(row: Observation, log: float, interval: Interval, deviation: float) -> Tested:
    width = float(interval.half_width(np.array([deviation]))[0])
    low, value, high = (float(np.exp(log + shift)) for shift in (-width, 0.0, width))
    return Tested(row.cell, row.level_name, row.level, row.energy_j, value, low, high)
