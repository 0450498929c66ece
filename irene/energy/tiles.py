"""The sizes that a GPU computes for a matrix product: those that it has, in whole tiles.

NVIDIA's Matrix Multiplication Background User's Guide (DU-09799), section 3: thread blocks
compute tiles of the output, also where these reach over its edge; tensor cores take rows of
16 bytes. cuBLAS is said there to choose among the tiles below.
"""

from __future__ import annotations

from irene.tree import Product

_TILES = ((256, 128), (128, 256), (128, 128), (256, 64), (64, 256), (128, 64), (64, 128), (64, 64))
"""Rows and columns, the most efficient first."""

_STEP_BYTES = 16
_ITEM_BYTES = {"float64": 8, "float32": 4, "complex64": 8, "complex128": 16, "int8": 1}
_HALF_BYTES = 2


def padded(product: Product, dtype: str) -> Product:
    """The product rounded up to the tiles that waste least, of these the most efficient."""
    b, m, n, k = product
    rows, columns = min(_TILES, key=lambda tile: _up(m, tile[0]) * _up(n, tile[1]))
    item_bytes = 1 if dtype.startswith("float8") else _ITEM_BYTES.get(dtype, _HALF_BYTES)
    return b, _up(m, rows), _up(n, columns), _up(k, max(1, _STEP_BYTES // item_bytes))


def _up(size: int, step: int) -> int:
    return -(-size // step) * step
