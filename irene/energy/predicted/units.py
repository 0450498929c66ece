"""What a tree is priced by: primitives that are measured on their own, and kernels beside them.

A unit is a primitive as a meter sees it (a linear layer with its bias, one batched matrix
product); everything else that a module issues is a kernel that streams or copies bytes.
Trained predictors and the editor describe nodes by this one function.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from irene.tree import MATRIX_PRIMITIVES, Node

UnitKind = Literal["linear", "matmul", "softmax", "layer_norm", "embedding", "tanh", "unfamiliar"]
Layout = Literal["", "batched", "flat"]

COPIES = frozenset({"clone", "cat", "stack", "copy_", "contiguous", "repeat"})
"""Operations that move strided heads: dearer by the byte than those that stream."""

_BY_PRIMITIVE: dict[str, UnitKind] = {
    "linear": "linear",
    "matmul": "matmul",
    "softmax": "softmax",
    "layer_norm": "layer_norm",
    "embedding": "embedding",
}


class Unit(NamedTuple):
    """A measured primitive by its sizes: `n_batch` products of (m, k) by (k, n)."""

    kind: UnitKind
    layout: Layout  # of a linear layer: over a batch of sequences, or rows alone
    n_batch: int
    m: int  # rows; of softmax, layer norm and embedding as well
    k: int  # their width
    n: int


class Kernels(NamedTuple):
    """Kernels beside the units, added up."""

    streamed_bytes: int
    copied_bytes: int
    n_kernels: int


@dataclass(frozen=True, slots=True)
class Description:
    """All that the price of a node depends on; two nodes with one description cost the same."""

    units: tuple[tuple[Unit, int], ...]  # with their calls, in order
    kernels: Kernels


def describe(node: Node) -> Mapping[int, Description]:
    """The description of `node` and of every module below it, by `id`."""
    found: dict[int, Description] = {}
    _gather(node, found)
    return found


def _gather(node: Node, found: dict[int, Description]) -> tuple[Counter[Unit], list[int]]:
    units: Counter[Unit] = Counter()
    sums = [0, 0, 0]
    for child in node.children:
        if child.kind == "primitive":
            _count(child, node.class_name, units, sums)
            continue
        below, below_sums = _gather(child, found)
        for unit, calls in below.items():
            units[unit] += child.count * calls
        for place, value in enumerate(below_sums):
            sums[place] += child.count * value
    found[id(node)] = Description(tuple(units.items()), Kernels(*sums))
    return units, sums


def _count(primitive: Node, owner: str, units: Counter[Unit], sums: list[int]) -> None:
    unit = unit_of(primitive, owner)
    if unit is not None:
        units[unit] += primitive.count
        return
    n_kernels = primitive.operation.n_kernels if primitive.operation else 1
    if n_kernels:  # what rides in another's kernel, as a bias does, belongs to that unit
        sums[1 if primitive.class_name in COPIES else 0] += primitive.count * primitive.n_bytes
        sums[2] += primitive.count * n_kernels


def unit_of(primitive: Node, owner: str) -> Unit | None:
    """The unit that a primitive is, None for a kernel; `owner` is the class that issues it."""
    operation = primitive.operation
    if operation is None or not operation.input_shapes or not operation.output_shapes:
        return None
    if not operation.output_shapes[0]:
        return None
    inputs, output = operation.input_shapes, operation.output_shapes[0]
    kind = _BY_PRIMITIVE.get(primitive.primitive or "")
    if kind == "linear" and inputs[0] and output:
        layout: Layout = "batched" if len(inputs[0]) > 2 else "flat"
        return Unit(kind, layout, 1, math.prod(inputs[0][:-1]), inputs[0][-1], output[-1])
    if kind == "matmul" and len(inputs) > 1 and len(inputs[0]) > 1 and len(inputs[1]) > 1:
        first, second = inputs[0], inputs[1]
        return Unit(kind, "", math.prod(first[:-2]), first[-2], first[-1], second[-1])
    if kind in ("softmax", "layer_norm") and inputs[0]:
        return Unit(kind, "", 1, math.prod(inputs[0][:-1]), inputs[0][-1], 1)
    if kind == "embedding" and output:
        return Unit(kind, "", 1, math.prod(output[:-1]), output[-1], 1)
    if primitive.class_name == "tanh" and owner == "Tanh":
        return Unit("tanh", "", 1, math.prod(output), 1, 1)
    if primitive.primitive in MATRIX_PRIMITIVES:
        return _unfamiliar(primitive, output)
    return None


def _unfamiliar(primitive: Node, output: tuple[int, ...]) -> Unit:
    """A matrix operation that no predictor was fitted to, as one product of the same FLOPs."""
    n = max(1, output[1] if len(output) > 2 else output[-1])
    m = max(1, math.prod(output) // n)
    return Unit("unfamiliar", "", 1, m, max(1, primitive.flops // (2 * m * n)), n)
