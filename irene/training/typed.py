"""What was typed for a training command, to the call of its function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from irene.training import commands
from irene.training.accuracy import write_accuracy

Typed = Mapping[str, Any]


def run_typed(command: str, typed: Typed) -> str:
    """Run one of `TRAINING_COMMANDS`; returns what to print."""
    return _COMMANDS[command](typed)


def _train(typed: Typed) -> str:
    asked = commands.Training(
        typed["method"],
        typed["config_filepath"],
        typed["multiprocessors"],
        typed["name"],
        typed["source"],
    )
    return commands.train(typed["data"], typed["model_dir"], asked)


def _predict(typed: Typed) -> str:
    return commands.predict(typed["data"], typed["output"], typed["model_dir"])


def _evaluate(typed: Typed) -> str:
    return commands.evaluate(typed["gold"], typed["predictions"], typed["node_types"])


def _crossvalidate(typed: Typed) -> str:
    asked = commands.CrossValidation(
        typed["method"],
        typed["features"],
        typed["split"],
        typed["config_filepath"],
        typed["multiprocessors"],
    )
    return commands.crossvalidate(
        typed["data"], asked, typed["model_dir"], typed["predictions"], as_json=typed["json"]
    )


def _bottlenecks(typed: Typed) -> str:
    return commands.bottlenecks(typed["data"], as_json=typed["json"])


def _accuracy(typed: Typed) -> str:
    return write_accuracy(typed["data"], typed["output"], typed["weights"])


_COMMANDS: dict[str, Callable[[Typed], str]] = {
    "train": _train,
    "predict": _predict,
    "evaluate": _evaluate,
    "crossvalidate": _crossvalidate,
    "bottlenecks": _bottlenecks,
    "accuracy": _accuracy,
}
