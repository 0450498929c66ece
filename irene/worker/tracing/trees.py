"""From recorded calls to the tree: equal calls merge, costs add up."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from irene.tree import ClassOrigin, Location, Node, Operation
from irene.worker.tracing.recorder import ModuleCall, PricedOperation

if TYPE_CHECKING:
    import torch

Created = Mapping["torch.nn.Module", Location]


def tree_of(root: ModuleCall, created_at: Created) -> Node:
    """The tree of a recorded forward pass; the root is the model."""
    return replace(_Folding(created_at).node(root, None), kind="model")


class _Folding:
    """Folds calls bottom up; what depends on a module alone is computed once."""

    def __init__(self, created_at: Created) -> None:
        self._created_at = created_at
        self._n_parameters: dict[torch.nn.Module, int] = {}
        self._origins: dict[type, ClassOrigin | None] = {}

    def node(self, call: ModuleCall, parent_created: Location | None) -> Node:
        module = call.module
        created_at = self._created_at.get(module, parent_created)
        children = self._children(call, created_at)
        return Node(
            scope=call.scope,
            class_name=type(module).__name__,
            kind="module",
            primitive=None,
            count=1,
            flops=sum(it.count * it.flops for it in children),
            n_bytes=sum(it.count * it.n_bytes for it in children),
            n_parameters=self._parameters_below(module),
            created_at=created_at,
            called_at=call.called_at,
            origin=self._origin(type(module)),
            operation=None,
            children=children,
        )

    def _children(self, call: ModuleCall, created_at: Location | None) -> tuple[Node, ...]:
        """In order of their first call; equal ones once, with their count."""
        operations: dict[PricedOperation, int] = {}
        modules: dict[tuple[str, Location | None], list[int]] = {}
        nodes: list[Node] = []
        for event in call.events:
            if isinstance(event, PricedOperation):
                at = operations.setdefault(event, len(nodes))
                if at == len(nodes):
                    nodes.append(_primitive(event, call.scope))
                    continue
            else:
                node = self.node(event, created_at)
                same = modules.setdefault((node.scope, node.called_at), [])
                at = next((i for i in same if replace(nodes[i], count=1) == node), len(nodes))
                if at == len(nodes):
                    same.append(at)
                    nodes.append(node)
                    continue
            nodes[at] = replace(nodes[at], count=nodes[at].count + 1)
        return tuple(nodes)

    def _parameters_below(self, module: torch.nn.Module) -> int:
        if module not in self._n_parameters:
            self._n_parameters[module] = sum(it.numel() for it in module.parameters())
        return self._n_parameters[module]

    def _origin(self, cls: type) -> ClassOrigin | None:
        if cls not in self._origins:
            self._origins[cls] = _origin_of(cls)
        return self._origins[cls]


def _primitive(operation: PricedOperation, scope: str) -> Node:
    cost = operation.cost
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
        called_at=operation.called_at,
        origin=None,
        operation=Operation(
            cost.name, cost.dtype, cost.input_shapes, cost.output_shapes, cost.n_kernels
        ),
        children=(),
    )


def _origin_of(cls: type) -> ClassOrigin | None:
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return None if path is None else ClassOrigin(path, cls.__qualname__)
