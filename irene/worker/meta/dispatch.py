"""The dispatch mode that keeps a model on meta: what is done with each operation, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol

from irene.worker.meta.autocast import is_autocast_on, policy_of, run_cast
from irene.worker.meta.bounds import ASSUMED, FULL_MASK, at_most
from irene.worker.meta.conventions import convention_here
from irene.worker.meta.dtypes import check_dtypes
from irene.worker.meta.kernels import (
    AS_WRITTEN,
    WHOLE_ON_META,
    decompose,
    make_constant,
    pack_on_meta,
    run_for_real,
    run_on_zeros,
)
from irene.worker.meta.marks import unmark
from irene.worker.meta.operators import (
    CONSTANTS,
    CONSTANTS_OF_SHAPE,
    FILLING,
    QUESTIONS,
    RANDOM,
    SHAPED_BY_VALUES,
    UNWRITTEN,
    Operator,
    ValueQuestion,
    lacks_shape_rule,
    operator_of,
    runs_whole,
)
from irene.worker.meta.overlaps import check_written
from irene.worker.meta.recall import Ran, Recall, Taker
from irene.worker.meta.tensors import (
    Arguments,
    device_type,
    has_storage,
    meta_copy,
    meta_device,
    tensors_in,
    to_meta,
)
from irene.worker.meta.trial import ASSUMED as ONE_RUN
from irene.worker.meta.weights import Weights
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode


class Observer(Taker, Protocol):
    """Who wants to know what a device would run."""

    @property
    def weights(self) -> Weights:
        """Which tensors are weights, as far as is known."""

    def note_of(
        self,
        operator: Operator,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result: object,
        guessed: str | None,
    ) -> object | None:
        """What to note on an operation that ran; None for one that costs nothing.

        `guessed` says why its shapes are those of a run on zeros, where they are.
        """

    def assumed(self, text: str) -> None:
        """A question about values was answered by a convention."""

    def failed(
        self, operator: Operator, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """An operation refused its arguments; the error follows."""


def stay_on_meta(
    values: KnownValues, observer: Observer | None = None, recall: Recall | None = None
) -> TorchDispatchMode:
    """The mode as a context manager; `observer` is told of each operation.

    With `recall`, operations that were seen before are not run again.
    """
    return _mode_class()(_Meta(values, observer, recall))


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

    def __init__(
        self, values: KnownValues, observer: Observer | None, recall: Recall | None
    ) -> None:
        self._values = values
        self._observer = observer
        self._recall = recall
        self._twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._guessed: str | None = None  # of the operation that runs

    def dispatch(
        self,
        mode: TorchDispatchMode,
        func: torch._ops.OpOverload,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        operator = operator_of(func)
        if operator.name in QUESTIONS:
            if self._recall is not None:
                self._recall.spoil()
            return self._answer(operator, func, args)
        if operator.name == "dropout" and not args[2]:
            return args[0]
        policy = policy_of(func) if is_autocast_on() else None
        if policy is not None or not runs_whole(operator, args):
            with mode:
                return (
                    decompose(func, args, kwargs)
                    if policy is None
                    else run_cast(policy, func, args, kwargs)
                )

        if self._observer is None and operator.name in FILLING and self._is_unknown(args):
            return args[0]  # it would fill memory that is not there

        def run() -> Ran:
            return self._observed(operator, func, (args, kwargs))

        if self._recall is None:
            return run().result
        return self._recall.operation(func, args, kwargs, run)

    def _is_unknown(self, args: tuple[object, ...]) -> bool:
        """Whether the first argument has no values that a call could change."""
        (tensor,) = tensors_in(args[:1], {}) or (None,)
        return tensor is not None and tensor.is_meta and not self._values.is_known(tensor)

    def _observed(self, operator: Operator, func: torch._ops.OpOverload, call: Arguments) -> Ran:
        args, kwargs = call
        tensors = tensors_in(args, kwargs)
        depends_on_values = self._depends_on_values(operator, args, tensors)
        if operator.is_mutable:
            self._values.settle(operator.written_among(args, kwargs))
        self._guessed = None
        try:
            result = self._run(operator, func, call, tensors)
        except Exception:
            if self._observer is not None:
                self._observer.failed(operator, args, kwargs)
            raise
        for written in operator.written_among(args, kwargs):
            unmark(written)
            if id(written) in self._twins and self._recall is not None:
                self._recall.shadow(written)
                depends_on_values = True
        if self._observer is None:
            return Ran(result, None, depends_on_values)
        note = self._observer.note_of(operator, args, kwargs, result, self._guessed)
        return Ran(result, note, depends_on_values or self._is_real(result))

    def _depends_on_values(
        self, operator: Operator, args: tuple[object, ...], tensors: list[torch.Tensor]
    ) -> bool:
        if operator.name in SHAPED_BY_VALUES or _has_mask_index(operator, args):
            return True
        if self._values.is_trial() and _is_random(operator):
            return True
        return operator.is_mutable and any(self._values.is_known(it) for it in tensors)

    def _is_real(self, result: object) -> bool:
        """Whether what is made of a result may be values, or be in the memory of a twin."""
        made = tensors_in((result,), {})
        if not all(it.is_meta for it in made):
            return True
        if not self._twins:
            return False
        twins = [it for _, it in self._twins.values() if has_storage(it)]
        storages = {it.untyped_storage()._cdata for it in twins}
        return any(it.untyped_storage()._cdata in storages for it in made if has_storage(it))

    def _run(
        self,
        operator: Operator,
        func: torch._ops.OpOverload,
        call: Arguments,
        tensors: list[torch.Tensor],
    ) -> object:
        args, kwargs = call
        if operator.is_mutable:
            check_written(operator.name, operator.written_among(args, kwargs))
        if not tensors and operator.makes_tensor and device_type(kwargs) in (None, "cpu"):
            return make_constant(func, args, kwargs)
        if tensors and not any(it.is_meta for it in tensors) and self._is_small(tensors):
            on_meta = self._on_meta(call, has_tensors=True)
            result = run_for_real(func, call, on_meta)
            self._keep_moved(func, call, result)
            return result
        if operator.name in SHAPED_BY_VALUES or _has_mask_index(operator, args):
            return self._run_on_values(operator, func, call, tensors)
        if operator.name == "_to_copy" and device_type(kwargs) == "cpu":
            known = self._values.of(tensors[0])
            if known is not None:
                return func(known, **kwargs)
        meta_call = self._on_meta(call, has_tensors=bool(tensors))
        result = self._run_on_meta(operator, func, meta_call)
        self._keep_values(operator, func, (args, kwargs), tensors, result)
        return self._with_originals(result)

    def _keep_moved(self, func: torch._ops.OpOverload, call: Arguments, result: object) -> None:
        """What goes from the CPU to a device keeps its values."""
        import torch

        args, kwargs = call
        if isinstance(result, torch.Tensor) and result.is_meta and kwargs.get("device") is not None:
            self._values.remember(result, func(*args, **{**kwargs, "device": "cpu"}))

    def _is_small(self, tensors: list[torch.Tensor]) -> bool:
        return all(
            it.numel() <= self._values.largest and self._values.of(it) is not None for it in tensors
        )

    def _run_on_meta(
        self, operator: Operator, func: torch._ops.OpOverload, call: Arguments
    ) -> object:
        args, kwargs = call
        check_dtypes(operator.name, tensors_in(args, kwargs))
        whole = WHOLE_ON_META.get(operator.name)
        if whole is not None:
            return whole(func, args, kwargs)
        try:
            return func(*args, **kwargs)
        except (NotImplementedError, RuntimeError) as err:
            if not lacks_shape_rule(err):
                raise
            result = run_on_zeros(operator, func, call, err)
            self._guessed = "it has no shape rule for meta tensors"
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
        args, kwargs = call
        made = tensors_in((result,), {})
        is_small = sum(it.numel() for it in made) <= self._values.largest
        if not is_small or not self._are_known(operator, tensors, made):
            for written in operator.written_among(args, kwargs):
                self._values.forget(written)
            return
        is_random = _is_random(operator)
        is_guess = is_random or any(self._values.is_guessed(it) for it in tensors)
        if is_guess and not operator.is_mutable and not is_random:
            late = [it for it in enumerate(made) if it[1].is_meta and not _is_among(it[1], tensors)]
            self._values.remember_later(late, func, args, kwargs)
            return
        try:
            real_result = func(
                *self._values.real_arguments(args), **self._values.real_keywords(kwargs)
            )
        except (NotImplementedError, RuntimeError):  # not for this dtype on a CPU
            for written in operator.written_among(args, kwargs):
                self._values.forget(written)
            return
        if operator.is_mutable:  # the values that are kept have changed with it
            guessed = operator.written_among(args, kwargs) if is_guess else ()
        else:
            for meta, value in zip(made, tensors_in((real_result,), {}), strict=True):
                if meta.is_meta:
                    self._values.remember(meta, value)
            guessed = tuple(made) if is_guess else ()
        for it in guessed:
            self._values.mark_guessed(it)

    def _are_known(
        self, operator: Operator, tensors: list[torch.Tensor], made: list[torch.Tensor]
    ) -> bool:
        """Whether the values of what an operation gives follow from what is known."""
        values = self._values
        is_known = values.is_known if values.is_trial() else lambda it: values.of(it) is not None
        known = all(map(is_known, tensors)) if tensors else operator.name in CONSTANTS
        known = known or (operator.name in CONSTANTS_OF_SHAPE and not operator.is_mutable)
        if operator.name in UNWRITTEN:  # what is written to it may be known
            is_number = any(it.is_floating_point() or it.is_complex() for it in made)
            return values.is_trial() or not is_number
        if _is_random(operator):
            return values.is_trial() and all(map(is_known, tensors))
        return known

    def _run_on_values(
        self,
        operator: Operator,
        func: torch._ops.OpOverload,
        call: Arguments,
        tensors: list[torch.Tensor],
    ) -> object:
        """Operations whose output's shape is in the values: exact where these are known."""
        args, kwargs = call
        is_known = all(self._values.of(it) is not None for it in tensors)
        is_guess = any(map(self._values.is_guessed, tensors))
        if operator.name == "index" and not is_known:
            args = self._mask_as_numbers(args)
            meta_args, meta_kwargs = self._on_meta((args, kwargs), has_tensors=True)
            return func(*meta_args, **meta_kwargs)
        if operator.name == "_pack_padded_sequence":
            return self._pack(func, args)
        if not is_known:
            if operator.name not in ASSUMED:
                raise ValueQuestion(operator.name)
            self._assume(ASSUMED[operator.name])
            return at_most(operator.name, tensors)
        if is_guess:
            self._assume(ONE_RUN)
        value = func(*self._values.real_arguments(args), **self._values.real_keywords(kwargs))
        if not any(it.is_meta for it in tensors):
            return value
        result = to_meta(value)
        made = zip(tensors_in((result,), {}), tensors_in((value,), {}), strict=True)
        for meta, real in made:
            self._values.remember(meta, real)
            if is_guess:
                self._values.mark_guessed(meta)
        return result

    def _pack(self, func: torch._ops.OpOverload, args: tuple[object, ...]) -> object:
        padded, lengths = tensors_in(args, {})
        known = self._values.of(lengths)
        if known is None:
            raise ValueQuestion("pack_padded_sequence")
        if self._values.is_guessed(lengths):
            self._assume(ONE_RUN)
        return pack_on_meta(func, padded, known, batch_first=bool(args[2]))

    def _mask_as_numbers(self, args: tuple[object, ...]) -> tuple[object, ...]:
        """`x[mask]` as `x[i, j]`, which has a shape without the values of x."""
        import torch

        indices: list[object] = []
        for index in args[1]:  # type: ignore[attr-defined] # index(x, indices)
            if isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8):
                known = self._values.of(index)
                if known is None:
                    self._assume(FULL_MASK)
                    known = torch.ones(index.shape, dtype=torch.bool)
                elif self._values.is_guessed(index):
                    self._assume(ONE_RUN)
                indices += list(known.nonzero(as_tuple=True))
            else:
                indices.append(index)
        return args[0], indices, *args[2:]

    def _answer(
        self, operator: Operator, func: torch._ops.OpOverload, args: tuple[object, ...]
    ) -> object:
        tensors = tensors_in(args, {})
        is_known = all(self._values.of(it) is not None for it in tensors)
        is_guess = any(map(self._values.is_guessed, tensors))
        convention = None if is_known and not is_guess else convention_here()
        if convention is not None:
            self._assume(convention.assumption)
            return convention.answer
        if not is_known:
            raise ValueQuestion(AS_WRITTEN.get(operator.name, operator.name))
        if is_guess:
            self._assume(ONE_RUN)
        return func(*self._values.real_arguments(args))

    def _assume(self, text: str) -> None:
        if self._observer is not None:
            self._observer.assumed(text)


def _is_random(operator: Operator) -> bool:
    return any(part in operator.name for part in RANDOM)


def _is_among(tensor: torch.Tensor, tensors: list[torch.Tensor]) -> bool:
    return any(it is tensor for it in tensors)


def _has_mask_index(operator: Operator, args: tuple[object, ...]) -> bool:
    import torch

    if operator.name != "index":
        return False
    return any(
        isinstance(it, torch.Tensor) and it.dtype in (torch.bool, torch.uint8)
        for it in args[1]  # type: ignore[attr-defined] # index(x, indices)
    )
