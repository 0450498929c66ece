"""Functions of batch and length from traces, on models whose laws are known because we wrote them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irene.scaling import ScaledTrace, scale
from irene.scaling.patterns import filled, pattern_of, sizes_of
from irene.tree import (
    Assumption,
    ClassOrigin,
    Location,
    Node,
    Operation,
    TensorSpec,
    Trace,
    check_sums,
)
from irene.worker.protocol import Refusal

BATCHES, LENGTHS = range(1, 17), range(2, 601)


@dataclass(frozen=True, slots=True)
class Made:
    """An operation of a model that we made: whether it runs at a size, and its FLOPs there."""

    name: str
    flops: Callable[[int, int], int]
    runs: Callable[[int, int], bool] = lambda _b, _s: True
    calls: Callable[[int, int], int] = lambda _b, _s: 1


def model(*operations: Made) -> Callable[[int, int], Trace]:
    """A tracer of two equal layers of these operations."""

    def trace(batch: int, length: int) -> Trace:
        layers = tuple(
            module(f"layers.{i}", merged(leaf(it, i, batch, length) for it in operations
                                         if it.runs(batch, length)))
            for i in range(2)
        )  # fmt: skip
        return Trace(
            root=replace(module("", layers), kind="model"),
            mode="inference",
            arguments="Net(width=64)",
            inputs=(TensorSpec("input_ids", "int64", (batch, length)),),
            dtype="float32",
            assumptions=(Assumption(f"{length} tokens of 512, as float32", None),),
            unpriced=(),
            torch_version="2.13.0",
            transformers_version=None,
        )

    return trace


def module(scope: str, children: Any) -> Node:
    return Node(
        scope=scope, class_name="Block", kind="module", primitive=None, count=1,
        flops=sum(it.count * it.flops for it in children),
        n_bytes=sum(it.count * it.n_bytes for it in children),
        n_parameters=7, created_at=None, called_at=Location("/net.py", 3),
        origin=ClassOrigin("/net.py", "Block"), operation=None, children=tuple(children),
    )  # fmt: skip


def leaf(made: Made, layer: int, batch: int, length: int) -> Node:
    shape = (batch * length, 64)
    return Node(
        scope=f"layers.{layer}", class_name=made.name, kind="primitive", primitive="other",
        count=made.calls(batch, length), flops=made.flops(batch, length),
        n_bytes=4 * 64 * batch * length, n_parameters=0, created_at=None,
        called_at=Location("/net.py", 9), origin=None,
        operation=Operation(made.name, "float32", (shape,), ((batch, length),), 1), children=(),
    )  # fmt: skip


def merged(leaves: Iterable[Node]) -> list[Node]:
    """Equal operations of one line are one, as the tracer has them."""
    counts: dict[Node, int] = {}
    for it in leaves:
        one = replace(it, count=1)
        counts[one] = counts.get(one, 0) + it.count
    return [replace(it, count=count) for it, count in counts.items()]


def check(
    tracer: Callable[[int, int], Trace], scaled: ScaledTrace, *sizes: tuple[int, int]
) -> None:
    """At each size what a trace gives, or nothing."""
    for size in sizes:
        found = scaled.at(*size)
        assert found is None or found == tracer(*size), size


def is_complete(scaled: ScaledTrace) -> bool:
    return scaled.gaps == ()


amount = st.integers(0, 10**6)
polynomials = st.builds(
    lambda c: (
        lambda b, s: c[0] + c[1] * b + c[2] * s + c[3] * b * s + c[4] * s**2 + c[5] * b * s**2
    ),
    st.tuples(*[amount] * 6),
)
triangles = st.builds(lambda c: lambda b, s: c * b * s * (s + 1) // 2, amount)
windows = st.builds(
    lambda c, w: lambda b, s: c * b * s * min(s, w), st.integers(1, 1000), st.integers(2, 600)
)
ceilings = st.builds(
    lambda c, w: lambda b, s: c * b * -(-s // w) * w, st.integers(1, 1000), st.integers(2, 600)
)
sorts = st.builds(lambda c: lambda b, s: c * b * s * (b * s - 1).bit_length(), st.integers(1, 1000))
branches = st.builds(lambda t: lambda _b, s: s > t, st.integers(2, 600))
batches_of_one = st.just(lambda b, _s: b == 1)
names = st.sampled_from(["mm", "add", "sort"])

smooth = st.builds(Made, names, polynomials | triangles)
any_operation = st.builds(
    Made, names, polynomials | triangles | windows | ceilings | sorts,
    st.just(lambda _b, _s: True) | branches | batches_of_one,
)  # fmt: skip
sizes = st.tuples(st.sampled_from(BATCHES), st.sampled_from(LENGTHS))


@given(st.lists(smooth, max_size=3), st.lists(sizes, min_size=3, max_size=3))
@settings(deadline=None)
def test_polynomials_are_known_everywhere(operations: list[Made], asked: Any) -> None:
    """Halves and thirds in the coefficients too: S (S + 1) / 2 is an integer at each S."""
    tracer = model(*operations)
    scaled = scale(tracer, BATCHES, LENGTHS)
    assert is_complete(scaled)
    assert scaled.n_traces <= 18
    for batch, length in asked:
        assert scaled.at(batch, length) == tracer(batch, length)


@given(st.lists(any_operation, min_size=1, max_size=3), st.lists(sizes, min_size=8, max_size=8))
@settings(deadline=None, max_examples=100)
def test_no_value_is_wrong_in_silence(operations: list[Made], asked: Any) -> None:
    """Windows, ceilings, sorts, branches on the length, operations of batch 1, and all together."""
    tracer = model(*operations)
    check(tracer, scale(tracer, BATCHES, LENGTHS), *asked)


@given(st.lists(any_operation, max_size=3), sizes)
def test_a_trace_is_its_pattern_with_its_sizes(operations: list[Made], size: Any) -> None:
    trace = model(*operations)(*size)
    assert filled(pattern_of(trace), sizes_of(trace)) == trace


@given(st.lists(any_operation, max_size=3), sizes)
@settings(deadline=None, max_examples=20)
def test_what_is_computed_adds_up(operations: list[Made], size: Any) -> None:
    found = scale(model(*operations), BATCHES, LENGTHS).at(*size)
    assert found is None or check_sums(found.root) == []


def spans(scaled: ScaledTrace) -> list[tuple[range, range]]:
    return [(it.batches, it.lengths) for it in scaled.pieces]


MANY, ONE = range(2, 17), range(1, 2)


@pytest.mark.parametrize(
    ("operation", "lengths"),
    [
        (Made("mm", lambda b, s: b * s * min(s, 128)), [range(2, 129), range(129, 601)]),
        (Made("mm", lambda b, s: b * s, lambda _b, s: s > 300), [range(2, 301), range(301, 601)]),
        (Made("scan", lambda b, _s: b, calls=lambda _b, s: s), [range(2, 601)]),
        (Made("pool", lambda b, s: b * (s // 2)), [range(2, 601, 2), range(3, 601, 2)]),
        (Made("sort", lambda b, s: b * s * (b * s - 1).bit_length()), [range(2, 601)]),
        (Made("fft", lambda b, s: round(5 * b * s * math.log2(s * 64))), [range(2, 601)]),
    ],
)
def test_a_piece_ends_where_the_law_does(operation: Made, lengths: list[range]) -> None:
    """A window, a branch, a loop, pooling, the levels of a sort, a Fourier transform."""
    scaled = scale(model(operation), BATCHES, LENGTHS)
    assert sorted(spans(scaled), key=str) == sorted(
        [(batches, it) for batches in (MANY, ONE) for it in lengths], key=str
    )
    assert is_complete(scaled)


@pytest.mark.parametrize(
    "operation",
    [
        Made("cube", lambda b, s: b * s**3),
        Made("mm", lambda b, s: b * s + 7 * (s % 5 == 0) * s),
        Made("mm", lambda b, s: b * s * (17 if b > 8 else 1)),
        Made("mm", lambda b, s: math.isqrt(b * s)),
        Made("mm", lambda b, s: b, lambda _b, s: s % 128 == 0),
    ],
)
def test_what_has_no_law_is_a_gap_with_a_reason(operation: Made) -> None:
    tracer = model(operation)
    scaled = scale(tracer, BATCHES, LENGTHS)
    assert scaled.gaps
    assert all(it.reason for it in scaled.gaps)
    check(tracer, scaled, *((b, s) for b in (1, 2, 3, 8, 9, 16) for s in range(2, 601, 7)))


def test_sizes_that_are_refused_are_a_gap() -> None:
    refusal = Refusal("forward", "no more than 100 positions.", None, "")
    made = model(Made("mm", lambda b, s: b * s))

    def tracer(batch: int, length: int) -> Trace | Refusal:
        return made(batch, length) if length <= 100 else refusal

    scaled = scale(tracer, BATCHES, LENGTHS)
    assert scaled.at(3, 100) == made(3, 100)
    assert scaled.at(3, 101) is None
    assert any("no more than 100 positions." in it.reason for it in scaled.gaps)


def test_equal_operations_are_one_where_they_are_equal() -> None:
    """At length 64 the two have one cost; nowhere else."""
    tracer = model(Made("mm", lambda b, s: 64 * b * s), Made("mm", lambda b, s: b * s**2))
    scaled = scale(tracer, BATCHES, LENGTHS)
    check(tracer, scaled, (3, 64), (3, 63))
    found = scaled.at(3, 64)
    assert found is not None
    assert [it.count for it in found.root.children[0].children] == [2]


def test_integers_in_sentences_follow_the_size() -> None:
    found = scale(model(), BATCHES, LENGTHS).at(5, 99)
    assert found is not None
    assert [it.text for it in found.assumptions] == ["99 tokens of 512, as float32"]
    assert found.inputs == (TensorSpec("input_ids", "int64", (5, 99)),)
