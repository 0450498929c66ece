"""`torch.autocast("cuda")` and `torch.autocast("cpu")` on meta, where torch itself casts nothing.

Which operations are cast is asked of torch: those with a kernel for the device's autocast. How
is in `aten/src/ATen/autocast_mode.h`: to the lower precision, to float32, to the widest dtype
among the arguments, or by asking for a float32 output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Literal, cast

from irene.worker.meta.device_path import current_device_type

if TYPE_CHECKING:
    import torch

Policy = Literal["lower", "float32", "widest", "float32 output"]

_LOWER = frozenset(
    [
        "_convolution",
        "addbmm",
        "addmm",
        "addmv",
        "addr",
        "baddbmm",
        "bmm",
        "chain_matmul",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_tbc",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "convolution",
        "cudnn_convolution",
        "cudnn_convolution_transpose",
        "einsum",
        "gru_cell",
        "linalg_multi_dot",
        "linalg_vecdot",
        "linear",
        "lstm_cell",
        "matmul",
        "mkldnn_rnn_layer",
        "mm",
        "mv",
        "prelu",
        "rnn_relu_cell",
        "rnn_tanh_cell",
        "scaled_dot_product_attention",
        "_scaled_dot_product_flash_attention",
        "_addmm_activation",
        "_native_multi_head_attention",
        "_thnn_fused_gru_cell",
        "_thnn_fused_lstm_cell",
        "lstm",
        "gru",
        "rnn_tanh",
        "rnn_relu",
    ]
)
_WIDEST = frozenset(
    [
        "addcdiv",
        "addcmul",
        "atan2",
        "bilinear",
        "cat",
        "cross",
        "dot",
        "grid_sampler",
        "index_copy",
        "index_put",
        "scatter_add",
        "stack",
        "tensordot",
        "vdot",
    ]
)
_FLOAT32_OUTPUT = frozenset(
    [
        "softmax",
        "log_softmax",
        "cumprod",
        "cumsum",
        "linalg_vector_norm",
        "linalg_matrix_norm",
        "prod",
        "sum",
    ]
)
_OF_CUDNN = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
"""Cast as cuDNN's layer, whose autocast kernel is in builds of torch for GPUs alone."""


@cache
def _policies(device: str) -> Callable[[torch._ops.OpOverload], Policy | None]:
    import torch

    key = f"Autocast{device.upper()}"

    @cache
    def policy(func: torch._ops.OpOverload) -> Policy | None:
        name = func.overloadpacket.__name__
        is_cast = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key)
        if not is_cast and not (device == "cuda" and name in _OF_CUDNN):
            return None
        if name in _LOWER:
            return "lower"
        if name in _WIDEST:
            return "widest"
        return "float32 output" if device == "cuda" and name in _FLOAT32_OUTPUT else "float32"

    return policy


def policy_of(func: torch._ops.OpOverload) -> Policy | None:
    """How autocast treats an operation of the device; None: not at all."""
    return _policies(current_device_type())(func)


_is_on: ContextVar[bool] = ContextVar("_is_on", default=False)


def is_autocast_on() -> bool:
    """Whether the code has turned autocast on for the device that meta stands for."""
    return _is_on.get()


@contextmanager
def watching_autocast() -> Iterator[None]:
    """While it lasts it is known whether autocast is on: within a dispatch mode torch says no."""
    import torch

    setters = {name: getattr(torch, name) for name in _SETTERS if hasattr(torch, name)}

    def noting(setter: Callable[..., None]) -> Callable[..., None]:
        def set_and_note(*args: object) -> None:
            setter(*args)
            _is_on.set(_torch_says_on())

        return set_and_note

    before = _is_on.set(_torch_says_on())
    for name, setter in setters.items():
        setattr(torch, name, noting(setter))
    try:
        yield
    finally:
        for name, setter in setters.items():
            setattr(torch, name, setter)
        _is_on.reset(before)


_SETTERS = ("set_autocast_enabled", "set_autocast_cpu_enabled")
"""Before torch 2.4 each device had functions of its own, those without a name being a GPU's."""


def _torch_says_on() -> bool:
    import torch

    device = current_device_type()
    if hasattr(torch, "get_autocast_dtype"):
        return torch.is_autocast_enabled(device)
    return torch.is_autocast_cpu_enabled() if device == "cpu" else torch.is_autocast_enabled()


def _lower_dtype() -> torch.dtype:
    import torch

    device = current_device_type()
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device)
    return torch.get_autocast_cpu_dtype() if device == "cpu" else torch.get_autocast_gpu_dtype()


def run_cast(
    policy: Policy,
    func: torch._ops.OpOverload,
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> object:
    """Issue the casts and then the operation, inside which nothing is cast again.

    A weight is cast at each use: in inference mode torch keeps no copies of weights.
    """
    from torch.utils import _pytree

    if policy == "float32 output":
        args, kwargs = _asking_for_float32(func, args, kwargs)
    else:
        to = _target(policy, (args, kwargs))

        def cast_leaf(leaf: object) -> object:
            return cast("torch.Tensor", leaf).to(to) if _is_eligible(leaf) else leaf

        args, kwargs = _pytree.tree_map(cast_leaf, (args, kwargs))
    before = _is_on.set(False)
    try:
        return func(*args, **kwargs)
    finally:
        _is_on.reset(before)


def _target(policy: Policy, call: object) -> torch.dtype:
    import torch
    from torch.utils import _pytree

    lower = _lower_dtype()
    if policy == "lower":
        return lower
    if policy == "float32":
        return torch.float32
    dtypes = {
        cast("torch.Tensor", it).dtype for it in _pytree.tree_leaves(call) if _is_eligible(it)
    }
    return torch.float32 if dtypes - {lower} else lower


def _is_eligible(leaf: object) -> bool:
    import torch

    return (
        isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.dtype != torch.float64
    )


def _asking_for_float32(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """`softmax(x, -1)` of a lower precision as `softmax(x, -1, dtype=float32)`."""
    import torch

    names = [it.name for it in func._schema.arguments]
    if "dtype" not in names or not _is_eligible(args[0]):
        return args, kwargs
    at = names.index("dtype")
    if at < len(args):
        given = torch.float32 if args[at] is None else args[at]
        return (*args[:at], given, *args[at + 1 :]), kwargs
    if kwargs.get("dtype") is None:
        kwargs = {**kwargs, "dtype": torch.float32}
    return args, kwargs
