"""What is known of torch's functions: which only ask, which may be remembered, on what they hang."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import BuiltinFunctionType, FunctionType
from typing import Any

from irene.worker.meta.patches import PURE_MODULES

Function = Callable[..., Any]

# Their result hangs on where in its memory a tensor begins.
BY_OFFSET = frozenset({"as_strided", "as_strided_", "as_strided_copy", "as_strided_scatter"})

_ASKED_DIRECTLY = (
    "shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_meta", "is_cuda", "is_cpu",
    "is_sparse", "is_quantized", "is_nested", "is_leaf", "itemsize", "nbytes", "grad", "grad_fn",
    "names", "is_mps", "is_xpu", "is_mkldnn", "is_sparse_csr", "output_nr", "_version", "_base",
)  # fmt: skip
_ANSWERED_DIRECTLY = (
    "size", "dim", "numel", "nelement", "ndimension", "stride", "storage_offset", "is_contiguous",
    "is_floating_point", "is_complex", "is_signed", "is_conj", "is_neg", "is_inference",
    "element_size", "get_device", "data_ptr", "untyped_storage", "is_same_size", "has_names",
    "type", "__len__", "__hash__",
)  # fmt: skip


@cache
def asking() -> frozenset[Function]:
    """Questions about metadata: asked faster than looked up."""
    import torch

    tensor = torch.Tensor
    asked = (getattr(tensor, it, None) for it in _ASKED_DIRECTLY)
    answered = (getattr(tensor, it, None) for it in _ANSWERED_DIRECTLY)
    return frozenset(
        [it.__get__ for it in asked if it is not None] + [it for it in answered if it is not None]
    )


@cache
def is_torchs(func: Function) -> bool:
    """Whether a function is torch's own, without a state that it changes."""
    import torch

    name = getattr(func, "__name__", "")
    if name in ("__set__", "__delete__", "__deepcopy__", "__reduce_ex__"):
        return False
    if isinstance(func, torch._ops.OpOverload):
        return func.namespace == "aten"
    if isinstance(func, torch._ops.OpOverloadPacket):
        return str(func._qualified_op_name).startswith("aten::")
    if isinstance(func, FunctionType):
        return func.__module__ in PURE_MODULES
    if name == "__get__":
        return isinstance(getattr(func, "__self__", None), _GETSET)
    return isinstance(func, (BuiltinFunctionType, _METHOD, _SLOT))


@cache
def makes_constants(func: Function) -> bool:
    """Whether a function makes a tensor of numbers alone, the same ones each time."""
    import torch

    return func in (
        torch.tensor,
        torch.zeros,
        torch.ones,
        torch.full,
        torch.empty,
        torch.arange,
        torch.linspace,
        torch.eye,
    )


@cache
def chooses_kernels(func: Function) -> bool:
    """Whether a function hangs on which attention kernels may be taken."""
    name = str(func if not hasattr(func, "__name__") else func.__name__)
    return "attention" in name or "transformer" in name


_GETSET = (type(FunctionType.__code__), type(property()))
_METHOD = type(str.join)
_SLOT = type(object.__repr__)
