"""The key of a call: everything that its result may depend on.

The function; of each tensor its type, shape, strides, dtype, and whether it is a weight; which
arguments are the same object, or lie in the same memory; each scalar with its type, since 1, 1.0
and True are equal; which values are known; the modes around the call, and the kind of device. It
has no values: a call that reads one is run every time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

from irene.tree import DeviceType
from irene.worker.meta.device_path import enabled_attention
from irene.worker.meta.functions import chooses_kernels, is_torchs, makes_constants
from irene.worker.meta.marks import Mark, Marks, unmark
from irene.worker.meta.memo import Key, Memo
from irene.worker.meta.patches import calls_originals
from irene.worker.meta.tensors import has_storage
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch


class Keys:
    """Makes the keys of one forward pass, as a kind of device runs it."""

    def __init__(
        self, values: KnownValues, marks: Marks, memo: Memo, device_type: DeviceType
    ) -> None:
        import torch

        self._values = values
        self._memo = memo
        self._last_state: tuple[object, int] = (None, 0)
        self._marks = marks
        self._device_type = device_type
        self._tensor_types, self._scalar_types = key_types()
        self._is_inference = torch.is_inference_mode_enabled
        self._functorch = torch._C._functorch.peek_interpreter_stack
        self._n_modes = torch._C._len_torch_dispatch_stack
        self._default_dtype = torch.get_default_dtype
        self._is_autocast = torch._C._is_any_autocast_enabled
        self._is_deterministic = torch._C._get_deterministic_algorithms

    def of_function(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        tensors: list[torch.Tensor],
    ) -> Key | None:
        """The key of a call by Python code; None for one that runs every time.

        The tensors among the arguments are added to `tensors`.
        """
        if not is_torchs(func):
            for argument in args:
                if type(argument) in self._tensor_types:
                    unmark(argument)  # `x.data = y` is such a function
            if getattr(func, "__name__", "") == "__set__" and len(args) == 2:
                self._values.exchange(*args)
            return None
        if type(func) is FunctionType and not calls_originals(func):
            return None
        return self.among_torchs(func, args, kwargs, tensors)

    def among_torchs(
        self,
        func: Hashable,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        tensors: list[torch.Tensor],
    ) -> Key | None:
        """The same of what is known to be torch's own."""
        if not self._is_inference() or self._functorch() is not None or self._n_modes() > 1:
            return None
        return self._key(func, args, kwargs, tensors)

    def of_operation(
        self,
        func: torch._ops.OpOverload,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        tensors: list[torch.Tensor],
    ) -> Key | None:
        """The key of an operation as it reaches the dispatcher."""
        return self._key(func, args, kwargs, tensors)

    def _key(
        self,
        func: Any,  # noqa: ANN401 - what is called
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        tensors: list[torch.Tensor],
    ) -> Key | None:
        """None where an argument is neither tensor nor scalar, or none is a tensor."""
        parts = [func, self._state(), enabled_attention() if chooses_kernels(func) else None]
        marks: list[Mark] = []
        if not self._add(args, parts, tensors, marks):
            return None
        if kwargs:
            parts.extend(kwargs)
            if not self._add(kwargs.values(), parts, tensors, marks):
                return None
        if len(marks) > 1:
            if len({it.storage for it in marks}) < len(marks):
                parts.append(_arrangement(tensors, marks))
        elif not marks and not makes_constants(func):
            return None
        known = self._values.known_among(tensors)
        if known is not None:
            parts.append(known)
        return tuple(parts)

    def _state(self) -> Hashable:
        """What torch is set to: one object as long as that is the same, which hashes fast."""
        dtype, is_deterministic = self._default_dtype(), self._is_deterministic()
        autocast = _autocast() if self._is_autocast() else ()
        known = self._last_state
        if (dtype, is_deterministic, autocast) != known[0]:
            state = (dtype, is_deterministic, autocast)
            number = self._memo.describe(("state", self._device_type, *state))
            known = self._last_state = (state, number)
        return known[1]

    def _add(
        self,
        values: Iterable[Any],
        parts: list[Any],  # hashable
        tensors: list[torch.Tensor],
        marks: list[Mark],
    ) -> bool:
        tensor_types, scalar_types = self._tensor_types, self._scalar_types
        session = self._marks.session
        for value in values:
            kind = type(value)
            if kind in tensor_types:
                mark = getattr(value, "_irene_mark", None)
                if mark is None or mark.session is not session or mark.owner != id(value):
                    if not has_storage(value) or self._marks.is_shadowed(value):
                        return False
                    mark = self._marks.of(value)
                parts.append(mark.description)
                tensors.append(value)
                marks.append(mark)
            elif kind in scalar_types:
                parts += (kind, value)
            elif kind is list or kind is tuple:
                parts += (kind, len(value))
                if not self._add(value, parts, tensors, marks):
                    return False
            elif kind is slice:
                parts += (kind,)
                if not self._add((value.start, value.stop, value.step), parts, tensors, marks):
                    return False
            else:
                return False
        return True


def _arrangement(tensors: list[torch.Tensor], marks: list[Mark]) -> Hashable:
    """Which tensors are one object, and how those in one memory lie to each other."""
    objects: dict[int, int] = {}
    memories: dict[int, int] = {}
    arrangement = []
    for i, (tensor, mark) in enumerate(zip(tensors, marks, strict=True)):
        first = memories.setdefault(mark.storage, i)
        distance = mark.offset - marks[first].offset
        arrangement.append((objects.setdefault(id(tensor), i), first, distance))
    return tuple(arrangement)


def _autocast() -> Hashable:
    import torch

    return tuple(
        (kind, torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
        if torch.is_autocast_enabled(kind)
    )


@cache
def key_types() -> tuple[frozenset[type], frozenset[type]]:
    """The types of tensors and of scalars that keys are made of."""
    import torch

    tensors = (torch.Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", torch.nn.Parameter))
    scalars = (
        bool, int, float, complex, str, type(None), type(...), torch.Size, torch.dtype,
        torch.device, torch.layout, torch.memory_format,
    )  # fmt: skip
    return frozenset(tensors), frozenset(scalars)
