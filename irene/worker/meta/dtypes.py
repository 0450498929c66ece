"""Dtypes that an operation refuses on every device, while torch's rules for meta take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OF_ONE_DTYPE = frozenset(
    [
        "addmm",
        "addmv",
        "convolution",
        "linear",
        "mm",
        "mv",
        "scaled_dot_product_attention",
    ]
)
"""Whose first three tensors have one dtype; seen on torch 2.13 to differ between CPU and meta."""


def check_dtypes(name: str, tensors: Sequence[torch.Tensor]) -> None:
    """Refuse what a device would refuse.

    Raises:
        RuntimeError: as torch's kernels for devices do.
    """
    if name not in OF_ONE_DTYPE:
        return
    dtypes = {it.dtype: None for it in tensors[:3]}  # an attention mask has its own
    if len(dtypes) > 1:
        given = " and ".join(str(it).removeprefix("torch.") for it in dtypes)
        raise RuntimeError(f"{name} takes tensors of one dtype, not {given}")
