"""Inputs from jaxtyping annotations: `Float[Tensor, "batch seq 512"]`."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from irene.worker.inputs.expressions import DTYPES
from irene.worker.inputs.plans import Placeholder

if TYPE_CHECKING:
    from irene.worker.inputs.context import Context

_WRITTEN = re.compile(r"""(\w+)\s*\[\s*[\w.]+\s*,\s*f?["']([^"']*)["']\s*\]""")
_OF_THE_MODEL = frozenset({"Float", "Inexact", "Real", "Num", "Shaped"})
_OF_ANY_SIZE = {"Int": "int64", "Integer": "int64", "UInt": "uint8", "Complex": "complex64"}
_BATCH = frozenset({"b", "batch", "bs", "batch_size", "n"})
_SEQUENCE = frozenset({"s", "t", "l", "seq", "sequence", "time", "length", "seq_len", "tokens"})


def from_annotation(parameter: inspect.Parameter, context: Context) -> Placeholder | None:
    """The tensor that a parameter's annotation describes; None where it describes none."""
    found = _WRITTEN.search(_text(parameter.annotation))
    if found is None:
        return None
    kind, dimensions = found.groups()
    dtype = _dtype(kind, context)
    if dtype is None:
        return None
    shape = []
    for word in dimensions.split():
        size = _size(word, context)
        if size is None:
            return None
        shape.append(size)
    return Placeholder(dtype, tuple(shape), "ones" if dtype == "bool" else "random")


def _text(annotation: object) -> str:
    """As written; jaxtyping's own classes print as `Float[Tensor, 'batch seq']`."""
    if isinstance(annotation, str):
        return annotation
    return getattr(annotation, "__name__", None) or str(annotation)


def _dtype(kind: str, context: Context) -> str | None:
    """`Int8` is int8; None for a kind that is no tensor, or of a dtype that no input can have."""
    if kind in _OF_THE_MODEL:
        return context.dtype
    dtype = _OF_ANY_SIZE.get(kind, kind.lower())
    return dtype if dtype in DTYPES else None


def _size(word: str, context: Context) -> int | None:
    name = word.rsplit("=", maxsplit=1)[-1].lstrip("#*?")
    if name.isdigit():
        return int(name)
    lowered = name.lower()
    if lowered in _BATCH or word == "...":
        return context.batch
    if lowered in _SEQUENCE:
        return context.sequence
    size = getattr(context.model, name, None)
    if isinstance(size, int) and not isinstance(size, bool):
        context.assume(f"dimension {name}: {size}, from the attribute of that name")
        return size
    return None
