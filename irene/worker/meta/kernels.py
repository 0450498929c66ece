"""Operations that are run in a way of their own on meta: whole, on zeros, or for real."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from irene.worker.meta.attention import attend
from irene.worker.meta.device_path import current_device_type
from irene.worker.meta.encoder import FUSED, like_first, run_fused, transformed_on_meta
from irene.worker.meta.operators import NoMetaKernel, Operator, ValueQuestion
from irene.worker.meta.recurrent import (
    RECURRENT,
    issue_recurrent,
    recurrent_arguments,
    whole_on_meta,
)
from irene.worker.meta.tensors import Arguments, device_type, meta_device, tensors_in, to_meta
from irene.worker.values import LARGEST_REAL

if TYPE_CHECKING:
    import torch


_MOST_REAL = 1 << 26  # elements of all real constants that are alive
_WORTH_COUNTING = 1 << 14
_LARGEST_ZEROS_BYTES = 1 << 26


AS_WRITTEN = {
    "item": ".item()",
    "_local_scalar_dense": ".item()",
    "is_nonzero": "the truth of a tensor (if, and, or, not, bool)",
    "equal": "torch.equal",
}


class _RealElements:
    """How much of all real constants is alive: a model on meta must not fill the memory."""

    def __init__(self) -> None:
        self._n_alive = 0

    def has_room_for(self, n_elements: int) -> bool:
        return n_elements <= LARGEST_REAL and self._n_alive + n_elements <= _MOST_REAL

    def count(self, tensors: list[torch.Tensor]) -> None:
        for tensor in tensors:
            n_elements = tensor.numel()
            if n_elements >= _WORTH_COUNTING and not tensor.is_meta:
                self._n_alive += n_elements
                weakref.finalize(tensor, self._forget, n_elements)

    def _forget(self, n_elements: int) -> None:
        self._n_alive -= n_elements


_REAL = _RealElements()


def run_for_real(func: torch._ops.OpOverload, call: Arguments, call_on_meta: Arguments) -> object:
    """Small tensors on the CPU stay real: a model may ask for their values."""
    args, kwargs = call
    try:
        made = func(*call_on_meta[0], **call_on_meta[1])
    except (RuntimeError, NotImplementedError):  # no shape rule, or wrong arguments
        made = None
    if not _REAL.has_room_for(sum(it.numel() for it in tensors_in((made,), {}))):
        return made
    if device_type(kwargs) not in (None, "cpu"):
        kwargs = {**kwargs, "device": meta_device()}
    result = func(*args, **kwargs)
    if func._schema.returns and func._schema.returns[0].alias_info is None:
        _REAL.count(tensors_in((result,), {}))
    return result


def make_constant(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """A new tensor on the CPU is real where it is small."""
    import torch

    made = func(*args, **{**kwargs, "device": meta_device()})
    if isinstance(made, torch.Tensor) and not _REAL.has_room_for(made.numel()):
        return made
    result = func(*args, **kwargs)
    _REAL.count(tensors_in((result,), {}))
    return result


def _biased_convolution(func: torch._ops.OpOverload, args: tuple[object, ...]) -> torch.Tensor:
    """On a GPU the bias is added to what cuDNN gives (`Convolution.cpp`, `_convolution`)."""
    x, weight, bias, *rest = args
    out = cast("torch.Tensor", func(x, weight, None, *rest))
    return out.add_(cast("torch.Tensor", bias).view(1, -1, *(1 for _ in out.shape[2:])))


def _one_hot(classes: torch.Tensor, n_classes: int) -> torch.Tensor:
    """(...,) -> (..., n): on meta torch compares instead, on a CPU it checks the range first."""
    import torch

    if current_device_type() == "cpu":
        torch.aminmax(classes)
    shape = (*classes.shape, n_classes)
    zeros = torch.zeros(shape, dtype=classes.dtype, device=classes.device)
    return zeros.scatter_(-1, classes.unsqueeze(-1), 1)


_ON_ONE_DEVICE = frozenset({"stft", "istft"})
"""Composite operations that refuse a constant on the CPU beside a tensor on meta."""


def decompose(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """The operation in its parts: those of the device, else as C++ has them.

    Torch's Python versions of C++'s differ in places.
    """
    import torch

    if func is torch.ops.aten.scaled_dot_product_attention.default:
        return attend(args, kwargs)
    name = func.overloadpacket.__name__
    if name == "convolution":
        return _biased_convolution(func, args)
    if name in FUSED:
        return run_fused(name, args, kwargs)
    if name == "one_hot" and args[1:] != (-1,) and len(args) == 2:
        return _one_hot(*cast("tuple[torch.Tensor, int]", args))
    if name in _ON_ONE_DEVICE:
        args, kwargs = cast("Arguments", to_meta((args, kwargs)))
    if name in RECURRENT:
        args = recurrent_arguments(func, args)
        issued = issue_recurrent(func, args)
        if issued is not None:
            return issued
    return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)


def run_on_zeros(
    operator: Operator, func: torch._ops.OpOverload, call: Arguments, error: Exception
) -> object:
    """The shapes of an operation without a meta kernel, from a small run on zeros.

    Raises:
        NoMetaKernel: it does not run on zeros, or they would be large.
        ValueQuestion: the shapes of its results are others where the values are.
    """
    tensors = tensors_in(*call)
    if sum(it.numel() * it.element_size() for it in tensors) > _LARGEST_ZEROS_BYTES:
        raise NoMetaKernel(operator.name, "it has no shape rule") from error
    try:
        result = _run_filled(func, call, 0)
    except (RuntimeError, NotImplementedError) as err:
        raise NoMetaKernel(operator.name, "it has no shape rule") from err
    try:
        other = _run_filled(func, call, 1)
    except Exception:  # noqa: BLE001 - the user's kernel: ones may be no valid indices
        return result
    if [it.shape for it in tensors_in((result,), {})] != [
        it.shape for it in tensors_in((other,), {})
    ]:
        raise ValueQuestion(operator.name) from error
    return result


def _run_filled(func: torch._ops.OpOverload, call: Arguments, value: int) -> object:
    """The result on meta of a real call whose tensors are full of one value."""
    import torch
    from torch.utils import _pytree

    def filled(leaf: object) -> object:
        if isinstance(leaf, torch.Tensor):
            numbers = torch.full(leaf.shape, value)
            if leaf.dtype in (torch.qint8, torch.quint8, torch.qint32):
                return torch.quantize_per_tensor(numbers.float(), 1.0, 0, leaf.dtype)
            return numbers.to(leaf.dtype)
        return "cpu" if isinstance(leaf, torch.device) else leaf

    args, kwargs = _pytree.tree_map(filled, call)
    return to_meta(func(*args, **kwargs))


def _grouped_on_meta(
    _func: object, args: tuple[object, ...], _kwargs: Mapping[str, object]
) -> object:
    """Rows of each group by the matrix of that group; torch's own rule takes bfloat16 alone."""
    a, b = cast("torch.Tensor", args[0]), cast("torch.Tensor", args[1])
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"{list(a.shape)} and {list(b.shape)} cannot be multiplied")
    if a.dim() == b.dim() == 2:  # groups along the summed dimension
        offsets = cast("torch.Tensor", args[2])
        return a.new_empty((offsets.shape[0], a.shape[0], b.shape[1]))
    n_groups = (a.shape[0],) if a.dim() == b.dim() else ()
    return a.new_empty((*n_groups, a.shape[-2], b.shape[-1]))


def _batch_norm_on_meta(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> object:
    """Outside training no statistics come out; torch's rule for meta returns some."""
    import torch

    out, *statistics = func(*args, **kwargs)
    is_training = args[5]
    return out, *(it if is_training else torch.empty(0, dtype=it.dtype, device="meta")
                  for it in statistics)  # fmt: skip


def _onednn_layer_on_meta(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> object:
    """Outside training there is no workspace beside the output and the states."""
    return (*func(*args, **kwargs)[:3], None)


def _is_set_to_on_meta(
    _func: object, args: tuple[object, ...], _kwargs: Mapping[str, object]
) -> object:
    """Whether two tensors are one view of one memory."""
    a, b = cast("torch.Tensor", args[0]), cast("torch.Tensor", args[1])
    views = [(it.untyped_storage()._cdata, it.storage_offset(), it.shape, it.stride())
             for it in (a, b)]  # fmt: skip
    return views[0] == views[1]


def _quantized_on_meta(
    _func: object, args: tuple[object, ...], _kwargs: Mapping[str, object]
) -> object:
    """A quantised tensor; torch's own rule gives one of floats."""
    import torch

    x = cast("torch.Tensor", args[0])
    return torch.empty(x.shape, dtype=cast("torch.dtype", args[-1]), device="meta")


def pack_on_meta(
    func: torch._ops.OpOverload, padded: torch.Tensor, lengths: torch.Tensor, *, batch_first: bool
) -> object:
    """A packed sequence of known lengths: its rows on meta, the sizes of its steps for real."""
    narrow = padded.new_zeros((*padded.shape[:2], 1), device="cpu")
    rows, batch_sizes = func(narrow, lengths, batch_first)
    return padded.new_empty((rows.shape[0], *padded.shape[2:]), device="meta"), batch_sizes


WHOLE_ON_META: dict[str, Callable[..., object]] = {
    "_grouped_mm": _grouped_on_meta,
    "quantize_per_tensor": _quantized_on_meta,
    "quantize_per_channel": _quantized_on_meta,
    "is_set_to": _is_set_to_on_meta,
    "_transform_bias_rescale_qkv": transformed_on_meta,
    "_masked_softmax": like_first,
    "mkldnn_rnn_layer": _onednn_layer_on_meta,
    "native_batch_norm": _batch_norm_on_meta,
    **dict.fromkeys(RECURRENT, whole_on_meta),
}
