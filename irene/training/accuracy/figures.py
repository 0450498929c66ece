"""Every figure of both methods on the data of one machine, and of a move between two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from irene.energy.catalogue import find
from irene.energy.predicted.predictor import Level, Predictor
from irene.energy.predicted.prior import prior
from irene.energy.predicted.storing import StoredPredictor
from irene.training.architectures import Choice, Pair, choices, pairs
from irene.training.crossvalidation import (
    Features,
    crossvalidate_ours,
    crossvalidate_paper,
    observations,
)
from irene.training.evaluation import Result
from irene.training.forms import read_dataset
from irene.training.measurements import LEVELS, PAPER_MODELS, Dataset
from irene.training.ours.boosting import DEEP, SHALLOW, BlendFit
from irene.training.ours.card import n_multiprocessors_of
from irene.training.ours.choosing import training_error
from irene.training.ours.fitting import SHIPPED, Recipe, fit_predictor
from irene.training.ours.moving import moved
from irene.training.ours.observations import Observation
from irene.training.ours.process_fitting import fit_process
from irene.training.ours.rows import predict_rows
from irene.training.paper.config import PaperConfig
from irene.training.splits import AVERAGE, Split

Means = Mapping[Level, float | None]

SEEDS = (13370, 1, 2)
MOVED_ROWS: Mapping[Level, int] = {"ml": 12, "module": 8}
DRAWS = (0, 1, 2, 3, 4, 5)
_CARDS = {15: "GTX-1070", 28: "GTX-1080-Ti"}
"""What the machines' cards look like, by multiprocessors."""
_HALF = BlendFit(DEEP, 0.5)
RECIPES = {
    "process / process": Recipe(fit_process, fit_process),
    "trees / process": Recipe(DEEP, fit_process),
    "half trees / process": Recipe(_HALF, fit_process),
    "half trees / trees": Recipe(_HALF, DEEP),
    "half trees / half trees": Recipe(_HALF, _HALF),
    "half trees / half shallow trees": Recipe(_HALF, BlendFit(SHALLOW, 0.5)),
    "half trees / 0.3 shallow trees (shipped)": SHIPPED,
    "physics alone": Recipe(None, None),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine's data, ready to be cross-validated."""

    name: str
    dataset: Dataset
    rows: tuple[Observation, ...]
    n_multiprocessors: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one machine."""

    machine: Machine
    repeatability: Means
    ours: Mapping[tuple[Features, Split], Result]
    paper: Mapping[tuple[Features, Split], Sequence[Means]]  # a seed each
    recipes: Mapping[str, Mapping[Split, Means]]
    training_errors: Mapping[str, float]  # by recipe, %
    choices: Sequence[Choice]
    pairs: Sequence[Pair]


def machine_in(path: Path) -> Machine:
    dataset = read_dataset(path)
    rows, _ = observations(dataset)
    return Machine(
        f"IrEne {path.name.replace('_', ' ')}",
        dataset,
        rows,
        n_multiprocessors_of(dataset.cells, rows),
    )


def stem(machine: Machine) -> str:
    return machine.name.removeprefix("IrEne ").replace(" ", "_")


def figures_of(machine: Machine, stored: StoredPredictor) -> Figures:
    rows, count = machine.rows, machine.n_multiprocessors
    ours: dict[tuple[Features, Split], Result] = {
        ("static", split): crossvalidate_ours(rows, split, "static", count)
        for split in get_args(Split)
    }
    ours["profiled", "model"] = crossvalidate_ours(rows, "model", "profiled", count)
    return Figures(
        machine,
        _repeatability(rows),
        ours,
        _paper(machine.dataset),
        {
            name: {
                split: crossvalidate_ours(
                    rows, split, "static", count, replace(recipe, with_intervals=False)
                ).to_json()["mean"]
                for split in get_args(Split)
            }
            for name, recipe in RECIPES.items()
        },
        {name: training_error(rows, count, recipe) for name, recipe in RECIPES.items()},
        choices(stored.predictor),
        pairs(ours["static", "model"].rows),
    )


def _paper(dataset: Dataset) -> dict[tuple[Features, Split], list[Means]]:
    asked: tuple[tuple[Features, Split], ...] = (
        ("static", "model"),
        ("static", "larger"),
        ("all", "model"),
    )
    return {
        (features, split): [
            crossvalidate_paper(dataset, split, features, PaperConfig(seed=seed))[0].to_json()[
                "mean"
            ]
            for seed in SEEDS
        ]
        for features, split in asked
    }


def _repeatability(rows: Sequence[Observation]) -> Means:
    """Error of the median of all measurements of a signature, its own among them."""
    by_signature: dict[object, dict[str, float]] = {}
    for row in rows:
        by_signature.setdefault(row.signature, {}).setdefault(row.model_name, row.energy_j)
    medians = {it: float(np.median(list(by.values()))) for it, by in by_signature.items()}
    means: dict[Level, float | None] = {}
    for level in LEVELS:
        of_models = []
        for model in PAPER_MODELS:
            own = [
                100.0 * abs(medians[row.signature] / row.energy_j - 1.0)
                for row in rows
                if row.level == level
                and row.model_name == model
                and len(by_signature[row.signature]) > 1
            ]
            if own:
                of_models.append(float(np.mean(own)))
        means[level] = float(np.mean(of_models)) if of_models else None
    return means


@dataclass(frozen=True, slots=True)
class Move:
    """How far off a moved predictor is, and the share of rows within its 90 % intervals."""

    errors_percent: Means
    coverage: Means


Origin = Callable[[str, int], Predictor]
"""A predictor that has not seen a model, for a number of multiprocessors."""


def moves(machines: Sequence[Machine]) -> dict[str, Move]:
    """Predictors of the other machine and data sheets, moved by a few rows of other models."""
    found: dict[str, Move] = {}
    for there in machines:
        for source in machines:
            if source is not there:
                found[f"{source.name} to {there.name}"] = _move(_fitted_to(source), there)
        card = _CARDS[there.n_multiprocessors]
        found[f"data sheet of {card} to {there.name}"] = _move(_data_sheet(card), there)
    return found


def _fitted_to(source: Machine) -> Origin:
    def fitted(left_out: str, n_multiprocessors: int) -> Predictor:
        del n_multiprocessors  # its own
        training = [row for row in source.rows if row.model_name != left_out]
        return fit_predictor(training, source.n_multiprocessors)

    return fitted


def _data_sheet(card: str) -> Origin:
    return lambda _, n_multiprocessors: prior(find(card), n_multiprocessors)


def _move(origin: Origin, there: Machine) -> Move:
    found = []
    for model in PAPER_MODELS:
        start = origin(model, there.n_multiprocessors)
        others = [row for row in there.rows if row.model_name != model]
        tested = [row for row in there.rows if row.model_name == model]
        for draw in DRAWS:
            there_now = moved(start, _drawn(others, draw), there.n_multiprocessors)
            found.append(_tested(there_now, tested))
    return Move(
        *(
            {level: float(np.mean([it[place][level] for it in found])) for level in LEVELS}
            for place in (0, 1)
        )
    )


def _tested(
    predictor: Predictor, rows: Sequence[Observation]
) -> tuple[dict[Level, float], dict[Level, float]]:
    prices = predict_rows(predictor, rows)
    logs = prices.mean - np.log([row.energy_j for row in rows])
    levels = np.array([row.level for row in rows])
    errors, coverage = {}, {}
    for level in LEVELS:
        own = levels == level
        width = predictor.intervals[level].half_width(prices.deviation[own])
        errors[level] = float(np.mean(100.0 * np.abs(np.expm1(logs[own]))))
        coverage[level] = float(np.mean(np.abs(logs[own]) <= width))
    return errors, coverage


def _drawn(rows: Sequence[Observation], draw: int) -> list[Observation]:
    """As many signatures of each level as `MOVED_ROWS` says, evenly over kinds and sizes."""
    offset = np.random.RandomState(draw).uniform()
    found = []
    for level, count in MOVED_ROWS.items():
        own = list({row.signature: row for row in rows if row.level == level}.values())
        own.sort(key=_kind_and_size)
        found += [own[int((offset + i) * len(own) / count)] for i in range(count)]
    return found


def _kind_and_size(row: Observation) -> tuple[str, int]:
    if row.unit is not None:
        return (row.unit.kind, row.unit.n_batch * row.unit.m * row.unit.k * row.unit.n)
    return ("", row.cell[1] * row.cell[2])


def with_errors(stored: StoredPredictor, figures: Figures) -> StoredPredictor:
    errors: dict[str, Any] = {
        split: {level: round(it, 2) for level, it in mean_of(result).items() if it is not None}
        for (features, split), result in figures.ours.items()
        if features == "static"
    }
    return replace(
        stored, provenance={**stored.provenance, "errors_percent": errors, "average": AVERAGE}
    )


def mean_of(result: Result) -> Means:
    means: Means = result.to_json()["mean"]
    return means
