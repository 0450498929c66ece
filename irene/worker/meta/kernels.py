"""Operations that are run in a way of their own on meta: whole, on zeros, or for real."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from irene.worker.meta.operators import NoMetaKernel, Operator, ValueQuestion
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


def decompose(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """The operation in its parts, as C++ has them: torch's Python versions differ in places."""
    import torch

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


def _attention_on_meta(
    _func: object, args: tuple[object, ...], _kwargs: Mapping[str, object]
) -> object:
    """One fused kernel; as on devices its output lies in memory as (batch, sequence, heads, size)."""
    query, key, value = args[:3]
    _check_attention(query, key, value)  # type: ignore[arg-type] # the schema's tensors
    if query.dim() < 3:  # type: ignore[attr-defined] # a tensor
        return query.new_empty((*query.shape[:-1], value.shape[-1]))  # type: ignore[attr-defined] # a tensor
    *batch, heads, length, _ = query.shape  # type: ignore[attr-defined] # a tensor
    out = query.new_empty((*batch, length, heads, value.shape[-1]))  # type: ignore[attr-defined] # a tensor
    return out.transpose(-2, -3)


def _check_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        shapes = [tuple(it.shape) for it in (query, key, value)]
        raise RuntimeError(f"query, key and value do not fit each other: {shapes}")


def _recurrent_on_meta(
    func: torch._ops.OpOverload, args: tuple[object, ...], _kwargs: Mapping[str, object]
) -> object:
    """Shapes of an LSTM, GRU or plain recurrent layer, without its loop over time.

    Padded: (x, states, weights, has_biases, n_layers, dropout, train, bidirectional,
    batch_first); packed: (data, batch_sizes, states, weights, ...).
    """
    is_packed = func._overloadname == "data"
    states = args[2 if is_packed else 1]
    rest = args[5 if is_packed else 4 :]
    x, bidirectional = cast("torch.Tensor", args[0]), rest[3]
    finals = cast(
        "list[torch.Tensor]", list(states) if isinstance(states, (list, tuple)) else [states]
    )
    width = finals[0].shape[-1] * (2 if bidirectional else 1)
    output = x.new_empty((*x.shape[:-1], width))
    return (output, *(it.new_empty(it.shape) for it in finals))


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
    "scaled_dot_product_attention": _attention_on_meta,
    "_grouped_mm": _grouped_on_meta,
    "quantize_per_tensor": _quantized_on_meta,
    "quantize_per_channel": _quantized_on_meta,
    "is_set_to": _is_set_to_on_meta,
    "lstm": _recurrent_on_meta,
    "gru": _recurrent_on_meta,
    "rnn_tanh": _recurrent_on_meta,
    "rnn_relu": _recurrent_on_meta,
}
