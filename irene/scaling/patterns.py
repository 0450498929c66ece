"""A trace as a pattern with sizes: what two sizes of one model share, and the integers that differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby, repeat

from irene.tree import Assumption, Location, Node, TensorSpec, Trace, Unpriced, walk

Change = Callable[[int], int]
Shapes = tuple[tuple[int, ...], ...]

_JOINS = frozenset({"cat", "stack", "concat", "hstack", "vstack", "dstack", "column_stack"})
"""Operations on any number of tensors: a loop may join as many as it has steps."""

_INTEGER = re.compile(r"(?<![\w.])(?:0|[1-9]\d*)(?![\w.]*\w)")  # not those in names and versions


def sizes_of(trace: Trace) -> tuple[int, ...]:
    """The integers of a trace that may depend on batch and length, in a fixed order.

    Shapes of the inputs; counts, FLOPs, bytes, shapes, kernels and steps of the operations; counts
    of the modules, whose costs are the sums of their children's; integers in sentences.
    """
    sizes: list[int] = []

    def collect(size: int) -> int:
        sizes.append(size)
        return size

    _packed(trace, collect)
    return tuple(sizes)


def pattern_of(trace: Trace) -> Trace:
    """The trace with every size 0: equal for two traces of the same operations.

    Each shape has a number before it, how often it comes in a row where tensors are joined.
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
    """By the index of an operation's FLOPs among the sizes: the indices of its shapes."""
    beside: dict[int, range] = {}
    at = 0
    for node, _ in walk(pattern.root):
        if node.operation is None:
            at += 1
            continue
        shapes = (*node.operation.input_shapes, *node.operation.output_shapes)
        n_dimensions = sum(map(len, shapes))
        beside[at + 1] = range(at + 3, at + 3 + n_dimensions)
        at += 5 + n_dimensions
    return beside


def _packed(trace: Trace, change: Change) -> Trace:
    root = _packed_node(trace.root, change)
    return replace(_with_sizes(trace, change), root=root)


def _packed_node(node: Node, change: Change) -> Node:
    count = change(node.count)
    operation = node.operation
    if operation is None:
        children = tuple(_packed_node(it, change) for it in node.children)
        return replace(node, count=count, flops=0, n_bytes=0, children=children)
    return replace(
        node,
        count=count,
        flops=change(node.flops),
        n_bytes=change(node.n_bytes),
        operation=replace(
            operation,
            input_shapes=_runs(operation.input_shapes, change, joined=operation.name in _JOINS),
            output_shapes=_runs(operation.output_shapes, change, joined=False),
            n_kernels=change(operation.n_kernels),
            n_steps=change(operation.n_steps),
        ),
    )


def _runs(shapes: Shapes, change: Change, *, joined: bool) -> Shapes:
    if joined:
        runs = [(sum(1 for _ in run), shape) for shape, run in groupby(shapes)]
    else:  # equal ones are not in one role: an input and a weight may be alike at one size
        runs = [(1, shape) for shape in shapes]
    return tuple((change(n), *map(change, shape)) for n, shape in runs)


def _filled_node(node: Node, left: Iterator[int]) -> Node:
    count = next(left)
    operation = node.operation
    if operation is None:
        children = _merged([_filled_node(it, left) for it in node.children])
        return replace(
            node,
            count=count,
            flops=sum(it.count * it.flops for it in children),
            n_bytes=sum(it.count * it.n_bytes for it in children),
            children=children,
        )
    flops, n_bytes = next(left), next(left)
    return replace(
        node,
        count=count,
        flops=flops,
        n_bytes=n_bytes,
        operation=replace(
            operation,
            input_shapes=_repeated(operation.input_shapes, left),
            output_shapes=_repeated(operation.output_shapes, left),
            n_kernels=next(left),
            n_steps=next(left),
        ),
    )


def _repeated(runs: Shapes, left: Iterator[int]) -> Shapes:
    """The shapes of runs with these sizes."""
    shapes = []
    for run in runs:
        n, *shape = (next(left) for _ in run)
        shapes.append(repeat(tuple(shape), n))
    return tuple(chain.from_iterable(shapes))


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
