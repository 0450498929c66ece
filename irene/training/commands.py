"""What the commands of the training room do: files in, files out, and the text to print."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from irene.cache import default_folder
from irene.energy.catalogue import find, machine_of
from irene.energy.predicted.predictor import Predictor
from irene.energy.predicted.prior import prior
from irene.energy.predicted.shipped import TRAINED_FILE, predictor_of
from irene.energy.predicted.storing import StoredPredictor, load, save
from irene.errors import DatasetError, PredictorError
from irene.predictors import remember
from irene.training.bottlenecks import shares, table, to_json
from irene.training.crossvalidation import (
    FEATURE_SETS,
    Features,
    crossvalidate_ours,
    crossvalidate_paper,
    fit_calibrated,
    observations,
)
from irene.training.evaluation import Result, mean_over_models, write_predictions
from irene.training.forms import read_dataset, write_jsonl
from irene.training.forms.jsonl_trees import read_predictions
from irene.training.measurements import LEVELS, Dataset
from irene.training.ours.card import n_multiprocessors_of
from irene.training.ours.fitting import SHIPPED
from irene.training.ours.moving import moved
from irene.training.ours.rows import predict_rows
from irene.training.paper.config import PaperConfig, read_config
from irene.training.paper.predictor import (
    PaperPredictor,
    fit_paper,
    load_paper,
    predict_paper,
    save_paper,
)
from irene.training.splits import Split


@dataclass(frozen=True, slots=True)
class Training:
    """What to fit, and how."""

    method: str = "paper"
    config_path: Path | None = None
    multiprocessors: int | None = None
    name: str | None = None  # None: the folder's
    source: str | None = None  # a predictor or device to calibrate; None: fit a new predictor


def train(data: Path, model_dir: Path, asked: Training) -> str:
    """Fit a predictor to all of `data`, write it to a folder and remember the folder.

    Raises:
        DeviceError, PredictorError: one to calibrate that is unknown, or of the paper's method.
    """
    _check_options(asked)
    _check_folder(model_dir, asked.method)
    dataset = read_dataset(data)
    name = asked.name or model_dir.name
    if asked.method == "paper":
        config = read_config(asked.config_path)
        predictor = fit_paper(dataset.cells, config)
        save_paper(predictor, model_dir, _provenance(dataset, config.device_name))
        if config.save_nodes:
            _write_paper_predictions(dataset, predictor, model_dir / "predictions.jsonl")
    elif asked.source is None:
        save(train_ours(dataset, name, asked.multiprocessors), model_dir / TRAINED_FILE)
    else:
        save(
            calibrate(dataset, name, asked.source, asked.multiprocessors), model_dir / TRAINED_FILE
        )
    lines = [*dataset.left_out, f"written to {model_dir}"]
    try:
        remember(model_dir, default_folder())
    except OSError as err:
        lines.append(f"not listed among the predictors ({err}): choose it by its folder")
    return "\n".join(lines)


def _check_options(asked: Training | CrossValidation) -> None:
    """Options that the method does not have are refused, not ignored."""
    own_name = asked.name if isinstance(asked, Training) else None
    source = asked.source if isinstance(asked, Training) else None
    only_ours = {"--multiprocessors": asked.multiprocessors, "--name": own_name, "--from": source}
    others = only_ours if asked.method == "paper" else {"--config_filepath": asked.config_path}
    given = [option for option, value in others.items() if value is not None]
    if given:
        other = "ours" if asked.method == "paper" else "paper"
        raise PredictorError(
            f"{', '.join(given)}: --method {asked.method} has no such option; leave it out, or "
            f"give --method {other}"
        )
    if asked.multiprocessors is not None and asked.multiprocessors < 1:
        raise PredictorError(f"--multiprocessors is {asked.multiprocessors}; a card has some")


def _check_folder(model_dir: Path, method: str) -> None:
    """Where a predictor is written there is nothing, or one of the same method."""
    if model_dir.is_file():
        raise PredictorError(f"{model_dir} is a file; name a folder for the predictor")
    other_file = TRAINED_FILE if method == "paper" else "config.json"
    if (model_dir / other_file).is_file():
        raise PredictorError(
            f"{model_dir} holds a predictor of the other method ({other_file}): name another "
            "folder, or remove that one"
        )


def _check_output(path: Path) -> None:
    """A file can be written there; found out before the work."""
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder; name a file" if path.is_dir() else f"no folder {path.parent}; make it"
        raise PredictorError(f"{path}: {what}")


def train_ours(dataset: Dataset, name: str, multiprocessors: int | None = None) -> StoredPredictor:
    """Our predictor of a machine, with times and calibrated intervals."""
    rows, left_out = observations(dataset)
    n_multiprocessors = multiprocessors or n_multiprocessors_of(dataset.cells, rows)
    predictor = fit_calibrated(rows, n_multiprocessors, replace(SHIPPED, with_times=True))
    provenance = _provenance(dataset, name) | {"n_rows": len(rows), "left_out": list(left_out)}
    return StoredPredictor(name, provenance, predictor)


def calibrate(
    dataset: Dataset, name: str, source: str, multiprocessors: int | None
) -> StoredPredictor:
    """The predictor of a device or of another machine, moved to this one by all rows of `dataset`.

    Raises:
        DatasetError: too few rows.
        DeviceError: there is no such device.
        PredictorError: the folder has no predictor of ours.
    """
    rows, left_out = observations(dataset)
    n_multiprocessors = multiprocessors or n_multiprocessors_of(dataset.cells, rows)
    origin, start = _start_of(source, n_multiprocessors)
    provenance = _provenance(dataset, name) | {
        "n_rows": len(rows),
        "left_out": list(left_out),
        "calibrated_from": origin,
    }
    return StoredPredictor(name, provenance, moved(start, rows, n_multiprocessors))


def _start_of(source: str, n_multiprocessors: int) -> tuple[str, Predictor]:
    """Name and coefficients of a predictor, or of what a device's data sheet lets expect."""
    device = machine_of(source) if Path(source).is_dir() else find(source)
    stored = predictor_of(device.id)
    if stored is None:
        return (device.name, prior(device, n_multiprocessors))
    return (stored.name, stored.predictor)


def predict(data: Path, output: Path, model_dir: Path) -> str:
    """Write the trees of `data` with `predicted_energy` at every node."""
    _check_output(output)
    dataset = read_dataset(data, with_energies=False)
    whole = Dataset(tuple(cell for cell in dataset.cells if cell.is_whole), ())
    if (model_dir / TRAINED_FILE).is_file():
        predicted = _predicted_by_ours(whole, load(model_dir / TRAINED_FILE))
    else:
        joules = predict_paper(whole.cells, load_paper(model_dir)).tolist()
        predicted = dict(enumerate(joules))
    write_jsonl(whole, output, predicted)
    return "\n".join([*dataset.left_out, f"{len(predicted)} nodes written to {output}"])


def evaluate(gold: Path, predictions: Path, node_types: str = "ml,module,model") -> str:
    """Mean absolute percentage errors of the levels as JSON; a missing prediction counts as 0.

    Raises:
        DatasetError: a level that does not exist, or no node in common.
    """
    levels = [it.strip() for it in node_types.split(",") if it.strip()]
    unknown = [it for it in levels if it not in LEVELS]
    if unknown or not levels:
        raise DatasetError(f"node types {node_types!r}: name some of {', '.join(LEVELS)}")
    cells = [cell for cell in read_dataset(gold).cells if cell.is_whole]
    predicted = read_predictions(predictions)
    errors: dict[str, list[float]] = {level: [] for level in levels}
    n_found = 0
    for cell in cells:
        seen: Counter[str] = Counter()
        for node in cell.nodes:
            name = f"{node.scope}:{node.class_name}"
            key = (cell.model_name, cell.batch_size, cell.seq_len, node.scope, node.class_name)
            place, seen[name] = seen[name], seen[name] + 1
            own = predicted.get(key, [])[place : place + 1]
            n_found += len(own)
            if node.level in errors and node.energy_j is not None:
                joules = own[0] if own and own[0] is not None else 0.0
                errors[node.level].append(100.0 * abs(joules - node.energy_j) / node.energy_j)
    if not n_found:
        raise DatasetError(
            f"{predictions}: no node of {gold} is in it; give what `irene predict` wrote for it"
        )
    means = {level: round(float(np.mean(it)), 2) for level, it in errors.items() if it}
    if not means:
        raise DatasetError(f"{gold}: no measured node of the levels {', '.join(levels)}")
    return json.dumps(means, allow_nan=False)


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What to cross-validate, and how."""

    method: str = "paper"
    features: Features | None = None  # None: the configuration's, or nothing run
    split: Split = "model"
    config_path: Path | None = None
    multiprocessors: int | None = None


def crossvalidate(
    data: Path,
    asked: CrossValidation,
    model_dir: Path | None = None,
    predictions: Path | None = None,
    *,
    as_json: bool = False,
) -> str:
    """Errors on rows that were left out: a table, or JSON."""
    _check_options(asked)
    if predictions is not None:
        _check_output(predictions)
    if model_dir is not None and model_dir.is_file():
        raise PredictorError(f"{model_dir} is a file; name a folder for the folds")
    dataset = read_dataset(data)
    predictors: dict[str, PaperPredictor] = {}
    if asked.method == "paper":
        config = read_config(asked.config_path)
        chosen = asked.features or _features_of(config)
        result, predictors = crossvalidate_paper(dataset, asked.split, chosen, config)
    else:
        rows, left_out = observations(dataset)
        count = asked.multiprocessors or n_multiprocessors_of(dataset.cells, rows)
        result = crossvalidate_ours(rows, asked.split, asked.features or "static", count)
        if left_out:
            protocol = f"{result.protocol}; rows left out: {'; '.join(left_out)}"
            result = replace(result, protocol=protocol)
    if predictions is not None:
        write_predictions(result.rows, predictions)
    if model_dir is not None:
        _keep_folds(result, predictors, dataset, model_dir)
    return json.dumps(result.to_json(), indent=1) if as_json else _table(result)


def _features_of(config: PaperConfig) -> Features:
    chosen = set(config.feature_sets)
    return next(name for name, sets in FEATURE_SETS.items() if set(sets) == chosen)


def _predicted_by_ours(dataset: Dataset, stored: StoredPredictor) -> dict[int, float]:
    rows, left_out = observations(dataset)
    if left_out:
        raise PredictorError(
            f"{stored.name} cannot describe {left_out[0]}"
            + (f" and {len(left_out) - 1} more" if len(left_out) > 1 else "")
            + ": leave these rows out, or use --method paper"
        )
    return dict(enumerate(np.exp(predict_rows(stored.predictor, rows).mean).tolist()))


def _write_paper_predictions(dataset: Dataset, predictor: PaperPredictor, path: Path) -> None:
    whole = Dataset(tuple(cell for cell in dataset.cells if cell.is_whole), ())
    write_jsonl(whole, path, dict(enumerate(predict_paper(whole.cells, predictor).tolist())))


def _keep_folds(
    result: Result, predictors: dict[str, PaperPredictor], dataset: Dataset, model_dir: Path
) -> None:
    """`crossvalidation/leave_FOLD/` with predictions, errors and, of the paper, the predictor."""
    for name, rows in result.folds.items():
        folder = model_dir / "crossvalidation" / f"leave_{name.replace('/', '_')}"
        folder.mkdir(parents=True, exist_ok=True)
        write_predictions(rows, folder / "predictions.csv")
        errors = json.dumps(mean_over_models(rows))
        (folder / "percentage_errors.json").write_text(errors + "\n", encoding="utf-8")
        if name not in predictors:
            continue
        predictor = predictors[name]
        save_paper(predictor, folder, _provenance(dataset, predictor.config.device_name))
        tested = {row.cell for row in rows}
        cells = [
            cell
            for cell in dataset.cells
            if (cell.model_name, cell.batch_size, cell.seq_len) in tested
        ]
        _write_paper_predictions(
            Dataset(tuple(cells), ()), predictors[name], folder / "predictions.jsonl"
        )


def _table(result: Result) -> str:
    lines = [f"{'left out':28}" + "".join(f"{level:>9}" for level in LEVELS)]
    for name, rows in result.folds.items():
        lines.append(_line(name, mean_over_models(rows)))
    lines.append(_line("overall", mean_over_models(result.rows)))
    return "\n".join([*lines, "", f"percent; {result.protocol}"])


def _line(name: str, means: Any) -> str:  # noqa: ANN401 - levels to percentages
    values = (means[level] for level in LEVELS)
    return f"{name:28}" + "".join(f"{'-' if it is None else format(it, '.2f'):>9}" for it in values)


def _provenance(dataset: Dataset, device: str) -> dict[str, Any]:
    return {
        "device": device,
        "quantity": "joules of one forward pass, as the measured data have them",
        "n_cells": len(dataset.cells),
        "n_rows": sum(len(cell.nodes) for cell in dataset.cells),
        "models": list(dataset.models),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "irene_version": version("irene-energy"),
    }


def bottlenecks(data: Path, *, as_json: bool = False) -> str:
    """Share of each primitive kind and module of the paper's models, in Markdown or JSON."""
    found = shares(read_dataset(data).cells)
    return json.dumps(to_json(found), indent=1) if as_json else table(found)
