"""Whose kernels a forward pass on meta stands for: those that torch has for a CPU, or for a GPU.

Libraries and torch itself ask where a tensor is before they choose what to run: fused attention,
the fused encoder layer, autocast, grouped products. While `running_as` lasts they are answered as
on that device, although every tensor is on meta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from irene.tree import DeviceType, TorchDevice

if TYPE_CHECKING:
    import torch

_running: ContextVar[DeviceType] = ContextVar("_running", default="cuda")

_APART = 16  # bits: what tells two storages apart are at least 16 bytes, so they lie 1 MiB apart

_USUAL_CAPABILITY = (8, 0)
"""Of a GPU whose generation is not known: an Ampere card's."""


def current_device_type() -> TorchDevice:
    """The kind of device that operations stand for right now."""
    return "cpu" if _running.get() == "cpu" else "cuda"


def current_capability() -> tuple[int, int]:
    """The compute capability of the GPU that operations stand for right now."""
    number = _running.get().removeprefix("sm_")
    return (int(number[:-1]), int(number[-1])) if number.isdigit() else _USUAL_CAPABILITY


def enabled_attention() -> tuple[bool, bool, bool, bool, tuple[int, ...]]:
    """Whether unfused, flash, memory-efficient and cuDNN's attention may be taken; their order.

    All are numbered as in `torch.nn.attention.SDPBackend`: 0, 1, 2, 3.
    """
    import torch

    kernels = torch._C
    return (
        kernels._get_math_sdp_enabled(),
        kernels._get_flash_sdp_enabled(),
        kernels._get_mem_efficient_sdp_enabled(),
        kernels._get_cudnn_sdp_enabled(),
        _order(tuple(getattr(kernels, "_get_sdp_priority_order", _usual_order)())),
    )


def _usual_order() -> tuple[int, ...]:
    """Flash, memory-efficient, unfused: before torch 2.6 nobody could choose another."""
    return 1, 2, 0


def _order(here: tuple[int, ...]) -> tuple[int, ...]:
    """On data centre cards from Hopper on torch puts cuDNN's first (`check_prefer_cudnn_attention`)."""
    prefers_cudnn = current_capability() in ((9, 0), (10, 0)) and _torch_version() >= _CUDNN_FIRST
    is_usual = here[: len(_usual_order())] == _usual_order()
    return (_CUDNN, *(it for it in here if it != _CUDNN)) if prefers_cudnn and is_usual else here


_CUDNN, _CUDNN_FIRST = 3, (2, 11)


def _torch_version() -> tuple[int, ...]:
    import torch

    return tuple(int(it) for it in torch.__version__.split("+")[0].split(".")[:2])


def shown_device() -> torch.device:
    """Where tensors on meta say that they are."""
    import torch

    return torch.device("cuda", 0) if current_device_type() == "cuda" else torch.device("cpu")


def address_of(tensor: torch.Tensor) -> int:
    """Where a tensor on meta begins, as if it had memory; bytes."""
    offset = int(tensor.storage_offset()) * tensor.element_size()
    return _beginning(tensor.untyped_storage()) + offset


@contextmanager
def running_as(wanted: DeviceType, assume: Callable[[str], None]) -> Iterator[None]:
    """While it lasts torch answers its own questions about devices as on `wanted`.

    `assume` hears what an answer takes for granted.
    """
    before = _running.set(wanted)
    answers = [it for it in _answers(assume) if hasattr(it[0], it[1])]
    originals = [getattr(owner, name) for owner, name, _ in answers]
    try:
        for owner, name, answer in answers:
            setattr(owner, name, answer)
        yield
    finally:
        for (owner, name, _), original in zip(answers, originals, strict=True):
            setattr(owner, name, original)
        _running.reset(before)


def _answers(
    assume: Callable[[str], None],
) -> tuple[tuple[object, str, Callable[..., object]], ...]:
    """Functions of torch that ask about devices, and what is answered instead."""
    import torch

    def is_left_aligned(*_: object, **__: object) -> bool:
        assume("padded tokens are computed as well: nn.TransformerEncoder may leave them out")
        return False

    return (
        (torch.UntypedStorage, "data_ptr", _beginning),
        (torch, "_nested_tensor_from_mask_left_aligned", is_left_aligned),
        # Asked before fused layers: a function mode alone makes torch's own answer yes.
        (torch.overrides, "has_torch_function", _has_torch_function),
        (torch.cuda, "get_device_capability", lambda _device=None: current_capability()),
        (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
        (getattr(torch.cuda.amp, "common", None), "amp_definitely_not_available", lambda: False),
    )


def _beginning(storage: torch.UntypedStorage) -> int:
    """The address of a piece of memory; on meta one that no other has."""
    import torch

    real: int = torch._C.StorageBase.data_ptr(storage)  # type: ignore[attr-defined] # of C++
    return real or storage._cdata << _APART


def _has_torch_function(arguments: object) -> bool:
    """As torch says it where no function mode is on: whether a subclass has its own way."""
    import torch

    if isinstance(arguments, torch.Tensor):
        arguments = (arguments,)
    disabled = torch._C._disabled_torch_function_impl
    return any(
        type(it) not in (torch.Tensor, torch.nn.Parameter)
        and getattr(type(it), "__torch_function__", disabled) is not disabled
        for it in arguments  # type: ignore[attr-defined] # a sequence of arguments
    )
