"""Upper bounds for shapes that depend on values which meta tensors do not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FULL_MASK = "upper bound: a mask as an index takes every element"
_NONZERO = "upper bound: nonzero finds every element"
_SELECTED = "upper bound: masked_select takes every element"
_UNIQUE = "upper bound: all elements differ"

ASSUMED: Mapping[str, str] = {
    "nonzero": _NONZERO,
    "masked_select": _SELECTED,
    "_unique": _UNIQUE,
    "_unique2": _UNIQUE,
    "unique_consecutive": _UNIQUE,
}
"""Operations whose output has a largest shape, and what is assumed with it."""


def at_most(name: str, tensors: list[torch.Tensor]) -> object:
    """The largest output of an operation of `ASSUMED`, on meta."""
    import torch

    source = tensors[0]
    n = source.numel()
    if name == "nonzero":
        return torch.empty((n, source.dim()), dtype=torch.int64, device="meta")
    if name == "masked_select":
        n = torch.broadcast_shapes(*(it.shape for it in tensors)).numel()
        return torch.empty((n,), dtype=source.dtype, device="meta")
    values = torch.empty((n,), dtype=source.dtype, device="meta")
    inverse = torch.empty(source.shape, dtype=torch.int64, device="meta")
    if name == "_unique":
        return values, inverse
    return values, inverse, torch.empty((n,), dtype=torch.int64, device="meta")
