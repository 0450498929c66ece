"""Sizes of matrix products in the tiles of a GPU."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irene.energy.tiles import padded
from irene.tree import Product


@pytest.mark.parametrize(
    ("product", "dtype", "expected"),
    [
        ((1, 1024, 768, 768), "float16", (1, 1024, 768, 768)),  # whole tiles already
        ((12, 128, 128, 64), "float16", (12, 128, 128, 64)),
        # figure 2 of the guide: 384 + 1 rows take another row of tiles
        ((1, 385, 256, 64), "float16", (1, 448, 256, 64)),
        ((1, 8, 50257, 768), "float16", (1, 64, 50304, 768)),
        ((1, 64, 64, 30), "float16", (1, 64, 64, 32)),  # 8 elements are 16 bytes
        ((1, 64, 64, 30), "float32", (1, 64, 64, 32)),
        ((1, 64, 64, 29), "float64", (1, 64, 64, 30)),
        ((1, 64, 64, 17), "float8_e4m3fn", (1, 64, 64, 32)),
    ],
)
def test_a_product_in_whole_tiles(product: Product, dtype: str, expected: Product) -> None:
    assert padded(product, dtype) == expected


sizes = st.integers(1, 4096)


@given(st.tuples(st.integers(1, 64), sizes, sizes, sizes))
def test_tiles_cover_the_product_and_padding_again_changes_nothing(product: Product) -> None:
    found = padded(product, "float16")
    assert all(large >= small for large, small in zip(found, product, strict=True))
    assert padded(found, "float16") == found
    assert math.prod(found) <= math.prod(product) * 64 * 64 * 8
