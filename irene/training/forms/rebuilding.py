"""Rows of one model and shape to a tree: parents found from scopes."""

from __future__ import annotations

from collections.abc import Sequence

from irene.errors import DatasetError
from irene.training.measurements import Cell, MeasuredNode

ACTIVATIONS = frozenset(
    {"ReLU", "GELU", "NewGELUActivation", "SiLU", "Sigmoid", "LogSigmoid", "LeakyReLU", "Tanh"}
)
"""Modules that are one operation, so that nothing is below them."""
_ORDER = {"model": 0, "module": 1, "ml": 2, "ml-np": 3}


def rebuild(model_name: str, batch_size: int, seq_len: int, rows: Sequence[MeasuredNode]) -> Cell:
    """The tree of one cell.

    The parent of a node is the longest module scope that is a proper prefix of its scope;
    an operation without a module of its own carries the scope of the module that calls it.

    Raises:
        DatasetError: a module has nothing below it, so that rows are missing.
    """
    ordered = sorted(rows, key=_by_depth)
    modules = {
        node.scope: place for place, node in enumerate(ordered) if node.node_type == "module"
    }
    root = 0 if ordered[0].node_type == "model" else -1
    parents = [_parent(node, modules, root) for node in ordered]
    has_children = set(parents)
    for place, node in enumerate(ordered):
        is_alone = node.level == "ml" or node.class_name in ACTIVATIONS
        if not is_alone and place not in has_children:
            raise DatasetError(
                f"{model_name} at {batch_size} x {seq_len}: no row below {node.scope}:"
                f"{node.class_name}; a file was cut short, or its primitives were not measured: "
                "copy it again, or remove the module's row"
            )
    places = _level_order(parents)
    new_place = {place: new for new, place in enumerate(places)} | {-1: -1}
    return Cell(
        model_name,
        batch_size,
        seq_len,
        tuple(ordered[place] for place in places),
        tuple(new_place[parents[place]] for place in places),
    )


def _level_order(parents: Sequence[int]) -> list[int]:
    """Places level by level, as a nested form is read back."""
    children: dict[int, list[int]] = {}
    for place, parent in enumerate(parents):
        children.setdefault(parent, []).append(place)
    order = list(children[-1])
    for place in order:  # grows while it is walked
        order.extend(children.get(place, ()))
    return order


def _by_depth(node: MeasuredNode) -> tuple[int, int]:
    """Parents first; rows of one kind and depth stay in file order."""
    kind = _ORDER[node.node_type]
    return (kind, node.scope.count(".") if node.node_type == "module" else 0)


def _parent(node: MeasuredNode, modules: dict[str, int], root: int) -> int:
    if node.node_type == "model":
        return -1
    if node.node_type == "ml-np" and node.scope in modules:
        return modules[node.scope]
    scope = node.scope
    while "." in scope:
        scope = scope.rpartition(".")[0]
        if scope in modules:
            return modules[scope]
    return root
