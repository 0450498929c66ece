"""Writes that every device refuses and meta takes: to a tensor whose elements share memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_ONE_VALUE_AT_MOST = frozenset(
    [
        "fill_",
        "fill_diagonal_",
        "index_fill_",
        "index_put_",
        "_index_put_impl_",
        "masked_fill_",
        "tril_",
        "triu_",
        "zero_",
    ]
)
"""Those that do not ask (`assert_no_internal_overlap`); seen on torch 2.13."""


def check_written(name: str, written: Iterable[torch.Tensor]) -> None:
    """Refuse a write of an operation to an expanded tensor.

    Raises:
        RuntimeError: as torch's kernels for devices do.
    """
    if name in _ONE_VALUE_AT_MOST:
        return
    for tensor in written:
        if any(
            size > 1 and not stride
            for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
        ):
            raise RuntimeError(
                f"{name} would write to an expanded tensor, several of whose elements are one place "
                "in memory. Clone it first"
            )
