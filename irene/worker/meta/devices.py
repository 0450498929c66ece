"""Code that asks for a GPU by name gets meta tensors: no GPU is needed, none is started."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

_HERE = ("cpu", "meta")


Call = Callable[[Callable[..., object], tuple[object, ...], dict[str, object]], object]


def accelerators_on_meta(call: Call | None = None) -> AbstractContextManager[object]:
    """While it lasts `device="cuda"`, `.cuda()` and `.to(0)` mean meta.

    They cannot wait for the dispatch mode: without a GPU torch refuses them before it. `call`
    makes the calls of torch functions, where they are not just to be made.
    """
    return _mode_class()(call or _just_call)


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
def _mode_class() -> Callable[[Call], AbstractContextManager[object]]:
    import torch
    from torch.overrides import TorchFunctionMode

    class AcceleratorsOnMeta(TorchFunctionMode):
        def __init__(self, call: Call) -> None:
            super().__init__()
            self._call = call

        def __torch_function__(
            self,
            func: Callable[..., object],
            types: object,
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            del types
            if func is torch.Tensor.cuda:
                func, args, kwargs = torch.Tensor.to, (args[0], "meta"), {}
            args, kwargs = without_accelerators(func, args, kwargs or {})
            return self._call(func, args, kwargs)

    return AcceleratorsOnMeta


def _is_accelerator(device: object) -> bool:
    """Whether an argument names a device with a memory of its own: "cuda:1", 0."""
    import torch

    if device is None or isinstance(device, bool):
        return False
    if isinstance(device, torch.device):
        return device.type not in _HERE
    if isinstance(device, str):
        return device.partition(":")[0] not in _HERE
    return isinstance(device, int)
