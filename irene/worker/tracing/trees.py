"""From what a call of a module did to its node: equal operations and calls merge, costs add up."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from irene.tree import ClassOrigin, Location, Node, Operation
from irene.worker.ops.costs import Cost
from irene.worker.tracing.notes import Note

if TYPE_CHECKING:
    import torch

Event = Note | Node | Location | None
"""Events come in pairs: an operation's note and its line; a module's node and None."""

_LARGEST = 1 << 15  # nodes
_folded: dict[object, tuple[object, Node]] = {}
"""Nodes by all that they are made of, and that itself, so that no id is used again."""


class Folding:
    """Makes the nodes of one forward pass; `n_parameters` are those below modules, as known."""

    def __init__(self, n_parameters: Mapping[torch.nn.Module, int]) -> None:
        self._n_parameters = dict(n_parameters)
        self._classes: dict[type, tuple[str, ClassOrigin | None]] = {}

    def node(
        self,
        module: torch.nn.Module,
        scope: str,
        called_at: Location | None,
        created_at: Location | None,
        events: Sequence[Event],
    ) -> Node:
        """The node of one call of `module`; equal calls give the same object."""
        n_parameters = self._n_parameters.get(module)
        if n_parameters is None:
            n_parameters = self._n_parameters[module] = _count(module)
        described = self._classes.get(type(module))
        if described is None:
            described = self._classes[type(module)] = _described(type(module))
        key = (scope, described, n_parameters, id(called_at), id(created_at), *map(id, events))
        found = _folded.get(key)
        if found is not None:
            return found[1]
        children = _merged(events, scope)
        node = Node(
            scope=scope,
            class_name=described[0],
            kind="module",
            primitive=None,
            count=1,
            flops=sum(it.count * it.flops for it in children),
            n_bytes=sum(it.count * it.n_bytes for it in children),
            n_parameters=n_parameters,
            created_at=created_at,
            called_at=called_at,
            origin=described[1],
            operation=None,
            children=children,
        )
        _folded[key] = ((tuple(events), called_at, created_at), node)
        return node


def is_full() -> bool:
    """Whether more nodes are kept than is good."""
    return len(_folded) >= _LARGEST


def forget() -> None:
    """Keep no node; equal ones of before and after are not one."""
    _folded.clear()


def _merged(events: Sequence[Event], scope: str) -> tuple[Node, ...]:
    """In order of their first call; equal ones once, with their count."""
    counts: dict[tuple[int, int], int] = {}
    firsts: dict[tuple[int, int], tuple[Cost | Node, Location | None]] = {}
    for i in range(0, len(events), 2):
        event, at = events[i], events[i + 1]
        parts = event.costs if isinstance(event, Note) else (event,)
        for part in parts:
            key = (id(part), id(at))
            if key in counts:
                counts[key] += 1
            else:
                counts[key] = 1
                firsts[key] = (part, at)  # type: ignore[assignment] # events come in pairs
    return tuple(
        _counted(part if isinstance(part, Node) else _primitive(part, at, scope), counts[key])
        for key, (part, at) in firsts.items()
    )


def _counted(node: Node, count: int) -> Node:
    return node if count == 1 else replace(node, count=count)


def _primitive(cost: Cost, at: Location | None, scope: str) -> Node:
    return Node(
        scope=scope,
        class_name=cost.name,
        kind="primitive",
        primitive=cost.primitive,
        count=1,
        flops=cost.flops,
        n_bytes=cost.n_bytes,
        n_parameters=cost.n_parameters,
        created_at=None,
        called_at=at,
        origin=None,
        operation=Operation(
            cost.name,
            cost.dtype,
            cost.input_shapes,
            cost.output_shapes,
            cost.n_kernels,
            cost.n_steps,
            cost.product,
            cost.is_known,
        ),
        children=(),
    )


def _count(module: torch.nn.Module) -> int:
    return sum(it.numel() for it in module.parameters())


def _described(cls: type) -> tuple[str, ClassOrigin | None]:
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return cls.__name__, None if path is None else ClassOrigin(path, cls.__qualname__)
