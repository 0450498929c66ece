"""A priced tree as rows of text: one unit, siblings that are alike merged, sums exact.

Every row is for one forward pass of the whole model, all calls together, so that the rows
below a row add up to it: energies are counted in steps of their last printed digit and
divided among the children to the last step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from irene.cards import Occurrence, Sum, each_text, total_of
from irene.energy.prices import Bound, PricedNode
from irene.tree import Node
from irene.units import (
    EnergyScale,
    apportion,
    energy_scale,
    format_bytes,
    format_count,
    format_time,
)

N_DIGITS = 4
"""Of the total: a part of a thousandth still shows."""

_TORCH_LAYERS = ("torch", "nn", "modules")
"""Folders of torch.nn's own classes, whose few operations are not worth rows."""

_Alike = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A part of the model: texts ready to show, and the rows below it."""

    name: str  # "layer.0-11", "linear · addmm"
    class_name: str  # "BertLayer"; "" for an operation
    calls: str  # "12 x 31.0 mJ"
    energy: str
    share: float  # of the whole model
    time: str
    flops: str  # without their unit
    n_bytes: str
    bound: Bound
    children: tuple[Row, ...]


def rows_of(root: PricedNode) -> Row:
    """The row of the model, with all the others below it."""
    scale = energy_scale(root.energy.joules, N_DIGITS)
    n_steps = round(root.energy.joules / scale.step_j)
    return _row("", ((root, 1),), n_steps, _Frame(scale, root.energy.joules))


def walk_rows(row: Row, depth: int = 0) -> Iterator[tuple[Row, int]]:
    """Every row, parents first, with its depth."""
    yield row, depth
    for child in row.children:
        yield from walk_rows(child, depth + 1)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all rows of one table share."""

    scale: EnergyScale
    whole_j: float


def _row(name: str, occurrences: Sequence[Occurrence], n_steps: int, frame: _Frame) -> Row:
    total = total_of(occurrences)
    node = occurrences[0][0].node
    return Row(
        name=name,
        class_name="" if node.kind == "primitive" else node.class_name,
        calls="" if total.n_calls == 1 else each_text(total),
        energy=frame.scale.text(n_steps),
        share=total.joules / frame.whole_j if frame.whole_j else 0.0,
        time=format_time(total.seconds),
        flops=format_count(total.flops),
        n_bytes=format_bytes(total.n_bytes),
        bound=_bound(occurrences),
        children=() if _is_torch_layer(node) else _children(occurrences, n_steps, frame),
    )


def _children(occurrences: Sequence[Occurrence], n_steps: int, frame: _Frame) -> tuple[Row, ...]:
    groups = [it for it in _groups(occurrences) if not _is_free(total_of(it[1]))]
    sums = [total_of(group).joules / frame.scale.step_j for _, group in groups]
    divided = apportion(sums, n_steps)
    return tuple(
        _row(name, group, n_child_steps, frame)
        for (name, group), n_child_steps in zip(groups, divided, strict=True)
    )


def _is_free(total: Sum) -> bool:
    """Dropout in eval: no energy, no time, nothing to add to a sum."""
    return not (total.joules or total.seconds or total.flops or total.n_bytes)


def _groups(parents: Sequence[Occurrence]) -> list[tuple[str, list[Occurrence]]]:
    """The children of all parents, those that are alike together, in order of appearance."""
    found: dict[_Alike, list[Occurrence]] = {}
    names: dict[_Alike, dict[str, None]] = {}
    for parent, calls in parents:
        for child in parent.children:
            name = _name(parent.node, child.node)
            key = (_pattern(name), _alike(child.node))
            found.setdefault(key, []).append((child, calls * child.node.count))
            names.setdefault(key, {})[name] = None
    return [(_joint_name(list(names[key])), group) for key, group in found.items()]


def _name(parent: Node, child: Node) -> str:
    """The attribute path of a module, the primitive and operation of an operation."""
    if child.kind == "primitive":
        plain = child.primitive in (None, "other", child.class_name)
        return child.class_name if plain else f"{child.primitive} · {child.class_name}"
    prefix = f"{parent.scope}." if parent.scope else ""
    return child.scope.removeprefix(prefix) or child.scope


def _pattern(name: str) -> str:
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)


def _alike(node: Node) -> _Alike:
    """Equal for nodes that cost the same and are made of the same parts, whatever their place.

    Operations of one name in one module are one row, whatever their shapes.
    """
    if node.kind == "primitive":
        return ()
    return _structure(node)


def _structure(node: Node) -> _Alike:
    below = tuple((child.count, _structure(child)) for child in node.children)
    return (node.class_name, node.flops, node.n_bytes, below)


def _joint_name(names: Sequence[str]) -> str:
    """`["layer.0", "layer.1", "layer.3"] -> "layer.0-1,3"`."""
    if len(names) == 1:
        return names[0]
    columns = list(zip(*(name.split(".") for name in names), strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1:
        return _pattern(names[0])
    parts = [column[0] for column in columns]
    parts[varying[0]] = _ranges(sorted(int(index) for index in columns[varying[0]]))
    return ".".join(parts)


def _ranges(indices: Sequence[int]) -> str:
    """`[0, 1, 2, 5] -> "0-2,5"`."""
    texts = []
    for _, run in itertools.groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
        members = [index for _, index in run]
        texts.append(str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return ",".join(texts)


def _bound(occurrences: Sequence[Occurrence]) -> Bound:
    """What bounds the largest share of the time."""
    seconds: dict[Bound, float] = {"compute": 0.0, "memory": 0.0, "launch": 0.0}
    for priced, calls in occurrences:
        seconds[priced.bound] += calls * priced.energy.seconds
    return max(seconds, key=lambda bound: seconds[bound])


def _is_torch_layer(node: Node) -> bool:
    """A class of torch.nn made of operations alone."""
    if node.kind != "module" or node.origin is None:
        return False
    folders = re.split(r"[\\/]", node.origin.path)[-4:-1]
    return tuple(folders) == _TORCH_LAYERS and all(it.kind == "primitive" for it in node.children)
