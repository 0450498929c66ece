"""What happened in a forward pass: calls of modules, and the operations inside each."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, cast

from irene.tree import Assumption, Location, Node, Unpriced
from irene.worker.frames import UserCode
from irene.worker.meta import ModelParts, Operator, Weights, tensors_in
from irene.worker.tracing.notes import Note, note_of
from irene.worker.tracing.trees import Event, Folding
from irene.worker.watching import Make, watching_calls

if TYPE_CHECKING:
    import torch


class _Open:
    """A call of a module that has not returned."""

    __slots__ = ("called_at", "created_at", "events", "module", "scope")

    def __init__(
        self,
        module: torch.nn.Module,
        scope: str,
        called_at: Location | None,
        created_at: Location | None,
    ) -> None:
        self.module = module
        self.scope = scope
        self.called_at = called_at
        self.created_at = created_at
        self.events: list[Event] = []


@dataclass(frozen=True, slots=True)
class FailedOperation:
    """The operation that stopped a forward pass, for the sentence that says so."""

    name: str
    shapes: tuple[str, ...]  # "float32[8, 128]"
    scope: str
    class_name: str
    at: Location | None


class Recorder:
    """Observes one forward pass of a model on this thread."""

    def __init__(
        self,
        parts: ModelParts,
        weights: Weights,
        user_code: UserCode,
        created_at: Mapping[torch.nn.Module, Location],
    ) -> None:
        self.weights = weights
        self.unpriced: list[Unpriced] = []
        self.assumptions: list[Assumption] = []
        self.failure: FailedOperation | None = None
        self.last_scope = ""  # of the innermost module that raised
        self._scopes = parts.scopes
        self._user_code = user_code
        self._created_at = created_at
        self._folding = Folding(parts.n_parameters)
        self._root = _Open(parts.model, "", None, created_at.get(parts.model))
        self._is_root_called = False
        self._stack = [self._root]
        self._thread = threading.get_ident()

    def root(self) -> Node:
        """The tree of the pass that was made."""
        node = self._folded(self._root)
        return replace(node, kind="model")

    def watching_calls(self) -> AbstractContextManager[None]:
        """Every call of a module, those made in forward included, is seen."""
        return watching_calls(self._called)

    def _called(
        self,
        make: Make,
        module: torch.nn.Module,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        if threading.get_ident() != self._thread:
            self._leave_unpriced(type(module).__name__, "it runs on another thread")
            return make(module, args, kwargs)
        opened = self._enter(module)
        try:
            return make(module, args, kwargs)
        except BaseException:
            self.last_scope = self.last_scope or opened.scope
            raise
        finally:
            self._leave(opened)

    def _enter(self, module: torch.nn.Module) -> _Open:
        called_at = self._here(sys._getframe(2))
        if module is self._root.module and not self._is_root_called and len(self._stack) == 1:
            self._is_root_called = True
            self._root.called_at = called_at
            return self._root
        created_at = self._created_at.get(module, self._stack[-1].created_at)
        opened = _Open(module, self._scope_of(module), called_at, created_at)
        self._stack.append(opened)
        return opened

    def _leave(self, opened: _Open) -> None:
        if opened is self._root:
            return
        self._stack.pop()
        self._stack[-1].events += (self._folded(opened), None)

    def _folded(self, opened: _Open) -> Node:
        return self._folding.node(
            opened.module, opened.scope, opened.called_at, opened.created_at, opened.events
        )

    def _scope_of(self, module: torch.nn.Module) -> str:
        """As in `named_modules()`; a module made in forward has none, so it gets its class."""
        scope = self._scopes.get(module)
        if scope is not None:
            return scope
        return f"{self._stack[-1].scope}.<{type(module).__name__}>".removeprefix(".")

    def note_of(
        self,
        operator: Operator,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result: object,
        guessed: str | None,
    ) -> Note | None:
        return note_of(operator, args, kwargs, result, guessed, self.weights)

    def take(self, notes: tuple[object, ...]) -> None:
        at = self._here(sys._getframe(1))
        events = self._stack[-1].events
        for note in cast("tuple[Note, ...]", notes):
            events += (note, at)
            if note.assumption is not None:
                self.assumptions.append(Assumption(note.assumption, at))
            if note.unpriced is not None:
                self.unpriced.append(Unpriced(*note.unpriced, at))

    def assumed(self, text: str) -> None:
        at = self._here(sys._getframe(1))
        self.assumptions.append(Assumption(text, at))

    def failed(
        self, operator: Operator, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        call = self._stack[-1]
        self.failure = FailedOperation(
            name=operator.name,
            shapes=tuple(_written(it) for it in tensors_in(args, kwargs)),
            scope=call.scope,
            class_name=type(call.module).__name__,
            at=self._here(sys._getframe(1)),
        )

    def _here(self, frame: FrameType) -> Location | None:
        """The user's line at or above `frame`: not above the innermost call of a module."""
        end = Recorder._called.__code__
        return self._user_code.location(frame, end, self._stack[-1].called_at)

    def _leave_unpriced(self, name: str, reason: str) -> None:
        at = self._user_code.location(sys._getframe(2))
        self.unpriced.append(Unpriced(name, reason, at))


def _written(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype)[6:]}{list(tensor.shape)}"
