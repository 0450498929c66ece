"""Rows of measured data with what they were measured on: a unit, or a module's description.

Rows are matched to the nodes of a trace by scope. A second node of one class, FLOPs and
bytes was not measured but carries the first one's values, so each row stands for the first
of its signature.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from irene.energy.predicted.predictor import Level
from irene.energy.predicted.units import Description, Unit
from irene.training.measurements import Cell, MeasuredNode
from irene.training.ours.tracing import CellKey, TracedCell


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured row."""

    cell: CellKey
    level: Level
    level_name: str  # as in the files: `scope:ClassName`, the model's name for a model
    unit: Unit | None
    description: Description | None
    energy_j: float  # NaN: to be predicted only
    time_s: float  # NaN: not run
    gpu_energy_j: float

    @property
    def model_name(self) -> str:
        return self.cell[0]

    @property
    def signature(self) -> tuple[str, Unit | Description | None]:
        """Rows with one signature measured the same thing."""
        return (self.level, self.unit or self.description)


def observe(
    cells: Sequence[Cell], traced: Mapping[CellKey, TracedCell]
) -> tuple[tuple[Observation, ...], tuple[str, ...]]:
    """All rows that a trace explains, and what had to be left out, by name."""
    found: list[Observation] = []
    left_out: dict[str, None] = {}
    names: dict[CellKey, dict[str, str]] = {}
    for cell in cells:
        key = (cell.model_name, cell.batch_size, cell.seq_len)
        if key not in traced:
            left_out[f"{cell.model_name}: its architecture is not known here"] = None
            continue
        names[key] = _short_names(traced[key])
        for node, first in _with_first_of_signature(cell.nodes):
            observation = _observation(key, node, first, traced[key], names[key])
            if observation is None:
                left_out[f"{cell.model_name}: {node.scope}:{node.class_name}"] = None
            else:
                found.append(observation)
    return tuple(found), tuple(left_out)


def _with_first_of_signature(
    nodes: Sequence[MeasuredNode],
) -> Iterator[tuple[MeasuredNode, MeasuredNode]]:
    first: dict[tuple[str, float, float, str], MeasuredNode] = {}
    for node in nodes:
        signature = (node.class_name, node.n_mflop, node.n_mib, node.level)
        yield node, first.setdefault(signature, node)


def _observation(
    key: CellKey,
    node: MeasuredNode,
    first: MeasuredNode,
    traced: TracedCell,
    names: Mapping[str, str],
) -> Observation | None:
    scope = "" if node.node_type == "model" else names.get(first.scope, first.scope)
    unit = description = None
    if node.level == "ml":
        unit = traced.units.get(scope, {}).get(node.class_name)
    else:
        description = traced.descriptions.get(scope)
    if unit is None and description is None:
        return None
    is_model = node.node_type == "model"
    name = key[0] if is_model else f"{node.scope}:{node.class_name}"
    return Observation(
        key,
        node.level,
        name,
        unit,
        description,
        math.nan if node.energy_j is None else node.energy_j,
        node.time_s,
        node.gpu_energy_j,
    )


def _short_names(traced: TracedCell) -> dict[str, str]:
    """`encoder.3.x -> encoder.layer.3.x`: the tree form leaves the names of lists out."""
    scopes = {*traced.descriptions, *traced.units}
    return {re.sub(r"(^|\.)[^.]+\.(?=\d+(\.|$))", r"\1", scope): scope for scope in scopes} | {
        scope: scope for scope in scopes
    }
