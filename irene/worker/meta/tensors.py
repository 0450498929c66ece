"""Tensors among the arguments of an operation, and their copies on meta."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from irene.worker.refusals import refuse
from irene.worker.values import LARGEST_REAL, KnownValues

if TYPE_CHECKING:
    import torch


Arguments = tuple[tuple[object, ...], dict[str, object]]


def to_meta(value: object, values: KnownValues | None = None) -> object:
    """Tensors in `value`, also nested, as meta tensors; small integers stay known.

    A tensor that is there twice stays one: models ask whether key is value.
    """
    import torch
    from torch.utils import _pytree

    metas: dict[int, torch.Tensor] = {}

    def convert(leaf: object) -> object:
        if not isinstance(leaf, torch.Tensor) or leaf.is_meta:
            return leaf
        if id(leaf) not in metas:
            metas[id(leaf)] = meta = stand_in(leaf)
            if values is not None:
                keep_integers(leaf, meta, values)
        return metas[id(leaf)]

    return _pytree.tree_map(convert, value)


def keep_integers(original: torch.Tensor, meta: torch.Tensor, values: KnownValues) -> None:
    """The values of positions, masks and sizes on the CPU stay known on meta.

    So does a single number of any kind: the scale of a quantised layer, "was initialised".
    """
    import torch

    is_number = original.is_floating_point() or original.is_complex()
    if original.device.type != "cpu" or original.is_quantized or original.layout != torch.strided:
        return
    if original.numel() == 1 or (not is_number and is_small(original)):
        values.remember(meta, original.detach().clone())


def stand_in(tensor: torch.Tensor) -> torch.Tensor:
    """A meta tensor that is to a model what `tensor` is: a parameter too, with its attributes."""
    import torch

    meta = meta_copy(tensor)
    if issubclass(type(tensor), torch.nn.Parameter):
        meta = torch.Tensor._make_subclass(type(tensor), meta, tensor.requires_grad)
    elif isinstance(tensor, torch.nn.Parameter):  # of a class of its own, with a mark
        meta = torch.nn.Parameter(meta, requires_grad=tensor.requires_grad)
    vars(meta).update(vars(tensor))
    return meta


def is_small(tensor: torch.Tensor) -> bool:
    """Whether a real tensor is small enough for its values to count."""
    return tensor.numel() <= LARGEST_REAL


def meta_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Shape, strides and dtype of `tensor`, without its values and without memory."""
    import torch

    if tensor.is_nested:
        raise refuse(
            "inputs",
            "nested tensors have no price: their rows differ in length.",
            advice="Give a padded tensor.",
        )
    if tensor.is_quantized:
        return torch.empty(tensor.size(), dtype=tensor.dtype, device="meta")
    if tensor.layout != torch.strided or type(tensor) not in _plain_types():
        return tensor.detach().to("meta")
    return torch.empty_strided(
        tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta", requires_grad=False
    )


def tensors_in(args: tuple[object, ...], kwargs: Mapping[str, object]) -> list[torch.Tensor]:
    """All tensors among arguments, lists of tensors included, in order."""
    found: list[torch.Tensor] = []
    _collect(args, found)
    if kwargs:
        _collect(tuple(kwargs.values()), found)
    return found


def has_storage(tensor: torch.Tensor) -> bool:
    """Whether a tensor is one piece of memory; sparse ones are several."""
    return tensor.layout is _strided()


@cache
def _strided() -> torch.layout:
    import torch

    return torch.strided


@cache
def _plain_types() -> tuple[type, ...]:
    import torch

    return (torch.Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", torch.nn.Parameter))


def _collect(values: tuple[object, ...] | list[object], found: list[torch.Tensor]) -> None:
    import torch

    tensor = torch.Tensor
    for value in values:
        if isinstance(value, tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            _collect(value, found)


@cache
def meta_device() -> torch.device:
    import torch

    return torch.device("meta")


def device_type(kwargs: Mapping[str, object]) -> str | None:
    import torch

    device = kwargs.get("device")
    if device is None:
        return None
    return device.type if isinstance(device, torch.device) else str(device).split(":")[0]
