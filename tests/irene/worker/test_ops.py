"""The table of costs, against closed forms written beside each case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irene.worker.ops import Call, Cost, Operand, cost_of, is_known

Shape = Sequence[int]


def tensor(*shape: int, weight: bool = False, stored: int | None = None, at: int = 0) -> Operand:
    """A float32 tensor; `stored` elements where it is expanded."""
    n = math.prod(shape)
    return Operand(
        shape=shape,
        dtype="float32",
        itemsize=4,
        n_bytes=4 * (n if stored is None else stored),
        identity=at or id(shape),
        n_parameters=n if weight else 0,
        is_weight=weight,
    )


def costs(name: str, args: Sequence[Any], out: Shape | None) -> tuple[Cost, ...]:
    inputs = tuple(
        it
        for arg in args
        for it in (arg if isinstance(arg, list) else [arg])
        if isinstance(it, Operand)
    )
    outputs = () if out is None else (tensor(*out, at=-1),)
    return cost_of(Call(name, tuple(args), {}, inputs, outputs))


def summary(found: Sequence[Cost]) -> list[tuple[str, int, int, int]]:
    return [(it.primitive, it.flops, it.n_bytes, it.n_kernels) for it in found]


W = {"weight": True}
CASES: list[tuple[str, list[Any], Shape, list[tuple[str, int, int, int]]]] = [
    ("linear", [tensor(8, 16), tensor(32, 16, **W), tensor(32, **W)], (8, 32),
     [("linear", 2 * 8 * 16 * 32, 4 * (8 * 16 + 32 * 16 + 8 * 32), 1),
      ("elementwise", 8 * 32, 4 * 32, 0)]),
    ("mm", [tensor(8, 16), tensor(16, 32)], (8, 32),
     [("matmul", 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32), 1)]),
    ("mm", [tensor(8, 16), tensor(16, 32, **W)], (8, 32),
     [("linear", 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32), 1)]),
    ("addmm", [tensor(32, **W), tensor(8, 16), tensor(16, 32, **W)], (8, 32),
     [("linear", 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32), 1),
      ("elementwise", 8 * 32, 4 * 32, 0)]),
    ("bmm", [tensor(3, 4, 5), tensor(3, 5, 6)], (3, 4, 6),
     [("matmul", 2 * 3 * 4 * 5 * 6, 4 * (3 * 4 * 5 + 3 * 5 * 6 + 3 * 4 * 6), 1)]),
    ("mv", [tensor(8, 16), tensor(16)], (8,), [("matmul", 2 * 8 * 16, 4 * (8 * 16 + 16 + 8), 1)]),
    # ten rows spread over four experts, and three rows that reach three of four
    ("_grouped_mm", [tensor(10, 8), tensor(4, 8, 6, **W), None], (10, 6),
     [("matmul", 2 * 10 * 8 * 6, 4 * (10 * 8 + 4 * 8 * 6 + 10 * 6), 1)]),
    ("_grouped_mm", [tensor(3, 8), tensor(4, 8, 6, **W), None], (3, 6),
     [("matmul", 2 * 3 * 8 * 6, 4 * (3 * 8 + 3 * 8 * 6 + 3 * 6), 1)]),
    # 2 images, 4 channels in 2 groups, 8 filters of 3 x 3, 7 x 7 positions
    ("convolution", [tensor(2, 4, 9, 9), tensor(8, 2, 3, 3, **W), None, [1, 1], [0, 0], [1, 1],
                     False, [0, 0], 2], (2, 8, 7, 7),
     [("conv2d", 2 * (2 * 8 * 49) * (2 * 9), 4 * (2 * 4 * 81 + 8 * 2 * 9 + 2 * 8 * 49), 1)]),
    # transposed: each input position spreads over the whole filter
    ("convolution", [tensor(2, 4, 9), tensor(4, 6, 3, **W), tensor(6, **W), [2], [0], [1],
                     True, [0], 1], (2, 6, 19),
     [("conv1d", 2 * (2 * 4 * 9) * (6 * 3), 4 * (2 * 4 * 9 + 4 * 6 * 3 + 2 * 6 * 19), 1),
      ("elementwise", 2 * 6 * 19, 4 * 6, 0)]),
    # grouped queries: eight heads of queries share two of keys
    ("scaled_dot_product_attention", [tensor(2, 8, 5, 4), tensor(2, 2, 7, 4), tensor(2, 2, 7, 3)],
     (2, 8, 5, 3),
     [("attention", 2 * (2 * 8 * 5 * 7) * (4 + 3),
       4 * (2 * 8 * 5 * 4 + 2 * 2 * 7 * 4 + 2 * 2 * 7 * 3 + 2 * 8 * 5 * 3), 1),
      ("softmax", 5 * 2 * 8 * 5 * 7, 0, 0)]),
    ("gelu", [tensor(8, 16)], (8, 16), [("elementwise", 6 * 128, 4 * 256, 1)]),
    ("add", [tensor(8, 16), tensor(8, 16, stored=16)], (8, 16),
     [("elementwise", 128, 4 * (128 + 16 + 128), 1)]),
    ("relu_", [tensor(8)], (8,), [("elementwise", 8, 4 * 16, 1)]),
    ("sum", [tensor(8, 16)], (8,), [("elementwise", 128, 4 * (128 + 8), 1)]),
    ("_softmax", [tensor(8, 16), -1, False], (8, 16), [("softmax", 5 * 128, 4 * 256, 1)]),
    # three of a thousand rows are read, written, and their numbers read
    ("embedding", [tensor(1000, 16, **W), tensor(3)], (3, 16),
     [("embedding", 0, 4 * (3 + 2 * 3 * 16), 1)]),
    ("cat", [[tensor(8), tensor(4)]], (12,), [("elementwise", 0, 4 * 24, 1)]),
    ("copy_", [tensor(8), tensor(8)], (8,), [("elementwise", 0, 4 * 16, 1)]),
    ("zeros", [[8]], (8,), [("elementwise", 0, 4 * 8, 1)]),
    ("view", [tensor(8, 16), [128]], (128,), []),
    ("somebody::invention", [tensor(8)], (4,), [("other", 4, 4 * 12, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "out", "expected"), CASES)
def test_an_operation_costs_its_closed_form(
    name: str, args: list[Any], out: Shape, expected: list[tuple[str, int, int, int]]
) -> None:
    """Primitive, FLOPs, bytes and kernels of each part."""
    assert summary(costs(name, args, out)) == expected


def test_the_same_memory_is_read_once() -> None:
    """`x * x` reads x once; so does a product of x with itself transposed."""
    x = tensor(8, at=7)
    assert costs("mul", [x, x], (8,))[0].n_bytes == 4 * (8 + 8)


@pytest.mark.parametrize(
    ("name", "known"),
    [("linear", True), ("add_", True), ("view", True), ("__and__", False), ("mine::op", False)],
)
def test_rules_by_name_and_the_general_one(name: str, known: bool) -> None:
    assert is_known(name) is known


sizes = st.integers(1, 64)


@given(sizes, sizes, sizes, sizes)
def test_a_batch_of_products_costs_as_much_as_its_products(
    batch: int, m: int, k: int, n: int
) -> None:
    (together,) = costs("bmm", [tensor(batch, m, k), tensor(batch, k, n)], (batch, m, n))
    (single,) = costs("mm", [tensor(m, k), tensor(k, n)], (m, n))
    assert (together.flops, together.n_bytes) == (batch * single.flops, batch * single.n_bytes)


@given(sizes, sizes, sizes, sizes)
def test_a_convolution_of_size_one_is_a_linear_layer(
    batch: int, channels: int, filters: int, positions: int
) -> None:
    weight = tensor(filters, channels, 1, weight=True)
    arguments = [tensor(batch, channels, positions), weight, None, [1], [0], [1], False, [0], 1]
    (found,) = costs("convolution", arguments, (batch, filters, positions))
    flat = [tensor(batch * positions, channels), tensor(filters, channels, weight=True)]
    (same,) = costs("linear", flat, (batch * positions, filters))
    assert (found.flops, found.n_bytes) == (same.flops, same.n_bytes)
