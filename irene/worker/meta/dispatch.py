"""The dispatch mode that keeps a model on meta: what is done with each operation, in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from irene.worker.meta.kernels import (
    AS_WRITTEN,
    LARGEST_REAL,
    WHOLE_ON_META,
    decompose,
    make_constant,
    run_for_real,
    run_on_zeros,
)
from irene.worker.meta.operators import (
    CONSTANTS,
    CONSTANTS_OF_SHAPE,
    QUESTIONS,
    RANDOM,
    SHAPED_BY_VALUES,
    WHOLE,
    Operator,
    ValueQuestion,
    operator_of,
)
from irene.worker.meta.tensors import (
    Arguments,
    device_type,
    meta_copy,
    meta_device,
    tensors_in,
    to_meta,
)
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode


class Observer(Protocol):
    """Who wants to know what a device would run."""

    def executed(
        self,
        operator: Operator,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result: object,
    ) -> None:
        """An operation gave `result`."""

    def replaced(self, original: torch.Tensor, meta: torch.Tensor) -> None:
        """`meta` stands for a parameter or buffer that has memory."""

    def guessed(self, operator: Operator, reason: str) -> None:
        """An operation without a shape rule went on with shapes from a run on zeros."""

    def failed(
        self, operator: Operator, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """An operation refused its arguments; the error follows."""


def stay_on_meta(values: KnownValues, observer: Observer | None = None) -> TorchDispatchMode:
    """The mode as a context manager; `observer` sees each operation after it ran."""
    return _mode_class()(_Meta(values, observer))


def run_on_meta(
    model: torch.nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    values: KnownValues,
    observer: Observer | None = None,
) -> object:
    """One forward pass of `model`, which may be real: its tensors are replaced meanwhile."""
    import torch

    replaced = _real_tensors(model)
    if observer is not None:
        for original, meta in replaced.values():
            observer.replaced(original, meta)
    stand_ins = {name: meta for name, (_, meta) in replaced.items()}
    with torch.inference_mode(), stay_on_meta(values, observer), _eagerly():
        if not stand_ins:
            return model(*args, **kwargs)
        return torch.func.functional_call(model, stand_ins, args, dict(kwargs), strict=False)


@cache
def _mode_class() -> Callable[[_Meta], TorchDispatchMode]:
    from torch.utils._python_dispatch import TorchDispatchMode

    class StayOnMeta(TorchDispatchMode):
        def __init__(self, meta: _Meta) -> None:
            super().__init__()  # type: ignore[no-untyped-call] # of torch
            self._meta = meta

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            # Torch's answer is yes, which imports its compiler (over a second) at first use.
            return False

        def __torch_dispatch__(
            self,
            func: torch._ops.OpOverload,
            _types: object,
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            return self._meta.dispatch(self, func, args, kwargs or {})

    return StayOnMeta


class _Meta:
    """What the mode does, in the order in which it is tried."""

    def __init__(self, values: KnownValues, observer: Observer | None) -> None:
        self._values = values
        self._observer = observer
        self._twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def dispatch(
        self,
        mode: TorchDispatchMode,
        func: torch._ops.OpOverload,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        operator = operator_of(func)
        if operator.name in QUESTIONS:
            return self._answer(operator, func, args)
        if operator.name == "dropout" and not args[2]:
            return args[0]
        if operator.is_composite and operator.name not in WHOLE:
            with mode:
                return decompose(func, args, kwargs)
        tensors = tensors_in(args, kwargs)
        try:
            result = self._run(operator, func, (args, kwargs), tensors)
        except Exception:
            if self._observer is not None:
                self._observer.failed(operator, args, kwargs)
            raise
        if self._observer is not None:
            self._observer.executed(operator, args, kwargs, result)
        return result

    def _run(
        self,
        operator: Operator,
        func: torch._ops.OpOverload,
        call: Arguments,
        tensors: list[torch.Tensor],
    ) -> object:
        args, kwargs = call
        if operator.name in SHAPED_BY_VALUES or _has_mask_index(operator, args):
            return self._run_on_values(operator, func, call, tensors)
        if not tensors and operator.makes_tensor and device_type(kwargs) in (None, "cpu"):
            return make_constant(func, args, kwargs)
        if tensors and not any(it.is_meta for it in tensors) and self._is_small(tensors):
            return run_for_real(func, args, kwargs)
        if operator.name == "_to_copy" and device_type(kwargs) == "cpu":
            known = self._values.of(tensors[0])
            if known is not None:
                return func(known, **kwargs)
        meta_call = self._on_meta(call, has_tensors=bool(tensors))
        result = self._run_on_meta(operator, func, meta_call)
        self._keep_values(operator, func, (args, kwargs), tensors, result)
        return self._with_originals(result)

    def _is_small(self, tensors: list[torch.Tensor]) -> bool:
        return all(it.numel() <= LARGEST_REAL and self._values.of(it) is not None for it in tensors)

    def _run_on_meta(
        self, operator: Operator, func: torch._ops.OpOverload, call: Arguments
    ) -> object:
        args, kwargs = call
        whole = WHOLE_ON_META.get(operator.name)
        if whole is not None:
            return whole(func, args, kwargs)
        try:
            return func(*args, **kwargs)
        except NotImplementedError as err:
            if isinstance(err, ValueQuestion):
                raise
            result = run_on_zeros(operator, func, call, err)
            if self._observer is not None:
                self._observer.guessed(operator, "it has no shape rule for meta tensors")
            return result

    def _on_meta(self, call: Arguments, *, has_tensors: bool) -> Arguments:
        """The same arguments with every tensor, and a device that is asked for, on meta."""
        args, kwargs = call
        args = tuple(self._twin(it) for it in args)
        if kwargs:
            kwargs = {name: self._twin(it) for name, it in kwargs.items()}
            if kwargs.get("device") is not None and (has_tensors or device_type(kwargs) != "cpu"):
                kwargs["device"] = meta_device()
        return args, kwargs

    def _twin(self, value: object) -> object:
        import torch

        if isinstance(value, torch.Tensor):
            if value.is_meta:
                return value
            if id(value) not in self._twins:
                self._twins[id(value)] = (value, meta_copy(value))
            return self._twins[id(value)][1]
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self._twin(it) for it in value)
        if isinstance(value, torch.device) and value.type != "cpu":
            return meta_device()
        return value

    def _with_originals(self, result: object) -> object:
        """An operation in place returns the tensor that it was given, not our twin of it."""
        if not self._twins:
            return result
        for original, twin in self._twins.values():
            if twin is result:
                return original
        return result

    def _keep_values(
        self,
        operator: Operator,
        func: torch._ops.OpOverload,
        call: Arguments,
        tensors: list[torch.Tensor],
        result: object,
    ) -> None:
        """Compute for real what follows from constants; forget what was overwritten."""
        import torch

        args, kwargs = call
        real = [self._values.of(it) for it in tensors] if tensors else []
        known = all(it is not None for it in real) if tensors else operator.name in CONSTANTS
        known = known or (operator.name in CONSTANTS_OF_SHAPE and not operator.is_mutable)
        if not known or any(part in operator.name for part in RANDOM):
            for position in operator.written:
                written = args[position] if position < len(args) else None
                if isinstance(written, torch.Tensor):
                    self._values.forget(written)
            return
        if not isinstance(result, torch.Tensor) or result.numel() > LARGEST_REAL:
            return
        if operator.is_mutable and result is args[0]:
            func(*self._real_arguments(args), **self._real_keywords(kwargs))
            return
        value = func(*self._real_arguments(args), **self._real_keywords(kwargs))
        if result.is_meta:
            self._values.remember(result, value)

    def _run_on_values(
        self,
        operator: Operator,
        func: torch._ops.OpOverload,
        call: Arguments,
        tensors: list[torch.Tensor],
    ) -> object:
        """Operations whose output's shape is in the values: exact where these are known."""
        import torch

        args, kwargs = call
        if operator.name == "index":
            args = self._mask_as_numbers(args)
            meta_args, meta_kwargs = self._on_meta((args, kwargs), has_tensors=True)
            return func(*meta_args, **meta_kwargs)
        if any(self._values.of(it) is None for it in tensors):
            raise ValueQuestion(operator.name)
        value = func(*self._real_arguments(args), **self._real_keywords(kwargs))
        if not any(it.is_meta for it in tensors):
            return value
        result = to_meta(value)
        if isinstance(result, torch.Tensor) and isinstance(value, torch.Tensor):
            self._values.remember(result, value)
        return result

    def _mask_as_numbers(self, args: tuple[object, ...]) -> tuple[object, ...]:
        """`x[mask]` as `x[i, j]`, which has a shape without the values of x."""
        import torch

        indices: list[object] = []
        for index in args[1]:  # type: ignore[attr-defined] # index(x, indices)
            if isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8):
                known = self._values.of(index)
                if known is None:
                    raise ValueQuestion("a mask as an index (x[mask])")
                indices += list(known.nonzero(as_tuple=True))
            else:
                indices.append(index)
        return args[0], indices, *args[2:]

    def _answer(
        self, operator: Operator, func: torch._ops.OpOverload, args: tuple[object, ...]
    ) -> object:
        if any(self._values.of(it) is None for it in tensors_in(args, {})):
            raise ValueQuestion(AS_WRITTEN.get(operator.name, operator.name))
        return func(*self._real_arguments(args))

    def _real_arguments(self, args: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(self._real(it) for it in args)

    def _real_keywords(self, kwargs: Mapping[str, object]) -> dict[str, object]:
        real = {name: self._real(it) for name, it in kwargs.items()}
        if real.get("device") is not None:
            real["device"] = "cpu"
        return real

    def _real(self, value: object) -> object:
        import torch

        if isinstance(value, torch.Tensor):
            known = self._values.of(value)
            return torch.zeros(value.shape, dtype=value.dtype) if known is None else known
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self._real(it) for it in value)
        return value


def _has_mask_index(operator: Operator, args: tuple[object, ...]) -> bool:
    import torch

    if operator.name != "index":
        return False
    return any(
        isinstance(it, torch.Tensor) and it.dtype in (torch.bool, torch.uint8)
        for it in args[1]  # type: ignore[attr-defined] # index(x, indices)
    )


def _real_tensors(
    model: torch.nn.Module,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Parameters and buffers that have memory, each with its stand-in on meta."""
    stand_ins: dict[int, torch.Tensor] = {}
    found = {}
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if not tensor.is_meta:
            meta = stand_ins.setdefault(id(tensor), meta_copy(tensor))
            found[name] = (tensor, meta)
    return found


def _eagerly() -> AbstractContextManager[object]:
    """Compiled modules run as they were written."""
    import torch

    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return nullcontext() if set_stance is None else set_stance("force_eager")
