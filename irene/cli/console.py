"""Standard output for results, standard error for everything else."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console, RenderableType

PIPE_WIDTH = 120
"""Columns where there is no terminal; what needs more takes more."""


def show(what: RenderableType) -> None:
    """Print a result; into a pipe without colour, and never cut off."""
    console = Console(highlight=False, emoji=False, markup=False)
    if console.is_terminal:
        console.print(what)
        return
    wanted = console.measure(what, options=console.options.update(max_width=10_000)).maximum
    Console(
        width=max(PIPE_WIDTH, wanted), highlight=False, emoji=False, markup=False, no_color=True
    ).print(what)


def show_json(data: dict[str, Any]) -> None:
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def complain(sentence: str) -> None:
    """One message on standard error, with the name of the command before it."""
    sys.stderr.write(f"irene: {sentence}\n")


def progress_console() -> Console:
    return Console(stderr=True, highlight=False, emoji=False)
