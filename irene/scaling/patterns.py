"""A trace as a pattern with sizes: what two sizes of one model share, and the integers that differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from itertools import chain, groupby, repeat
from typing import Any

from irene.tree import Assumption, Location, Node, Operation, TensorSpec, Trace, Unpriced, walk

Change = Callable[[int], int]

_JOINS = frozenset({"cat", "stack", "concat", "hstack", "vstack", "dstack", "column_stack"})
"""Operations on any number of tensors: a loop may join as many as it has steps."""

_INTEGER = re.compile(r"(?<![\w.])(?:0|[1-9]\d*)(?![\w.]*\w)")  # not those in names and versions


def sizes_of(trace: Trace) -> tuple[int, ...]:
    """The integers of a trace that may depend on batch and length, in a fixed order.

    Counts of all nodes; FLOPs, bytes and the integers of each operation (a module has the sums
    of its children); the shapes of the inputs; integers in sentences.
    """
    sizes: list[int] = []

    def collect(size: int) -> int:
        sizes.append(size)
        return size

    _packed(trace, collect)
    return tuple(sizes)


def pattern_of(trace: Trace) -> Trace:
    """The trace with every size 0: equal for two traces of the same operations.

    Where tensors are joined each shape stands once, before it how often it comes in a row.
    """
    return _packed(trace, lambda _: 0)


def filled(pattern: Trace, sizes: Iterable[int]) -> Trace:
    """The trace of this pattern with these sizes; the inverse of `pattern_of` and `sizes_of`.

    What is equal at these sizes becomes one with a count, as in a trace.
    """
    left = iter(sizes)
    root = _filled_node(pattern.root, left)
    rest = _with_sizes(pattern, lambda _: next(left))
    return replace(
        rest,
        root=root,
        assumptions=tuple(dict.fromkeys(rest.assumptions)),
        unpriced=tuple(dict.fromkeys(rest.unpriced)),
    )


def dimensions_beside(pattern: Trace) -> dict[int, range]:
    """By the index of an operation's FLOPs among the sizes: the indices of its own integers."""
    beside: dict[int, range] = {}
    at = 0
    for node, _ in walk(pattern.root):
        if node.operation is None:
            at += 1
            continue
        own = tuple(getattr(node.operation, it.name) for it in fields(node.operation))
        end = at + 3 + _n_integers(own)
        beside[at + 1] = range(at + 3, end)
        at = end
    return beside


def _packed(trace: Trace, change: Change) -> Trace:
    root = _packed_node(trace.root, change)
    return replace(_with_sizes(trace, change), root=root)


def _packed_node(node: Node, change: Change) -> Node:
    count = change(node.count)
    if node.operation is None:
        children = tuple(_packed_node(it, change) for it in node.children)
        return replace(node, count=count, flops=0, n_bytes=0, children=children)
    return replace(
        node,
        count=count,
        flops=change(node.flops),
        n_bytes=change(node.n_bytes),
        operation=_changed_operation(_with_runs(node.operation), change),
    )


def _filled_node(node: Node, left: Iterator[int]) -> Node:
    count = next(left)
    if node.operation is None:
        children = _merged([_filled_node(it, left) for it in node.children])
        return replace(
            node,
            count=count,
            flops=sum(it.count * it.flops for it in children),
            n_bytes=sum(it.count * it.n_bytes for it in children),
            children=children,
        )
    flops, n_bytes = next(left), next(left)
    operation = _without_runs(_changed_operation(node.operation, lambda _: next(left)))
    return replace(node, count=count, flops=flops, n_bytes=n_bytes, operation=operation)


def _changed_operation(operation: Operation, change: Change) -> Operation:
    """With other integers in all of its fields: shapes, kernels."""
    changed: dict[str, Any] = {
        it.name: _changed(getattr(operation, it.name), change) for it in fields(operation)
    }
    return replace(operation, **changed)


def _changed(value: object, change: Change) -> object:
    if isinstance(value, tuple):
        return tuple([_changed(it, change) for it in value])
    return change(value) if type(value) is int else value


def _n_integers(value: object) -> int:
    if isinstance(value, tuple):
        return sum(map(_n_integers, value))
    return int(type(value) is int)


def _with_runs(operation: Operation) -> Operation:
    """The shapes that are joined by their runs: how often one comes in a row, then the shape.

    Nowhere else: an input and a weight may be of one shape at one size, by chance.
    """
    if operation.name not in _JOINS:
        return operation
    runs = ((sum(1 for _ in run), *shape) for shape, run in groupby(operation.input_shapes))
    return replace(operation, input_shapes=tuple(runs))


def _without_runs(operation: Operation) -> Operation:
    if operation.name not in _JOINS:
        return operation
    shapes = (repeat(tuple(shape), n) for n, *shape in operation.input_shapes)
    return replace(operation, input_shapes=tuple(chain.from_iterable(shapes)))


def _merged(children: list[Node]) -> tuple[Node, ...]:
    """Equal children once, in the order of their first call."""
    merged: list[Node] = []
    alike: dict[tuple[str, str, Location | None, int, int], list[int]] = {}
    for child in children:
        key = (child.scope, child.class_name, child.called_at, child.flops, child.n_bytes)
        places = alike.setdefault(key, [])
        for at in places:
            if replace(merged[at], count=child.count) == child:
                merged[at] = replace(child, count=merged[at].count + child.count)
                break
        else:
            places.append(len(merged))
            merged.append(child)
    return tuple(merged)


def _with_sizes(trace: Trace, change: Change) -> Trace:
    """The inputs and sentences of `trace` with other integers."""
    return replace(
        trace,
        inputs=tuple(
            TensorSpec(it.name, it.dtype, tuple(map(change, it.shape))) for it in trace.inputs
        ),
        assumptions=tuple(
            Assumption(_with_integers(it.text, change), it.location) for it in trace.assumptions
        ),
        unpriced=tuple(
            Unpriced(it.name, _with_integers(it.reason, change), it.location)
            for it in trace.unpriced
        ),
    )


def _with_integers(text: str, change: Change) -> str:
    return _INTEGER.sub(lambda found: str(change(int(found[0]))), text)
