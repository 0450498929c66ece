"""The commands of the training room as argparse has them; loads nothing that learns."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

TRAINING_COMMANDS = ("train", "predict", "evaluate", "crossvalidate", "bottlenecks", "accuracy")


def add_commands(commands: _Commands) -> None:
    """Adds `train`, `predict`, `evaluate`, `crossvalidate`, `bottlenecks` and `accuracy`."""
    _add_train(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_crossvalidate(commands)
    bottlenecks = commands.add_parser("bottlenecks", help="share of each primitive and module")
    _add_data(bottlenecks)
    bottlenecks.add_argument("--json", action="store_true", help="print JSON")
    accuracy = commands.add_parser("accuracy", help="write docs/accuracy.md from measured data")
    accuracy.add_argument("data", type=Path, nargs="+", metavar="DATA", help="one machine each")
    accuracy.add_argument("--output", type=Path, default=Path("docs/accuracy.md"), metavar="FILE")
    accuracy.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="also write the predictors to ship there"
    )


def _add_train(commands: _Commands) -> None:
    train = commands.add_parser("train", help="fit a predictor to measured data")
    _add_data(train)
    train.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="folder to write")
    _add_method(train)
    train.add_argument(
        "--from",
        dest="source",
        metavar="PREDICTOR|DEVICE",
        help="calibrate this predictor, or the data sheet of this device, by a few rows of the "
        "machine at hand; with --method ours",
    )
    train.add_argument("--name", help="what the predictor is called; default: the folder's name")


def _add_predict(commands: _Commands) -> None:
    predict = commands.add_parser("predict", help="predict every node of a file of trees")
    _add_data(predict)
    predict.add_argument("output", type=Path, metavar="OUT", help="JSONL with predicted_energy")
    predict.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="written by train")


def _add_evaluate(commands: _Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="errors of predictions, as JSON")
    evaluate.add_argument("gold", type=Path, metavar="GOLD", help="measured data")
    evaluate.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="from predict")
    evaluate.add_argument(
        "--node_types", default="ml,module,model", help="levels, separated by commas"
    )


def _add_crossvalidate(commands: _Commands) -> None:
    cross = commands.add_parser("crossvalidate", help="errors on models that are left out")
    _add_data(cross)
    cross.add_argument(
        "model_dir", type=Path, nargs="?", metavar="MODEL_DIR", help="keeps what each fold left"
    )
    _add_method(cross)
    cross.add_argument("--features", choices=("static", "profiled", "all"))
    cross.add_argument("--split", choices=("model", "sizes", "family", "larger"), default="model")
    cross.add_argument("--predictions", type=Path, metavar="FILE", help="CSV, a row per node")
    cross.add_argument("--json", action="store_true", help="print JSON")


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data", type=Path, metavar="DATA", help="a JSONL file of trees, or a folder of four CSVs"
    )


def _add_method(command: argparse.ArgumentParser) -> None:
    command.add_argument("--method", choices=("paper", "ours"), default="paper")
    command.add_argument(
        "--config_filepath", type=Path, metavar="JSON", help="the paper's configuration"
    )
    command.add_argument(
        "--multiprocessors", type=int, metavar="N", help="of the card; the paper's are known"
    )
