"""Code that asks for a GPU by name gets meta tensors: no GPU is needed, none is started.

And code that asks tensors on meta where they are is told the device that they stand for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, cast

from irene.worker.meta.device_path import address_of, current_device_type, shown_device

if TYPE_CHECKING:
    import torch

_HERE = ("cpu", "meta")
_KNOW_META = ("torch._", "torch.utils.", "torch.nn.modules.rnn", "torch.masked.", "irene.")
"""Modules whose own code handles tensors on meta as such: shape rules, and this package; recurrent
layers, which would lay out their weights anew for cuDNN; and tensors that wrap others."""


Call = Callable[[Callable[..., object], tuple[object, ...], dict[str, object]], object]


def accelerators_on_meta(
    call: Call | None = None, *, shows_device: bool = False
) -> AbstractContextManager[object]:
    """While it lasts `device="cuda"`, `.cuda()` and `.to(0)` mean meta.

    They cannot wait for the dispatch mode: without a GPU torch refuses them before it. `call`
    makes the calls of torch functions, where they are not just to be made. With `shows_device`,
    `.device`, `.is_cuda` and the like tell the device that meta stands for.
    """
    return _mode_class()(call or _just_call, shows_device)


def without_accelerators(
    func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """The arguments of a torch function with meta in the place of any accelerator."""
    if kwargs and _is_accelerator(kwargs.get("device")):
        kwargs = {**kwargs, "device": "meta"}
    if func is _moves() and len(args) > 1 and _is_accelerator(args[1]):
        args = (args[0], "meta", *args[2:])
    return args, kwargs


@cache
def _moves() -> Callable[..., object]:
    import torch

    return torch.Tensor.to


def _just_call(
    func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    return func(*args, **kwargs)


@cache
def _mode_class() -> Callable[[Call, bool], AbstractContextManager[object]]:
    import torch
    from torch.overrides import TorchFunctionMode

    moves = (torch.Tensor.to, torch.Tensor.cpu)
    asks_for_address = torch.Tensor.data_ptr

    class AcceleratorsOnMeta(TorchFunctionMode):
        def __init__(self, call: Call, shows_device: bool) -> None:
            super().__init__()
            self._call = call
            self._shows_device = shows_device

        def __torch_function__(
            self,
            func: Callable[..., object],
            types: object,
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            del types
            kwargs = kwargs or {}
            if self._shows_device:
                if func.__name__ == "__get__":
                    return _attribute(func, cast("torch.Tensor", args[0]), sys._getframe(1))
                if func is asks_for_address and cast("torch.Tensor", args[0]).is_meta:
                    return address_of(cast("torch.Tensor", args[0]))
                if current_device_type() == "cpu" and func in moves and _stays(args[0]):
                    if func is torch.Tensor.cpu:
                        return args[0]
                    args, kwargs = _staying(args, kwargs)
            if func is torch.Tensor.cuda:
                func, args, kwargs = torch.Tensor.to, (args[0], "meta"), {}
            args, kwargs = without_accelerators(func, args, kwargs)
            return self._call(func, args, kwargs)

    return AcceleratorsOnMeta


def _attribute(func: Callable[..., object], tensor: torch.Tensor, frame: FrameType) -> object:
    """An attribute of a tensor; where it is, as on the device, except to those who know meta."""
    shown = _shown().get(func.__self__)  # type: ignore[attr-defined] # __get__ of an attribute
    if shown is None or not tensor.is_meta:
        return func(tensor)
    asking = str(frame.f_globals.get("__name__", ""))
    return func(tensor) if asking.startswith(_KNOW_META) else shown()


@cache
def _shown() -> Mapping[object, Callable[[], object]]:
    """The attributes that tell where a tensor is, and what they tell."""
    import torch

    return {
        torch.Tensor.device: shown_device,
        torch.Tensor.is_cuda: lambda: current_device_type() == "cuda",
        torch.Tensor.is_cpu: lambda: current_device_type() == "cpu",
    }


def _stays(tensor: object) -> bool:
    """Whether moving it to the CPU is nothing; numbers of positions may be known there."""
    moved = cast("torch.Tensor", tensor)
    return moved.is_floating_point() or not moved.is_meta


def _staying(
    args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """`x.to(...)` where everything is on the CPU, by our books on meta or not: x stays there."""
    import torch

    tensor, *rest = args
    if rest and isinstance(rest[0], torch.Tensor):  # .to(other)
        rest[0] = rest[0].dtype
    here = "meta" if cast("torch.Tensor", tensor).is_meta else "cpu"
    rest = [here if _is_cpu(it) else it for it in rest]
    return (tensor, *rest), {
        name: here if name == "device" and _is_cpu(it) else it for name, it in kwargs.items()
    }


def _is_cpu(device: object) -> bool:
    import torch

    return isinstance(device, (str, torch.device)) and str(device).partition(":")[0] == "cpu"


def _is_accelerator(device: object) -> bool:
    """Whether an argument names a device with a memory of its own, or the one shown: "cuda:1", 0.

    On a CPU `x.device` leads back to meta; the words `device="cpu"` make a constant with values.
    """
    import torch

    if device is None or isinstance(device, bool):
        return False
    if isinstance(device, torch.device):
        return device.type not in _HERE or (device.type == "cpu" == current_device_type())
    if isinstance(device, str):
        return device.partition(":")[0] not in _HERE
    return isinstance(device, int)
