"""The configuration keys of IrEne's code, read from JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from irene.errors import SettingsError

FeatureSet = Literal["model_specs", "resource_utilization"]
Strategy = Literal["none", "end2end", "stepwise", "unstructured"]
Weighting = Literal["exact_one", "close_to_one", "free"]

_Json: TypeAlias = Any

_OLDER_NAMES = {"piecewise": "stepwise", "isolated": "unstructured"}
_DEFAULT_WEIGHTINGS: dict[Strategy, Weighting] = {
    "none": "exact_one",
    "end2end": "close_to_one",
    "stepwise": "close_to_one",
    "unstructured": "free",
}


@dataclass(frozen=True, slots=True)
class PaperConfig:
    """Every key of both branches; the defaults are the paper's."""

    feature_sets: tuple[FeatureSet, ...] = ("model_specs", "resource_utilization")
    polynomial_features: bool = True
    standardize_features: bool = True
    training_strategy: Strategy = "end2end"
    weighting_setting: Weighting = "close_to_one"
    tanh_scalar: float = 10.0
    normalize_loss_scale: bool = True
    num_epochs: int = 8
    seed: int = 13370
    log_train_diff: bool = False
    save_nodes: bool = False
    device_name: str = ""
    ml_experiment_name: str = "leaves"
    non_ml_experiment_name: str = "aggregation"


def read_config(path: Path | None) -> PaperConfig:
    """The configuration in a JSON file; the paper's where there is none.

    Raises:
        SettingsError: not JSON, or a key or value that does not exist.
    """
    if path is None:
        return PaperConfig()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise SettingsError(f"{path}: not a readable JSON file: {err}") from err
    return config_from_json(data, str(path))


def config_to_json(config: PaperConfig) -> dict[str, Any]:
    """The inverse of `config_from_json`."""
    return {**asdict(config), "feature_sets": list(config.feature_sets)}


def config_from_json(data: object, where: str) -> PaperConfig:
    """A configuration from plain values; all that is wrong with it is said at once.

    Raises:
        SettingsError: a key or value that does not exist.
    """
    if not isinstance(data, Mapping):
        raise SettingsError(f"{where}: the configuration must be an object of keys and values")
    known = {field.name: field.default for field in fields(PaperConfig)}
    problems = [f"unknown key {key!r} (one of {', '.join(known)})" for key in data.keys() - known]
    values = {key: _renamed(value) for key, value in data.items() if key in known}
    for key, value in values.items():
        problem = _problem(key, value, known[key])
        if problem:
            problems.append(problem)
    if not problems:
        values.setdefault("weighting_setting", _default_weighting(values))
        problems += _combination_problems(values)
    if problems:
        raise SettingsError(f"{where}: {'; '.join(problems)}")
    return PaperConfig(**values)


def _renamed(value: _Json) -> _Json:
    if isinstance(value, list):
        return tuple(value)
    return _OLDER_NAMES.get(value, value) if isinstance(value, str) else value


def _problem(key: str, value: _Json, default: object) -> str | None:
    choices = {"training_strategy": Strategy, "weighting_setting": Weighting}
    if key == "feature_sets":
        unknown = not isinstance(value, tuple) or any(
            it not in get_args(FeatureSet) for it in value
        )
        wrong = unknown or not value
        return f"{key} must list one or both of {get_args(FeatureSet)}" if wrong else None
    if key in choices:
        names = get_args(choices[key])
        return None if value in names else f"{key} is {value!r}, not one of {names}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool):
        right = isinstance(value, bool)
    elif isinstance(default, float):
        right = is_number and value > 0
    elif isinstance(default, int):
        right = is_number and isinstance(value, int) and value >= 0
    else:
        right = isinstance(value, str)
    return None if right else f"{key} is {value!r}; the default is {default!r}"


def _default_weighting(values: Mapping[str, Any]) -> Weighting:
    return _DEFAULT_WEIGHTINGS[values.get("training_strategy", "end2end")]


def _combination_problems(values: Mapping[str, Any]) -> list[str]:
    strategy, weighting = values.get("training_strategy", "end2end"), values["weighting_setting"]
    problems = _name_problems(values)
    if strategy == "unstructured" and weighting != "free":
        problems.append(
            "training_strategy unstructured predicts energies themselves: weighting free only"
        )
    if strategy == "none" and weighting != "exact_one":
        problems.append("training_strategy none trains nothing: weighting exact_one only")
    return problems


_OTHER_FILES = ("config", "predictions", "predictor")


def _name_problems(values: Mapping[str, Any]) -> list[str]:
    """The experiments' names are those of files in the model's folder."""
    defaults = PaperConfig()
    keys = ("ml_experiment_name", "non_ml_experiment_name")
    names = {key: str(values.get(key, getattr(defaults, key))) for key in keys}
    problems = [
        f"{key} is {name!r}; it names a file, so give letters, digits, dots and hyphens, and "
        f"none of {', '.join(_OTHER_FILES)}"
        for key, name in names.items()
        if not re.fullmatch(r"\w[\w.-]*", name) or name in _OTHER_FILES
    ]
    if len(set(names.values())) == 1:
        problems.append(f"{' and '.join(names)} are the same: each names a file of its own")
    return problems
