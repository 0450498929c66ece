"""`scaled_dot_product_attention` as the kernel that torch chooses on a device.

On meta torch knows no fused kernel and takes the products apart. The choice follows
`aten/src/ATen/native/transformers/attention.cpp` (what is done around the kernel) and
`cuda/sdp_utils.cpp` (when which kernel can be used); on a CPU torch itself is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from irene.worker.meta.device_path import (
    current_capability,
    current_device_type,
    enabled_attention,
)
from irene.worker.meta.dtypes import check_dtypes

if TYPE_CHECKING:
    import torch

Backend = Literal["math", "flash", "efficient", "cudnn"]

_AMPERE = (8, 0)
"""The first generation with flash and cuDNN's attention, and with bfloat16 in any fused one."""
_LEAST_DIMENSIONS = 2
_LARGEST_FLASH_HEAD = 256
_LARGEST_CUDNN_HEAD = 128
_FLASH_HEAD_MULTIPLE = 8


def attend(args: tuple[object, ...], kwargs: Mapping[str, object]) -> torch.Tensor:
    """Issue the operations of one attention: the fused kernel, or its parts.

    query (..., h, s, d), key (..., g, t, d), value (..., g, t, e) -> (..., h, s, e).

    Raises:
        RuntimeError: the arguments do not fit each other, or no enabled kernel takes them.
    """
    import torch

    given = dict(zip(_PARAMETERS, args, strict=False)) | dict(kwargs)
    query, key, value = (cast("torch.Tensor", given.pop(it)) for it in _PARAMETERS[:3])
    mask = cast("torch.Tensor | None", given.get("attn_mask"))
    options = _Options(
        dropout=cast("float", given.get("dropout_p", 0.0)),
        is_causal=bool(given.get("is_causal", False)),
        scale=cast("float | None", given.get("scale")),
        grouped=bool(given.get("enable_gqa", False)),
    )
    _check((query, key, value), mask, options)
    backend = _backend((query, key, value), mask, options)
    mask = _additive(mask, query)
    aten = torch.ops.aten
    always = options.dropout, options.is_causal
    if backend == "math":
        out, _ = aten._scaled_dot_product_attention_math(
            query, key, value, mask, *always, None, scale=options.scale, **options.grouping
        )
    elif current_device_type() == "cpu":
        out, _ = aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, *always, attn_mask=mask, scale=options.scale
        )
    elif backend == "flash":
        out = _flash(query, key, value, options)
    else:
        bias = None if mask is None else _aligned(mask, query, key)
        fused = (
            aten._scaled_dot_product_efficient_attention
            if backend == "efficient"
            else aten._scaled_dot_product_cudnn_attention
        )
        out = fused(query, key, value, bias, False, *always, scale=options.scale)[0]
    return cast("torch.Tensor", out)


@dataclass(frozen=True, slots=True)
class _Options:
    dropout: float
    is_causal: bool
    scale: float | None
    grouped: bool  # several heads of queries share one of keys

    @property
    def grouping(self) -> dict[str, bool]:
        """As an argument, where it is wanted: before torch 2.5 there was none."""
        return {"enable_gqa": True} if self.grouped else {}


_Tensors = tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]
"""Query, key and value."""

_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def _check(tensors: _Tensors, mask: torch.Tensor | None, options: _Options) -> None:
    """Refuse what every kernel refuses (`validate_sdpa_input`), and keys without values."""
    import torch

    check_dtypes("scaled_dot_product_attention", tensors)
    query, key, value = tensors
    shapes = [tuple(it.shape) for it in tensors]
    if min(map(len, shapes)) < _LEAST_DIMENSIONS:
        raise RuntimeError(f"query, key and value have two dimensions or more, not {shapes}")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(f"query, key and value do not fit each other: {shapes}")
    if mask is not None and mask.dtype not in (torch.bool, torch.float32, query.dtype):
        raise RuntimeError(
            "attn_mask is of bool, float32 or the dtype of the query, "
            f"not {str(mask.dtype).removeprefix('torch.')}"
        )
    if not 0 <= options.dropout <= 1:
        raise RuntimeError(f"dropout_p is between 0 and 1, not {options.dropout}")


def _backend(tensors: _Tensors, mask: torch.Tensor | None, options: _Options) -> Backend:
    if current_device_type() == "cpu":
        return _cpu_backend(tensors, mask, options)
    *is_enabled, order = enabled_attention()
    for number in order:
        if number < len(_BACKENDS) and is_enabled[number]:
            backend, fits = _BACKENDS[number]
            if fits(tensors, mask, options):
                return backend
    raise RuntimeError("no enabled kernel of attention takes these tensors")


def _fits_math(_tensors: _Tensors, _mask: torch.Tensor | None, _options: _Options) -> bool:
    return True


def _fits_flash(tensors: _Tensors, mask: torch.Tensor | None, options: _Options) -> bool:
    query, key, value = tensors
    size = query.shape[-1]
    return (
        current_capability() >= _AMPERE
        and _is_dense(tensors)
        and _has_heads(tensors, options)
        and mask is None
        and query.element_size() == 2
        and value.shape[-1] == size <= _LARGEST_FLASH_HEAD
        and (query.shape[-2] == key.shape[-2] or not options.is_causal)
    )


def _fits_efficient(tensors: _Tensors, mask: torch.Tensor | None, options: _Options) -> bool:
    """16 bytes at a time: head sizes are multiples of 4 in float32 and of 8 in half precision."""
    import torch

    query, _, value = tensors
    multiple = 16 // query.element_size()
    return (
        (query.dtype != torch.bfloat16 or current_capability() >= _AMPERE)
        and _is_dense(tensors)
        and not options.grouped
        and _has_heads(tensors, options)
        and query.element_size() in (2, 4)
        and query.shape[-1] % multiple == value.shape[-1] % multiple == 0
        and (mask is None or mask.stride(-1) == 1)
    )


def _fits_cudnn(tensors: _Tensors, mask: torch.Tensor | None, options: _Options) -> bool:
    query, key, value = tensors
    sizes = query.shape[-1], value.shape[-1]
    return (
        current_capability() >= _AMPERE
        and _is_dense(tensors)
        and _has_heads(tensors, options)
        and query.element_size() == 2
        and all(it % _FLASH_HEAD_MULTIPLE == 0 and it <= _LARGEST_CUDNN_HEAD for it in sizes)
        and key.shape[-2] > 1
        and (mask is None or mask.stride(-1) == 1)
    )


_Fits = Callable[[_Tensors, "torch.Tensor | None", _Options], bool]
_BACKENDS: tuple[tuple[Backend, _Fits], ...] = (
    ("math", _fits_math),
    ("flash", _fits_flash),
    ("efficient", _fits_efficient),
    ("cudnn", _fits_cudnn),
)
"""Each at its number in `torch.nn.attention.SDPBackend`, and what it takes."""


def _is_dense(tensors: _Tensors) -> bool:
    return all(it.dim() == 4 and it.stride(-1) == 1 and 0 not in it.shape for it in tensors)


def _has_heads(tensors: _Tensors, options: _Options) -> bool:
    """Whether no batch or head is broadcast, but heads of keys that are grouped."""
    query, key, value = (tuple(it.shape[:2]) for it in tensors)
    if options.grouped:
        return query[0] == key[0] and key == value and query[1] % key[1] == 0
    return query == key == value


def _cpu_backend(tensors: _Tensors, mask: torch.Tensor | None, options: _Options) -> Backend:
    """What torch chooses for tensors of these shapes, which need no memory to be asked about."""
    import torch

    with torch._C._DisableTorchDispatch():
        query, key, value = (_on_cpu(it) for it in tensors)
        given = None if mask is None else _on_cpu(mask)
        choice = torch._fused_sdp_choice(
            query, key, value, given, options.dropout, options.is_causal, **options.grouping
        )
    return "math" if choice == _MATH else "flash"


_MATH = 0  # torch.nn.attention.SDPBackend.MATH


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A CPU tensor of that shape over a few bytes; only the last stride counts in the choice."""
    import torch

    last = tensor.stride(-1) if tensor.dim() else 0
    strides = (*(0 for _ in tensor.shape[:-1]), last)[: tensor.dim()]
    n_elements = max(1, tensor.shape[-1] * last if tensor.dim() else 1)
    memory = torch.empty(n_elements, dtype=tensor.dtype, device="cpu")
    return memory.as_strided(tensor.shape, strides)


def _additive(mask: torch.Tensor | None, query: torch.Tensor) -> torch.Tensor | None:
    """What to add to the scores: 0 where a mask of booleans lets through."""
    import torch

    if mask is None or mask.dtype != torch.bool:
        return mask
    lowest = torch.scalar_tensor(-math.inf, dtype=query.dtype, device=mask.device)
    return torch.where(mask, 0.0, lowest)


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, options: _Options
) -> object:
    """Heads are padded to a multiple of eight, and the padding cut off again."""
    import torch

    size, scale = query.shape[-1], options.scale
    missing = -size % _FLASH_HEAD_MULTIPLE
    if missing:
        query, key, value = (torch.constant_pad_nd(it, [0, missing]) for it in (query, key, value))
        scale = 1 / math.sqrt(size) if scale is None else scale
    out = torch.ops.aten._scaled_dot_product_flash_attention(
        query, key, value, options.dropout, options.is_causal, False, scale=scale
    )[0]
    return out[..., :size] if missing else out


def _aligned(mask: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """The mask expanded to all heads; its kernels add numbers of the query's dtype alone.

    Torch pads it where its rows do not begin at 16 bytes, a copy that is left out here: it would
    have every length run other operations.
    """
    if mask.dtype != query.dtype:
        raise RuntimeError("on a GPU a mask to add has the dtype of the query")
    return mask.expand(*query.shape[:-1], key.shape[-2])
