"""`irene predictors`: the shipped ones, and those that were trained here."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from irene.cache import default_folder
from irene.cli import console
from irene.cli.arguments import Asked
from irene.predictors import known_predictors


def run(_: Asked) -> bool:
    """Print the table."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for title in ("predictor", "name", "fitted to"):
        drawn.add_column(title, overflow="fold")
    for it in known_predictors(default_folder()):
        detail = it.detail if it.reason is None else f"cannot be chosen: {it.reason}"
        drawn.add_row(it.id, it.name, Text(detail, style="" if it.reason is None else "dim"))
    console.show(drawn)
    return True
