"""`irene train`, `predict`, `evaluate`, `crossvalidate`, `bottlenecks`, `accuracy`."""

from __future__ import annotations

import logging
import sys

from irene.cli.arguments import Asked


def run(asked: Asked) -> bool:
    """Do it and print what it says: results to standard output."""
    progress = logging.getLogger("irene.training")
    progress.addHandler(logging.StreamHandler(sys.stderr))
    progress.setLevel(logging.INFO)
    from irene.training.typed import run_typed  # noqa: PLC0415 - numpy loads when needed

    text = run_typed(asked.command, asked.typed)
    sys.stdout.write(text.rstrip("\n") + "\n")
    return True
