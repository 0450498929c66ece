"""Layers of torch whose forward is a pure function of its input and of a few attributes.

Their calls can be remembered as a whole, while nothing stands between the call and the function:
no hook, no forward of an instance's own, no function that somebody exchanged, no other mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from irene.worker.meta.patches import is_original_functional

if TYPE_CHECKING:
    import torch


class Layer(NamedTuple):
    """What one class of layer computes with."""

    type: type
    forward: Callable[..., object]  # as torch had it
    function: str  # of torch.nn.functional, which forward calls
    tensors: tuple[str, ...]  # parameters that it reads
    attributes: tuple[str, ...]


def layer_of(module: torch.nn.Module) -> Layer | None:
    """The layer that a module is, where its call is no more than its function."""
    layer = _layers().get(type(module))
    if layer is None:
        return None
    held, calls = module.__dict__, _calls()
    is_plain = (
        layer.type.forward is layer.forward  # type: ignore[attr-defined] # of a module
        and not held["training"]
        and not held["_forward_hooks"]
        and not held["_forward_pre_hooks"]
        and not held["_backward_hooks"]
        and not held["_backward_pre_hooks"]
        and "forward" not in held
        and held.get("_compiled_call_impl") is None
        and not any(calls.hooks)
        and calls.n_function_modes() == 1  # ours
        and is_original_functional(layer.function)
    )
    return layer if is_plain else None


def read(layer: Layer, module: torch.nn.Module) -> tuple[Any, ...] | None:
    """What forward reads of `module`; None where it is kept in another place."""
    held = module.__dict__
    parameters = held["_parameters"]
    try:
        return (
            *[parameters[it] for it in layer.tensors],
            *[held[it] for it in layer.attributes],
        )
    except KeyError:
        return None


class _Calls(NamedTuple):
    """What may stand between a call of any module and its forward."""

    hooks: tuple[dict[int, object], ...]
    n_function_modes: Callable[[], int]


@cache
def _calls() -> _Calls:
    import torch
    from torch.nn.modules import module

    names = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    hooks = tuple(getattr(module, f"_global_{it}") for it in names)
    return _Calls(hooks, torch._C._len_torch_function_stack)


@cache
def _layers() -> dict[type, Layer]:
    from torch import nn

    affine = ("weight", "bias")
    layers = (
        _layer(nn.Linear, "linear", affine, ()),
        _layer(nn.LayerNorm, "layer_norm", affine, ("normalized_shape", "eps")),
        _layer(nn.GroupNorm, "group_norm", affine, ("num_groups", "eps")),
        _layer(nn.RMSNorm, "rms_norm", ("weight",), ("normalized_shape", "eps")),
        _layer(
            nn.Embedding,
            "embedding",
            ("weight",),
            ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"),
        ),
        _layer(nn.Dropout, "dropout", (), ("p", "inplace")),
        _layer(nn.GELU, "gelu", (), ("approximate",)),
        _layer(nn.ReLU, "relu", (), ("inplace",)),
        _layer(nn.SiLU, "silu", (), ("inplace",)),
    )
    return {it.type: it for it in layers}


def _layer(
    kind: type[torch.nn.Module],
    function: str,
    tensors: tuple[str, ...],
    attributes: tuple[str, ...],
) -> Layer:
    return Layer(kind, kind.forward, function, tensors, attributes)
