"""The table of costs, against closed forms written beside each case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
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


def integers(*shape: int) -> Operand:
    """Indices: 8 bytes each."""
    return replace(tensor(*shape), dtype="int64", itemsize=8, n_bytes=8 * math.prod(shape))


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
     [("matmul", 2 * 10 * 8 * 6, 4 * (10 * 8 + 4 * 8 * 6 + 10 * 6), 4)]),
    ("_grouped_mm", [tensor(3, 8), tensor(4, 8, 6, **W), None], (3, 6),
     [("matmul", 2 * 3 * 8 * 6, 4 * (3 * 8 + 3 * 8 * 6 + 3 * 6), 3)]),
    # three groups of eight columns, each of which meets its own four rows
    ("_grouped_mm", [tensor(3, 4, 16), tensor(16, 24), integers(3)], (4, 24),
     [("matmul", 2 * 4 * 16 * 24, 4 * (3 * 4 * 16 + 16 * 24 + 4 * 24), 3)]),
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
    # a sequence of five in flash-attn's order, and two of at most three in ten rows
    ("flash_attn::_flash_attn_forward", [tensor(2, 5, 8, 4), tensor(2, 7, 2, 4), tensor(2, 7, 2, 4)],
     (2, 5, 8, 4),
     [("attention", 2 * (2 * 8 * 5 * 7) * (4 + 4),
       4 * (2 * 5 * 8 * 4 + 2 * 2 * 7 * 2 * 4 + 2 * 5 * 8 * 4), 1),
      ("softmax", 5 * 2 * 8 * 5 * 7, 0, 0)]),
    ("flash_attn::_flash_attn_varlen_forward",
     [tensor(10, 8, 4), tensor(10, 8, 4), tensor(10, 8, 4), None, None, 3, 3], (10, 8, 4),
     [("attention", 2 * (10 * 8 * 3) * (4 + 4), 4 * 4 * 10 * 8 * 4, 1),
      ("softmax", 5 * 10 * 8 * 3, 0, 0)]),
    ("addbmm", [tensor(4, 6), tensor(3, 4, 5), tensor(3, 5, 6)], (4, 6),
     [("matmul", 2 * 3 * 4 * 5 * 6, 4 * (3 * 4 * 5 + 3 * 5 * 6 + 4 * 6), 1),
      ("elementwise", 4 * 6, 4 * 4 * 6, 0)]),
    ("addr", [tensor(4, 6), tensor(4), tensor(6)], (4, 6),
     [("matmul", 2 * 4 * 6, 4 * (4 + 6 + 4 * 6), 1), ("elementwise", 4 * 6, 4 * 4 * 6, 0)]),
    ("_scaled_mm", [tensor(8, 16), tensor(16, 32), tensor(1), tensor(1)], (8, 32),
     [("matmul", 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32), 1)]),
    ("_int_mm", [tensor(8, 16), tensor(16, 32)], (8, 32),
     [("matmul", 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32), 1)]),
    ("_addmm_activation", [tensor(32, **W), tensor(8, 16), tensor(16, 32, **W)], (8, 32),
     [("linear", 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32), 1),
      ("elementwise", 8 * 32, 4 * 32, 0), ("elementwise", 8 * 32, 0, 0)]),
    # 3 time steps of a window of 2 over 5
    ("conv_tbc", [tensor(5, 2, 4), tensor(2, 4, 6, **W), tensor(6, **W), 0], (4, 2, 6),
     [("conv1d", 2 * (4 * 2 * 6) * (2 * 4), 4 * (5 * 2 * 4 + 2 * 4 * 6 + 4 * 2 * 6), 1),
      ("elementwise", 4 * 2 * 6, 4 * 6, 0)]),
    # every matrix meets each of 4 x 10 tokens; gates: 4 x 16 of 7 FLOP, 16 units of 8
    ("mkldnn_rnn_layer",
     [tensor(10, 4, 8), tensor(64, 8, **W), tensor(64, 16, **W), tensor(64, **W), tensor(64, **W),
      tensor(4, 16), tensor(4, 16), False, [], 2], (10, 4, 16),
     [("recurrent", 2 * 40 * 64 * (8 + 16),
       4 * (10 * 4 * 8 + 64 * 8 + 64 * 16 + 2 * 4 * 16 + 10 * 4 * 16), 1),
      ("elementwise", 40 * (64 * 7 + 16 * 8), 4 * (64 + 64), 0)]),
    ("_thnn_fused_gru_cell", [tensor(4, 48), tensor(4, 48), tensor(4, 16)], (4, 16),
     [("elementwise", (3 * 7 + 4) * 64, 4 * (2 * 4 * 48 + 2 * 4 * 16), 1)]),
    # 6 complex transforms of length 8; of real numbers half as many FLOPs
    ("_fft_c2c", [tensor(6, 8), [1], 0, True], (6, 8),
     [("other", 5 * 6 * 8 * 3, 4 * 96, 1)]),
    ("_fft_r2c", [tensor(6, 8), [1], 0, True], (6, 5),
     [("other", 5 * 6 * 8 * 3 // 2, 4 * (48 + 30), 1)]),
    ("linalg_inv_ex", [tensor(3, 6, 6)], (3, 6, 6), [("other", 2 * 3 * 216, 4 * 216, 1)]),
    ("linalg_cholesky_ex", [tensor(6, 6)], (6, 6), [("other", 72, 4 * 72, 1)]),
    ("linalg_solve_triangular", [tensor(6, 6), tensor(6, 2)], (6, 2),
     [("other", 36 * 2, 4 * (36 + 12 + 12), 1)]),
    ("_cdist_forward", [tensor(2, 4, 8), tensor(2, 5, 8)], (2, 4, 5),
     [("other", 3 * 2 * 4 * 5 * 8, 4 * (64 + 80 + 40), 1)]),
    ("_trilinear", [tensor(2, 4), tensor(3, 4, 5), tensor(2, 5), [1, 3], [0], [1, 2], [2, 3]],
     (2, 3), [("other", 3 * 2 * 3 * 4 * 5, 4 * (8 + 60 + 10 + 6), 1)]),
    # five of a hundred elements are written, or added to; the indices are eight bytes each
    ("scatter_", [tensor(100), 0, integers(5), tensor(5)], (100,),
     [("elementwise", 0, 8 * 5 + 4 * 5 + 4 * 5, 1)]),
    ("scatter_", [tensor(100), 0, integers(5), 1.0], (100,),
     [("elementwise", 0, 8 * 5 + 4 * 5, 1)]),
    ("scatter_add_", [tensor(100), 0, integers(5), tensor(5)], (100,),
     [("elementwise", 5, 8 * 5 + 4 * 5 + 2 * 4 * 5, 1)]),
    ("scatter", [tensor(100), 0, integers(5), tensor(5)], (100,),
     [("elementwise", 0, 4 * 200 + 8 * 5 + 4 * 5 + 4 * 5, 2)]),
    # two rows of ten
    ("index_add_", [tensor(10, 16), 0, integers(2), tensor(2, 16)], (10, 16),
     [("elementwise", 32, 8 * 2 + 4 * 32 + 2 * 4 * 32, 1)]),
    ("index_put_", [tensor(10, 16), [integers(2)], tensor(2, 16)], (10, 16),
     [("elementwise", 0, 8 * 2 + 4 * 32 + 4 * 32, 1)]),
    ("index_put_", [tensor(10, 16), [None, integers(2)], tensor()], (10, 16),
     [("elementwise", 0, 8 * 2 + 4 + 4 * 20, 1)]),
    ("native_group_norm", [tensor(2, 8, 5), tensor(8, **W), tensor(8, **W), 2, 8, 5, 2, 1e-5],
     (2, 8, 5), [("layer_norm", 8 * 80, 4 * (80 + 16 + 80), 3)]),
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
    wide, tall = tensor(8, 16, at=7), tensor(16, 8, at=7)
    assert costs("mm", [wide, tall], (8, 8))[0].n_bytes == 4 * (8 * 16 + 8 * 8)


@pytest.mark.parametrize(
    ("name", "args", "out", "sizes"),
    [
        ("linear", [tensor(2, 4, 16), tensor(32, 16)], (2, 4, 32), (1, 8, 32, 16)),
        ("addmv", [tensor(8), tensor(8, 16), tensor(16)], (8,), (1, 8, 1, 16)),
        ("bmm", [tensor(3, 4, 5), tensor(3, 5, 6)], (3, 4, 6), (3, 4, 6, 5)),
        ("_grouped_mm", [tensor(10, 8), tensor(4, 8, 6), None], (10, 6), (1, 10, 6, 8)),
        ("_grouped_mm", [tensor(8, 10), tensor(10, 6), integers(2)], (2, 8, 6), (2, 8, 6, 5)),
        # images of 9 x 9 to 7 x 7: windows times filters, in each group
        ("convolution", [tensor(2, 4, 9, 9), tensor(8, 2, 3, 3), None, [1, 1], [0, 0], [1, 1],
                         False, [0, 0], 2], (2, 8, 7, 7), (2, 98, 4, 18)),
        ("gelu", [tensor(8)], (8,), None),
    ],
)  # fmt: skip
def test_a_product_knows_its_sizes(
    name: str, args: list[Any], out: Shape, sizes: tuple[int, ...] | None
) -> None:
    """As b products of (m, k) by (k, n); of unequal groups the largest that are equal."""
    assert costs(name, args, out)[0].product == sizes


def test_a_price_says_whether_it_comes_from_a_rule_of_its_own() -> None:
    assert costs("relu", [tensor(8)], (8,))[0].is_known
    assert not costs("somebody::invention", [tensor(8)], (8,))[0].is_known


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
