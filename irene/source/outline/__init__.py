"""Text to classes, submodule assignments and forward, with spans; libcst, never torch.

Broken text is the normal state of a buffer: `outline` never raises on it, it returns what
can be known and the problems. The text is scanned to statements (`scanning`), each read
alone and kept (`facts`, `bodies`, through `syntax`), put together with what is broken left
out (`reading`), and given its meaning (`names`, `assembly`).
"""

from __future__ import annotations

from irene.source.outline.assembly import assemble
from irene.source.outline.declarations import (
    ClassOutline,
    Function,
    Outline,
    Parameter,
    Problem,
    Span,
    Submodule,
    SubmoduleCall,
)
from irene.source.outline.reading import read
from irene.source.outline.scanning import scan

__all__ = [
    "ClassOutline",
    "Function",
    "Outline",
    "Parameter",
    "Problem",
    "Span",
    "Submodule",
    "SubmoduleCall",
    "outline",
]


def outline(text: str) -> tuple[Outline, tuple[Problem, ...]]:
    """What the text declares, and why parts of it could not be read; never raises."""
    raw = read(scan(text))
    return assemble(raw), tuple(raw.problems)
