"""What a trace took for granted, in sentences: each once, with the lines that asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from irene.tree import Assumption, Location


def assumed(assumptions: Sequence[Assumption], document_path: str) -> tuple[str, ...]:
    """`tokens spread evenly over the experts (lines 104, 122)`; other files by their names."""
    places: dict[str, list[str]] = {}
    for it in assumptions:
        found = places.setdefault(it.text, [])
        place = None if it.location is None else _place(it.location, document_path)
        if place is not None and place not in found:
            found.append(place)
    return tuple(f"{text}{_in_brackets(found)}" for text, found in places.items())


def _place(at: Location, document_path: str) -> str:
    return str(at.line) if at.path == document_path else f"{Path(at.path).name}:{at.line}"


def _in_brackets(places: Sequence[str]) -> str:
    if not places:
        return ""
    lines = [it for it in places if it.isdecimal()]
    others = [it for it in places if not it.isdecimal()]
    word = ["line " if len(lines) == 1 else "lines "] if lines else []
    return f" ({''.join(word)}{', '.join([*lines, *others])})"
