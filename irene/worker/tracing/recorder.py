"""What happened in a forward pass: calls of modules, and the operations inside each."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from irene.tree import Assumption, Location, Unpriced
from irene.worker import ops
from irene.worker.frames import UserCode
from irene.worker.meta import Operator, tensors_in
from irene.worker.ops.costs import Cost, Operand

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class PricedOperation:
    """One primitive that the device runs, and the line that issued it."""

    cost: Cost
    called_at: Location | None


@dataclass(slots=True)
class ModuleCall:
    """One call of a module; `events` are in the order of execution."""

    module: torch.nn.Module
    scope: str
    called_at: Location | None
    events: list[PricedOperation | ModuleCall] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FailedOperation:
    """The operation that stopped a forward pass, for the sentence that says so."""

    name: str
    shapes: tuple[str, ...]  # "float32[8, 128]"
    scope: str
    class_name: str
    at: Location | None


class Recorder:
    """Observes one forward pass of `model` on this thread."""

    def __init__(self, model: torch.nn.Module, weights: Weights, user_code: UserCode) -> None:
        self.root: ModuleCall | None = None
        self.unpriced: list[Unpriced] = []
        self.assumptions: list[Assumption] = []
        self._without_rule: set[str] = set()  # neither here nor in torch's own shape rules
        self.failure: FailedOperation | None = None
        self.last_module: ModuleCall | None = None
        self._scopes = {module: scope for scope, module in model.named_modules()}
        self._weights = weights
        self._user_code = user_code
        self._stack: list[ModuleCall] = []

    @contextmanager
    def watching_calls(self) -> Iterator[None]:
        """Every call of a module on this thread, those made in forward included, is seen."""
        import torch

        original = torch.nn.Module.__call__
        thread = threading.get_ident()

        def call(module: torch.nn.Module, *args: object, **kwargs: object) -> object:
            if threading.get_ident() != thread:
                return original(module, *args, **kwargs)
            with self._entered(module):
                return original(module, *args, **kwargs)

        torch.nn.Module.__call__ = call  # type: ignore[method-assign] # restored below
        try:
            yield
        finally:
            torch.nn.Module.__call__ = original  # type: ignore[method-assign] # as it was

    @contextmanager
    def _entered(self, module: torch.nn.Module) -> Iterator[None]:
        called_at = self._user_code.location(sys._getframe(3))
        call = ModuleCall(module, self._scope_of(module), called_at)
        if self._stack:
            self._stack[-1].events.append(call)
        elif self.root is None:
            self.root = call
        self._stack.append(call)
        try:
            yield
        except BaseException:
            self.last_module = self.last_module or call
            raise
        finally:
            self._stack.pop()

    def _scope_of(self, module: torch.nn.Module) -> str:
        """As in `named_modules()`; a module made in forward has none, so it gets its class."""
        scope = self._scopes.get(module)
        if scope is not None:
            return str(scope)
        parent = self._stack[-1].scope if self._stack else ""
        return f"{parent}.<{type(module).__name__}>".removeprefix(".")

    def executed(
        self,
        operator: Operator,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result: object,
    ) -> None:
        if operator.name in ops.FREE or not self._stack:
            return
        if operator.name in self._without_rule:
            return
        if _is_sparse(args, kwargs, result):
            self._leave_unpriced(operator, "sparse and quantised tensors have no price")
            return
        costs = ops.cost_of(self._weights.call_of(operator, args, kwargs, result))
        if not costs:
            return
        at = self._user_code.location(sys._getframe(1))
        self._stack[-1].events.extend(PricedOperation(cost, at) for cost in costs)
        if operator.name in ops.ASSUMED:
            self.assumptions.append(Assumption(ops.ASSUMED[operator.name], at))

    def replaced(self, original: torch.Tensor, meta: torch.Tensor) -> None:
        self._weights.stand_in(original, meta)

    def guessed(self, operator: Operator, reason: str) -> None:
        if not ops.is_known(operator.name):
            self._without_rule.add(operator.name)
            self._leave_unpriced(operator, reason)

    def assumed(self, text: str) -> None:
        at = self._user_code.location(sys._getframe(1))
        self.assumptions.append(Assumption(text, at))

    def _leave_unpriced(self, operator: Operator, reason: str) -> None:
        at = self._user_code.location(sys._getframe(1))
        self.unpriced.append(Unpriced(operator.name, reason, at))

    def failed(
        self, operator: Operator, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        call = self._stack[-1] if self._stack else None
        self.failure = FailedOperation(
            name=operator.name,
            shapes=tuple(_written(it) for it in tensors_in(args, kwargs)),
            scope=call.scope if call else "",
            class_name=type(call.module).__name__ if call else "",
            at=self._user_code.location(sys._getframe(1)),
        )


class Weights:
    """Which tensors are parameters, or were computed from parameters and buffers alone."""

    def __init__(self) -> None:
        self._n_parameters: dict[int, int] = {}  # by storage
        self._kept: list[object] = []  # storages stay alive, so that no id is reused

    def add(self, tensor: torch.Tensor, n_parameters: int) -> None:
        storage = tensor.untyped_storage()
        self._n_parameters[storage._cdata] = n_parameters
        self._kept.append(storage)

    def stand_in(self, original: torch.Tensor, meta: torch.Tensor) -> None:
        """`meta` is the same weight as `original`."""
        known = self._n_parameters.get(original.untyped_storage()._cdata)
        if known is not None:
            self.add(meta, known)

    def call_of(
        self,
        operator: Operator,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result: object,
    ) -> ops.Call:
        """The metadata of an operation, all that its price depends on."""
        inputs: list[Operand] = []
        call = ops.Call(
            name=operator.name,
            args=tuple(self._described(it, inputs) for it in args),
            kwargs={name: self._described(it, inputs) for name, it in kwargs.items()},
            inputs=tuple(inputs),
            outputs=self._outputs(result),
        )
        if inputs and all(it.is_weight for it in inputs):
            for tensor in tensors_in((result,), {}):
                self._n_parameters.setdefault(tensor.untyped_storage()._cdata, 0)
                self._kept.append(tensor)
        return call

    def _outputs(self, result: object) -> tuple[Operand, ...]:
        return tuple(self._operand(it) for it in tensors_in((result,), {}))

    def _described(self, value: object, found: list[Operand]) -> object:
        import torch

        if isinstance(value, torch.Tensor):
            operand = self._operand(value)
            found.append(operand)
            return operand
        if type(value) in (list, tuple):
            return [self._described(it, found) for it in value]  # type: ignore[attr-defined] # of list or tuple
        return value

    def _operand(self, tensor: torch.Tensor) -> Operand:
        shape, itemsize = tuple(tensor.shape), tensor.element_size()
        stored = 1
        for size, stride in zip(shape, tensor.stride(), strict=True):
            stored *= size if stride else min(size, 1)
        storage = tensor.untyped_storage()._cdata
        n_parameters = self._n_parameters.get(storage)
        return Operand(
            shape=shape,
            dtype=str(tensor.dtype)[6:],  # without "torch."
            itemsize=itemsize,
            n_bytes=stored * itemsize,
            identity=hash((storage, tensor.storage_offset())),
            n_parameters=n_parameters or 0,
            is_weight=n_parameters is not None,
        )


def _is_sparse(args: tuple[object, ...], kwargs: Mapping[str, object], result: object) -> bool:
    """Whether a tensor is laid out in another way than by strides, or quantised."""
    import torch

    return any(
        it.layout is not torch.strided or it.is_quantized
        for it in (*tensors_in(args, kwargs), *tensors_in((result,), {}))
    )


def _written(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype)[6:]}{list(tensor.shape)}"
