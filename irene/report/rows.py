"""A priced tree as rows of text: one unit, siblings that are alike merged, sums exact.

Every row is for one forward pass of the whole model, all calls together, so that the rows
below a row add up to it: energies are counted in steps of their last printed digit, which is
small enough for every row that counts, and divided among the children to the last step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from irene.cards import Occurrence, Sum, each_text, total_of
from irene.energy.prices import BOUNDS, Bound, PricedNode
from irene.tree import Node
from irene.units import (
    EnergyScale,
    apportion,
    energy_scale,
    format_bytes,
    format_count,
    format_time,
)

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
    group, whole_j = _group("", ((root, 1),)), root.energy.joules
    scale = energy_scale(whole_j, _energies(group))
    return _row(group, round(whole_j / scale.step_j), scale, whole_j)


def walk_rows(row: Row, depth: int = 0) -> Iterator[tuple[Row, int]]:
    """Every row, parents first, with its depth."""
    yield row, depth
    for child in row.children:
        yield from walk_rows(child, depth + 1)


@dataclass(frozen=True, slots=True)
class _Group:
    """Calls that are one row, and the groups below them."""

    name: str
    occurrences: tuple[Occurrence, ...]
    total: Sum
    children: tuple[_Group, ...]


def _group(name: str, occurrences: tuple[Occurrence, ...]) -> _Group:
    is_closed = _is_torch_layer(occurrences[0][0].node)
    below = () if is_closed else (_group(*it) for it in _groups(occurrences))
    children = tuple(it for it in below if not _is_free(it.total))
    return _Group(name, occurrences, total_of(occurrences), children)


def _energies(group: _Group) -> Iterator[float]:
    yield group.total.joules
    for child in group.children:
        yield from _energies(child)


def _row(group: _Group, n_steps: int, scale: EnergyScale, whole_j: float) -> Row:
    total, node = group.total, group.occurrences[0][0].node
    divided = apportion([it.total.joules / scale.step_j for it in group.children], n_steps)
    rows = zip(group.children, divided, strict=True)
    return Row(
        name=group.name,
        class_name="" if node.kind == "primitive" else node.class_name,
        calls="" if total.n_calls == 1 else each_text(total),
        energy=scale.text(n_steps, total.joules),
        share=total.joules / whole_j if whole_j else 0.0,
        time=format_time(total.seconds),
        flops=format_count(total.flops),
        n_bytes=format_bytes(total.n_bytes),
        bound=_bound(group.occurrences),
        children=tuple(_row(child, n, scale, whole_j) for child, n in rows),
    )


def _is_free(total: Sum) -> bool:
    """Dropout in eval: no energy, no time, nothing to add to a sum."""
    return not (total.joules or total.seconds or total.flops or total.n_bytes)


def _groups(parents: Sequence[Occurrence]) -> list[tuple[str, tuple[Occurrence, ...]]]:
    """The children of all parents, those that are alike together, in order of appearance."""
    found: dict[_Alike, list[Occurrence]] = {}
    names: dict[_Alike, dict[str, None]] = {}
    for parent, calls in parents:
        for child in parent.children:
            name = _name(parent.node, child.node)
            key = (_pattern(name), _alike(child.node))
            found.setdefault(key, []).append((child, calls * child.node.count))
            names.setdefault(key, {})[name] = None
    return [(_joint_name(list(names[key])), tuple(group)) for key, group in found.items()]


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
    seconds: dict[Bound, float] = dict.fromkeys(BOUNDS, 0.0)
    for priced, calls in occurrences:
        seconds[priced.bound] += calls * priced.energy.seconds
    return max(seconds, key=lambda bound: seconds[bound])


def _is_torch_layer(node: Node) -> bool:
    """A class of torch.nn made of operations alone."""
    if node.kind != "module" or node.origin is None:
        return False
    folders = re.split(r"[\\/]", node.origin.path)[-4:-1]
    return tuple(folders) == _TORCH_LAYERS and all(it.kind == "primitive" for it in node.children)
