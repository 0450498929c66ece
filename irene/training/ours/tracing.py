"""Units and descriptions of the published models at every batch size and length.

All sizes of their operations are polynomials in batch b and length s (1, s, s^2, each times
1 or b), so that six traces give all of them, exactly; a seventh checks it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from irene.energy.predicted.units import Description, Kernels, Unit, describe, unit_of
from irene.errors import DatasetError
from irene.training.ours.published import CONFIGURATIONS, as_measured, build_spec
from irene.tree import Node, walk
from irene.worker.refusals import Refused
from irene.worker.tracing import trace

CellKey = tuple[str, int, int]

_SUPPORT = tuple((b, s) for b in (8, 24) for s in (32, 96, 224))
_CHECK = (16, 160)


@dataclass(frozen=True, slots=True)
class TracedCell:
    """What a trace says of one model at one batch size and length, by scope."""

    units: Mapping[str, Mapping[str, Unit]]  # by scope, then by the class that a row names
    descriptions: Mapping[str, Description]


def trace_cells(keys: Sequence[CellKey]) -> dict[CellKey, TracedCell]:
    """The published models among `keys`, traced in this process on meta tensors.

    Raises:
        DatasetError: torch or transformers are not here.
    """
    traced: dict[CellKey, TracedCell] = {}
    with tempfile.TemporaryDirectory(prefix="irene-configs-") as folder:
        for model in dict.fromkeys(key[0] for key in keys if key[0] in CONFIGURATIONS):
            own = list(dict.fromkeys(key for key in keys if key[0] == model))
            traced.update(_traced_model(model, own, Path(folder)))
    return traced


def _traced_model(model: str, keys: Sequence[CellKey], folder: Path) -> dict[CellKey, TracedCell]:
    if len(keys) <= len(_SUPPORT):
        return {key: _trace(key, folder) for key in keys}
    support = [_trace((model, *shape), folder) for shape in _SUPPORT]
    numbers = np.array([list(_numbers(cell)) for cell in support], dtype=float)
    polynomials = np.linalg.solve(np.array([_terms(*shape) for shape in _SUPPORT]), numbers)

    def at(batch: int, length: int) -> TracedCell:
        values = np.rint(np.array(_terms(batch, length)) @ polynomials).astype(int).tolist()
        return _rebuilt(support[0], iter(values))

    if at(*_CHECK) != _trace((model, *_CHECK), folder):
        return {key: _trace(key, folder) for key in keys}
    return {key: at(*key[1:]) for key in keys}


def _terms(batch: int, length: int) -> tuple[float, ...]:
    return tuple(float(b * s) for b in (1, batch) for s in (1, length, length**2))


def _trace(key: CellKey, folder: Path) -> TracedCell:
    try:
        root = trace(build_spec(*key, folder)).root
    except Refused as err:
        raise DatasetError(
            f"{key[0]} cannot be traced here ({err}): --method ours describes the models by "
            "today's Transformers; run it where torch and transformers are"
        ) from err
    return traced_cell(as_measured(root, *key))


_ROW_CLASSES = {"matmul": "MatMul", "softmax": "Softmax"}


def traced_cell(root: Node) -> TracedCell:
    """Units and descriptions of a tree by scope."""
    descriptions = describe(root)
    by_scope: dict[str, Description] = {}
    units: dict[str, dict[str, Unit]] = {}
    for node, _ in walk(root):
        if node.kind == "primitive":
            continue
        by_scope.setdefault(node.scope, descriptions[id(node)])
        for child in node.children:
            unit = unit_of(child, node.class_name) if child.kind == "primitive" else None
            if unit is not None:
                row_class = _ROW_CLASSES.get(unit.kind, node.class_name)
                units.setdefault(node.scope, {}).setdefault(row_class, unit)
    return TracedCell(units, by_scope)


def _numbers(cell: TracedCell) -> Iterator[int]:
    """Every size in a cell, in a fixed order."""
    for by_class in cell.units.values():
        for unit in by_class.values():
            yield from unit[2:]
    for description in cell.descriptions.values():
        for unit, _ in description.units:
            yield from unit[2:]
        yield from description.kernels


def _rebuilt(pattern: TracedCell, values: Iterator[int]) -> TracedCell:
    """A cell like `pattern` with other sizes, in the order of `_numbers`."""
    units = {
        scope: {row_class: _sized(unit, values) for row_class, unit in by_class.items()}
        for scope, by_class in pattern.units.items()
    }
    descriptions = {}
    for scope, description in pattern.descriptions.items():
        calls: Counter[Unit] = Counter()
        for unit, n_calls in description.units:  # units of one size here may have been two there
            calls[_sized(unit, values)] += n_calls
        kernels = Kernels(next(values), next(values), next(values))
        descriptions[scope] = Description(tuple(calls.items()), kernels)
    return TracedCell(units, descriptions)


def _sized(unit: Unit, values: Iterator[int]) -> Unit:
    return Unit(unit.kind, unit.layout, next(values), next(values), next(values), next(values))
