"""Fitting and asking predictors: a machine, a BERT-base tree, the paper's cross-validation.

The fits need the paper's measurements, a folder with device_1 and device_2:
`python benchmarks/predictor.py FOLDER`; without one, `../shared/irene-data` beside the project.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from reporting import print_table

from irene.energy.predicted.pricing import price_predicted
from irene.energy.predicted.shipped import SHIPPED, shipped_predictor
from irene.training.commands import train_ours
from irene.training.crossvalidation import crossvalidate_paper
from irene.training.forms import read_dataset
from irene.training.ours.published import build_spec
from irene.training.paper.config import PaperConfig
from irene.worker.tracing import trace

BESIDE = Path(__file__).parents[2] / "shared" / "irene-data"
N_PREDICTIONS, N_FOLDS = 50, 6


def main() -> int:
    """Seconds beside their goals; the paper's code takes 10 s for a fold."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else BESIDE
    rows = [("prediction of a BERT-base tree, warm", f"{1e3 * _prediction_s():.1f} ms", "5 ms")]
    if data.is_dir():
        rows += [row for machine in ("device_1", "device_2") for row in _fits(data / machine)]
    else:
        print(f"{data} is not there: the fits are left out")
    print_table(("what", "measured", "goal"), rows)
    return 0


def _prediction_s() -> float:
    """Least time of one prediction; loading the predictor is not in it."""
    with tempfile.TemporaryDirectory() as folder:
        root = trace(build_spec("bert-base-uncased", 8, 128, Path(folder))).root
    stored = shipped_predictor(next(iter(SHIPPED)))
    return min(_seconds(lambda: price_predicted(root, stored)) for _ in range(N_PREDICTIONS))


def _fits(folder: Path) -> Iterator[tuple[str, str, str]]:
    dataset, name = read_dataset(folder), folder.name
    fit_s = _seconds(lambda: train_ours(dataset, name))
    yield (f"fit of {name}, its traces, times and intervals", f"{fit_s:.1f} s", "60 s")
    folds_s = _seconds(lambda: crossvalidate_paper(dataset, "model", "all", PaperConfig()))
    yield (f"a fold of the paper's method on {name}", f"{folds_s / N_FOLDS:.2f} s", "1 s")


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
