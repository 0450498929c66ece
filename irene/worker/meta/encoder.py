"""The fused layer of `nn.TransformerEncoder` and the fused `nn.MultiheadAttention`, in kernels.

To a dispatch mode each is one operation, whose kernels follow `transformer.cpp`, `attention.cpp`
and `cuda/attention.cu` in `aten/src/ATen/native/transformers/`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from irene.worker.meta.device_path import current_device_type

if TYPE_CHECKING:
    import torch

FUSED = frozenset({"_transformer_encoder_layer_fwd", "_native_multi_head_attention"})

_FLASH_HEAD_MULTIPLE = 8
_PADDING_MASK = 1  # of the mask types: 0 for scores, 1 for padded keys, 2 for both


def run_fused(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Issue the kernels of a fused operation."""
    if name == "_native_multi_head_attention":
        return _multi_head(*args, **kwargs)  # type: ignore[arg-type] # in the order of the schema
    return _encoder_layer(*args, **kwargs)  # type: ignore[arg-type] # likewise


def _encoder_layer(  # noqa: PLR0913, PLR0917 - torch's schema
    src: torch.Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: torch.Tensor,
    qkv_bias: torch.Tensor,
    proj_weight: torch.Tensor,
    proj_bias: torch.Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: torch.Tensor,
    norm_bias_1: torch.Tensor,
    norm_weight_2: torch.Tensor,
    norm_bias_2: torch.Tensor,
    ffn_weight_1: torch.Tensor,
    ffn_bias_1: torch.Tensor,
    ffn_weight_2: torch.Tensor,
    ffn_bias_2: torch.Tensor,
    mask: torch.Tensor | None = None,
    mask_type: int | None = None,
) -> torch.Tensor:
    """(b, s, n) -> (b, s, n)."""
    import torch
    from torch.nn.functional import layer_norm

    def norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, (embed_dim,), weight, bias, eps)

    x = norm(src, norm_weight_1, norm_bias_1) if norm_first else src
    x, _ = torch._native_multi_head_attention(
        x, x, x, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, mask,
        False, True, mask_type,
    )  # fmt: skip
    x = x.add_(src)
    if not norm_first:
        x = norm(x, norm_weight_1, norm_bias_1)
    before = x
    if norm_first:
        x = norm(x, norm_weight_2, norm_bias_2)
    rows = x.view(-1, embed_dim)
    rows = torch._addmm_activation(ffn_bias_1, rows, ffn_weight_1.t(), use_gelu=use_gelu)
    rows = torch.addmm(ffn_bias_2, rows, ffn_weight_2.t())
    x = rows.view(*x.shape[:-1], -1).add_(before)
    return x if norm_first else norm(x, norm_weight_2, norm_bias_2)


def _multi_head(  # noqa: PLR0913, PLR0917 - torch's schema
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: torch.Tensor,
    qkv_bias: torch.Tensor,
    proj_weight: torch.Tensor,
    proj_bias: torch.Tensor,
    mask: torch.Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(b, s, n) -> (b, s, n), and the weights (b, s, s) or (b, h, s, s) where they are wanted.

    Python calls it for self-attention alone; autocast makes a copy of each of the three inputs.
    """
    import torch

    width = embed_dim // num_head
    if not (query is key is value):
        weights = qkv_weight.split(embed_dim)
        pairs = zip((query, key, value), weights, strict=True)
        qkv = torch.cat([it.matmul(weight.t()) for it, weight in pairs], 2)
    elif (
        current_device_type() == "cuda"
        and mask is None
        and not need_weights
        and width % _FLASH_HEAD_MULTIPLE == 0
    ):
        return _with_fused_attention(
            query, num_head, (qkv_weight, qkv_bias), (proj_weight, proj_bias)
        )
    else:
        qkv = query.matmul(qkv_weight.t())
    return _in_products(
        qkv, num_head, qkv_bias, (proj_weight, proj_bias), mask, mask_type,
        weights=(need_weights, average_attn_weights),
    )  # fmt: skip


_Affine = tuple["torch.Tensor", "torch.Tensor"]
"""Weight and bias."""


def _with_fused_attention(
    x: torch.Tensor, n_heads: int, qkv: _Affine, projection: _Affine
) -> tuple[torch.Tensor, None]:
    from torch.nn.functional import linear, scaled_dot_product_attention

    batch, _, width = x.shape
    query, key, value = (
        it.view(batch, -1, n_heads, width // n_heads).transpose(1, 2)
        for it in linear(x, *qkv).chunk(3, -1)
    )
    mixed = (
        scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, -1, width)
    )
    return linear(mixed, *projection), None


def _in_products(  # noqa: PLR0913 - the parts of one operation
    qkv: torch.Tensor,
    n_heads: int,
    qkv_bias: torch.Tensor,
    projection: _Affine,
    mask: torch.Tensor | None,
    mask_type: int | None,
    *,
    weights: tuple[bool, bool],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    import torch

    query, key, value = torch.ops.aten._transform_bias_rescale_qkv(qkv, qkv_bias, n_heads)
    batch, _, length, size = query.shape
    flat = (batch * n_heads, length, size)
    scores = torch.bmm(query.view(flat), key.view(flat).transpose(1, 2))
    scores = scores.view(batch, n_heads, length, length)
    if mask is None:
        scores = scores.softmax(-1)
    else:
        kind = _PADDING_MASK if mask_type is None else mask_type
        scores = torch.ops.aten._masked_softmax(scores, mask.to(torch.bool), 3, kind)
    mixed = torch.bmm(scores.view(batch * n_heads, length, length), value.reshape(flat))
    rows = mixed.view(query.shape).permute(0, 2, 1, 3).contiguous().view(batch * length, -1)
    weight, bias = projection
    out = torch.addmm(bias, rows, weight.t()).view(batch, length, -1)
    needs_weights, averages = weights
    if needs_weights and averages:
        scores = scores.sum(1).div_(n_heads)
    return out, scores if needs_weights else None


def transformed_on_meta(
    _func: object, args: tuple[object, ...], _kwargs: object
) -> tuple[torch.Tensor, ...]:
    """`_transform_bias_rescale_qkv`: (b, s, 3 n) -> three of (b, h, s, n / h) in one piece."""
    qkv, n_heads = cast("torch.Tensor", args[0]), cast("int", args[2])
    batch, length, width = qkv.shape
    size = math.ceil(width / (3 * n_heads))
    return tuple(qkv.new_empty((3, batch, n_heads, length, size)).unbind(0))


def like_first(_func: object, args: tuple[object, ...], _kwargs: object) -> torch.Tensor:
    """One output of the shape of the first input."""
    first = cast("torch.Tensor", args[0])
    return first.new_empty(first.shape)
