"""What a CPU runs in the place of kernels that GPUs alone have, where values are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def real_kernel(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, or attention in its products, of which the output comes first."""
    name = getattr(func, "__name__", "").partition(".")[0]
    return _attend if name in _ATTENTION else func


_ATTENTION = frozenset(
    [
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_flash_attention",
    ]
)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: object, **kwargs: object
) -> tuple[torch.Tensor]:
    """What follows are (mask, statistics, dropout, causal) or (dropout, causal, debug)."""
    import torch

    given = dict(enumerate(rest))
    has_mask_first = given.get(0) is None or isinstance(given[0], torch.Tensor)
    out, _ = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, given.get(0) if has_mask_first else None, 0.0,
        bool(given.get(3 if has_mask_first else 1, False)), None, scale=kwargs.get("scale"),
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    return (out,)
