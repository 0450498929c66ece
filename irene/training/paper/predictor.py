"""The paper's predictor: leaf regressors and aggregation weights, in and out as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from irene.errors import PredictorError
from irene.training.measurements import Cell
from irene.training.paper.aggregation import Weights, aggregate, fit_weights
from irene.training.paper.config import PaperConfig, config_from_json, config_to_json
from irene.training.paper.leaves import LeafRegressor, Leaves, fit_leaves, predict_leaves
from irene.training.paper.scaling import Scaler
from irene.training.paper.table import Floats, tabulate
from irene.writing import write_whole

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class PaperPredictor:
    """All that training left."""

    config: PaperConfig
    leaves: Leaves
    weights: Weights | None


def fit_paper(cells: Sequence[Cell], config: PaperConfig) -> PaperPredictor:
    """Leaf regressors, then weights on their predictions."""
    table = tabulate(cells)
    leaves = fit_leaves(table, config)
    leaf_j = predict_leaves(table, leaves, config.feature_sets)
    return PaperPredictor(config, leaves, fit_weights(table, leaf_j, config, config.seed))


def predict_paper(cells: Sequence[Cell], predictor: PaperPredictor) -> Floats:
    """Joules of all nodes of `cells`, in their order."""
    table = tabulate(cells)
    leaf_j = predict_leaves(table, predictor.leaves, predictor.config.feature_sets)
    return aggregate(table, leaf_j, predictor.weights, predictor.config)


def save_paper(predictor: PaperPredictor, folder: Path, provenance: dict[str, Any]) -> None:
    """`config.json`, and one file each for leaves and weights, under their experiments' names."""
    config, weights = predictor.config, predictor.weights
    leaves = {kind: _leaf_to_json(leaf) for kind, leaf in predictor.leaves.items()}
    parts: dict[str, Any] = {
        "config": {"method": "paper", "config": config_to_json(config), "provenance": provenance},
        config.ml_experiment_name: {"leaves": leaves},
        config.non_ml_experiment_name: {
            "weights": None if weights is None else _weights_to_json(weights)
        },
    }
    texts = {
        name: json.dumps({"schema": SCHEMA, **content}, indent=1, allow_nan=False) + "\n"
        for name, content in parts.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(folder / f"{name}.json", text)


def load_paper(folder: Path) -> PaperPredictor:
    """The inverse of `save_paper`.

    Raises:
        PredictorError: a file is missing, malformed or of another version.
    """
    head = _read(folder / "config.json")
    try:
        config = config_from_json(head["config"], str(folder / "config.json"))
        leaves = _read(folder / f"{config.ml_experiment_name}.json")["leaves"]
        weights = _read(folder / f"{config.non_ml_experiment_name}.json")["weights"]
        return PaperPredictor(
            config,
            {kind: _leaf_from_json(leaf) for kind, leaf in leaves.items()},
            None if weights is None else _weights_from_json(weights),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise PredictorError(f"{folder}: malformed predictor ({err}); train it again") from err


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise PredictorError(f"{path}: not a readable part of a predictor: {err}") from err
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(data, dict) or schema != SCHEMA:
        raise PredictorError(
            f"{path}: a predictor of version {schema}, this program reads {SCHEMA}; train it again"
        )
    return data


def _scaler_to_json(scaler: Scaler) -> dict[str, Any]:
    return {"mean": scaler.mean.tolist(), "std": scaler.std.tolist()}


def _scaler_from_json(data: Mapping[str, Any]) -> Scaler:
    return Scaler(np.array(data["mean"], dtype=float), np.array(data["std"], dtype=float))


def _leaf_to_json(leaf: LeafRegressor) -> dict[str, Any]:
    return {
        "scaler": _scaler_to_json(leaf.scaler),
        "coefficients": leaf.coefficients.tolist(),
        "intercept_j": leaf.intercept_j,
    }


def _leaf_from_json(data: Mapping[str, Any]) -> LeafRegressor:
    return LeafRegressor(
        _scaler_from_json(data["scaler"]),
        np.array(data["coefficients"], dtype=float),
        float(data["intercept_j"]),
    )


def _weights_to_json(weights: Weights) -> dict[str, Any]:
    return {
        "scaler": _scaler_to_json(weights.scaler),
        "slope": weights.slope.tolist(),
        "intercept": weights.intercept,
    }


def _weights_from_json(data: Mapping[str, Any]) -> Weights:
    return Weights(
        _scaler_from_json(data["scaler"]),
        np.array(data["slope"], dtype=float),
        float(data["intercept"]),
    )
