"""What a tree is priced by: primitives that are measured on their own, and kernels beside them.

A unit is a primitive as a meter sees it (a linear layer with its bias, one batched matrix
product); everything else that a module issues is a kernel that streams or copies bytes.
Trained predictors and the editor describe nodes by this one function.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from irene.tree import MATRIX_PRIMITIVES, Node

UnitKind = Literal[
    "linear", "matmul", "softmax", "layer_norm", "embedding", "tanh", "attention", "unfamiliar"
]
Layout = Literal["", "batched", "flat"]

COPIES = frozenset({"clone", "cat", "stack", "copy_", "contiguous", "repeat"})
"""Operations that move strided heads: dearer by the byte than those that stream."""


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
    if operation is None or not operation.output_shapes or not operation.output_shapes[0]:
        return None
    if primitive.class_name == "tanh" and owner == "Tanh":
        return Unit("tanh", "", 1, math.prod(operation.output_shapes[0]), 1, 1)
    sized = _SIZED.get(primitive.primitive or "")
    if sized is not None and operation.input_shapes and operation.input_shapes[0]:
        return sized(operation.input_shapes, operation.output_shapes[0])
    return _unfamiliar(primitive) if primitive.primitive in MATRIX_PRIMITIVES else None


_Shape = tuple[int, ...]


def _linear(inputs: Sequence[_Shape], output: _Shape) -> Unit:
    first = inputs[0]  # (..., k) @ (k, n)
    layout: Layout = "batched" if len(first) > 2 else "flat"
    return Unit("linear", layout, 1, math.prod(first[:-1]), first[-1], output[-1])


def _matmul(inputs: Sequence[_Shape], output: _Shape) -> Unit:
    first = inputs[0] if len(inputs[0]) > 1 else (1, *inputs[0])  # (..., m, k) @ (..., k, n)
    n = max(1, math.prod(output) // math.prod(first[:-1]))
    return Unit("matmul", "", math.prod(first[:-2]), first[-2], first[-1], n)


def _softmax(inputs: Sequence[_Shape], output: _Shape) -> Unit:
    del output
    return Unit("softmax", "", 1, math.prod(inputs[0][:-1]), inputs[0][-1], 1)


def _layer_norm(inputs: Sequence[_Shape], output: _Shape) -> Unit:
    del output
    return Unit("layer_norm", "", 1, math.prod(inputs[0][:-1]), inputs[0][-1], 1)


def _embedding(inputs: Sequence[_Shape], output: _Shape) -> Unit:
    del inputs  # the table's size does not matter, the rows that are looked up do
    return Unit("embedding", "", 1, math.prod(output[:-1]), output[-1], 1)


_SIZED: dict[str, Callable[[Sequence[_Shape], _Shape], Unit]] = {
    "linear": _linear,
    "matmul": _matmul,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "embedding": _embedding,
}


def _unfamiliar(primitive: Node) -> Unit:
    """A matrix operation that no predictor was fitted to, as products of the same FLOPs."""
    assert primitive.operation is not None
    output = primitive.operation.output_shapes[0]
    if primitive.primitive == "attention" and len(output) > 2:
        n_batch, m, n = math.prod(output[:-2]), output[-2], output[-1]
        return Unit("attention", "", n_batch, m, _depth(primitive, n_batch * m * n), n)
    has_channels = (primitive.primitive or "").startswith("conv") and len(output) > 2
    n = max(1, output[1] if has_channels else output[-1])
    m = max(1, math.prod(output) // n)
    return Unit("unfamiliar", "", 1, m, _depth(primitive, m * n), n)


def _depth(primitive: Node, n_outputs: int) -> int:
    """The inner length of a product with that many outputs."""
    return max(1, primitive.flops // (2 * max(1, n_outputs)))
