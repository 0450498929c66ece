"""Standard output for results, standard error for everything else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TypedDict

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.text import Text

PIPE_WIDTH = 120
"""Columns where there is no terminal; what needs more takes more."""

_ANY_WIDTH = 10_000


class _Plain(TypedDict):
    """Texts are shown as they are: no markup, no emoji codes, no colours of our guessing."""

    highlight: bool
    emoji: bool
    markup: bool


_PLAIN: _Plain = {"highlight": False, "emoji": False, "markup": False}


def width() -> int | None:
    """Columns of the terminal; None: there is none, and everything has room."""
    console = _console()
    return console.width if console.is_terminal else None


def show(what: RenderableType) -> None:
    """Print a result; into a pipe without colour, and never cut off."""
    console = _console()
    if console.is_terminal:
        console.print(what)
        return
    options = console.options.update(max_width=_ANY_WIDTH)
    wanted = Measurement.get(console, options, what).maximum
    wide = Console(width=max(PIPE_WIDTH, wanted), no_color=True, **_PLAIN)
    with wide.capture() as capture:
        wide.print(what)
    for line in capture.get().splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")


def show_lines(lines: Iterable[Text]) -> None:
    """Print lines of text as long as they are; into a pipe without colour."""
    console = _console()
    for line in lines:
        if console.is_terminal:
            console.print(line, soft_wrap=True)
        else:
            sys.stdout.write(f"{line.plain}\n")


def show_json(data: dict[str, Any]) -> None:
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def complain(sentence: str) -> None:
    """One message on standard error, with the name of the command before it."""
    sys.stderr.write(f"irene: {sentence}\n")


def progress_console() -> Console:
    return Console(stderr=True, **_PLAIN)


def _console() -> Console:
    return Console(**_PLAIN)
