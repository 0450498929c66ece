"""docs/accuracy.md: every figure of both methods on measured data, with its protocol.

Also writes the predictors that are shipped, whose provenance has these errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from irene.energy.predicted.storing import save
from irene.training.accuracy.document import document, plot
from irene.training.accuracy.figures import figures_of, machine_in, moves, stem, with_errors
from irene.training.commands import train_ours


def write_accuracy(data: Sequence[Path], output: Path, weights: Path | None = None) -> str:
    """Cross-validate everything on the machines of `data` and write it down."""
    machines = [machine_in(path) for path in data]
    predictors = [train_ours(it.dataset, it.name, it.n_multiprocessors) for it in machines]
    figures = [
        figures_of(machine, stored) for machine, stored in zip(machines, predictors, strict=True)
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    for it in figures:
        (output.parent / f"accuracy_{stem(it.machine)}.svg").write_text(plot(it), encoding="utf-8")
    moved = moves(machines)
    output.write_text(document(figures, moved), encoding="utf-8")
    if weights is not None:
        for it, stored in zip(figures, predictors, strict=True):
            save(with_errors(stored, it), weights / f"irene_{stem(it.machine)}.json")
    return f"written to {output}"
