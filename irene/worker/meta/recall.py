"""One forward pass with a memory: calls that were seen before are not run again.

What is remembered of a call is how to make its outputs, and the notes on the operations that it
issued. A call whose outputs are not plain tensors on meta, or that reads a value, runs every time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from irene.tree import DeviceType
from irene.worker.meta.functions import BY_OFFSET, Function, asking
from irene.worker.meta.keys import Keys
from irene.worker.meta.layers import layer_of, read
from irene.worker.meta.marks import Marks
from irene.worker.meta.memo import MEMO, Entry, Fresh, Key, Memo, Plain, Same, View
from irene.worker.meta.patches import note_originals
from irene.worker.meta.plans import Known, Making, Planning
from irene.worker.meta.weights import Weights
from irene.worker.values import KnownValues
from irene.worker.watching import Make

if TYPE_CHECKING:
    import torch

Arguments = tuple[Any, ...]
Keywords = Mapping[str, Any]


class Taker(Protocol):
    """Who takes the notes on what operations issued, in the order of execution."""

    def take(self, notes: tuple[object, ...]) -> None:
        """Notes of one call that the user's code made."""


class Ran(NamedTuple):
    """What an operation gave when it ran."""

    result: object
    note: object | None
    depends_on_values: bool


class _Recording:
    """The notes of a function that runs, until something shows that it has to run every time."""

    __slots__ = ("is_lasting", "notes")

    def __init__(self) -> None:
        self.notes: list[object] = []
        self.is_lasting = True


class Recall:
    """The memo in use; `taker` gets the notes of calls whether they ran or not."""

    def __init__(
        self,
        values: KnownValues,
        weights: Weights,
        taker: Taker,
        device_type: DeviceType,
        memo: Memo = MEMO,
    ) -> None:
        import torch

        memo.make_room()
        note_originals()
        self._values = values
        self._weights = weights
        self._taker = taker
        self._memo = memo
        self._marks = Marks(memo, weights)
        self._keys = Keys(values, self._marks, memo, device_type)
        self._making = Making(self._marks, weights)
        self._recording: _Recording | None = None
        self._is_inside = False  # an operation that runs
        self._asking = asking()
        self._without_dispatch = torch._C._DisableTorchDispatch
        self._without_function = torch._C.DisableTorchFunction

    def function(self, func: Function, args: Arguments, kwargs: Keywords) -> object:
        """A call of a torch function by Python code."""
        if self._is_inside or func in self._asking:
            return func(*args, **kwargs)
        tensors: list[torch.Tensor] = []
        key = self._keys.of_function(func, args, kwargs, tensors)
        if key is None:
            return func(*args, **kwargs)
        entry = self._memo.entries.get(key, False)
        if entry is None:
            return func(*args, **kwargs)
        if entry is not False:
            return self._again(entry, func, args, kwargs, tensors)  # type: ignore[arg-type] # True is none
        return self._first(func.__name__, key, tensors, func, args, kwargs)

    def calling(self, call: Function) -> Make:
        """Makes calls of modules by `call`, torch's own; those of known layers are remembered."""
        return partial(self._module, call)

    def _module(
        self, call: Function, module: torch.nn.Module, args: Arguments, kwargs: dict[str, Any]
    ) -> object:
        layer = None if self._is_inside or kwargs else layer_of(module)
        attributes = None if layer is None else read(layer, module)
        if layer is None or attributes is None:
            return call(module, *args, **kwargs)
        tensors: list[torch.Tensor] = []
        with self._without_function():
            key = self._keys.among_torchs(layer.type, (*args, *attributes), {}, tensors)
            entry = None if key is None else self._memo.entries.get(key, False)
            if entry:
                return self._again(entry, call, (module, *args), {}, tensors)  # type: ignore[arg-type] # True is none
        if key is None or entry is None:
            return call(module, *args)
        result = self._first(layer.type.__name__, key, tensors, call, (module, *args), {})
        if _has_known(self._memo.entries.get(key)):  # they would be computed by the function alone
            self._memo.put(key, None)
        return result

    def operation(
        self,
        func: torch._ops.OpOverload,
        args: Arguments,
        kwargs: Keywords,
        run: Callable[[], Ran],
    ) -> object:
        """One operation as it reaches the dispatcher."""
        tensors: list[torch.Tensor] = []
        key = self._keys.of_operation(func, args, kwargs, tensors)
        entry = None if key is None else self._memo.entries.get(key, False)
        if key is None or entry is None:
            return self._ran(run).result
        if entry is not False:
            return self._again(entry, func, args, kwargs, tensors)  # type: ignore[arg-type] # True is none
        before = _metadata(tensors)
        ran = self._ran(run)
        made = None
        if not ran.depends_on_values and _metadata(tensors) == before:
            notes = () if ran.note is None else (ran.note,)
            name = func._overloadpacket.__name__
            made = self._entry(name, ran.result, tensors, notes)
        self._memo.put(key, made)
        return ran.result

    def spoil(self) -> None:
        """What runs now does more than issue notes, or depends on more than its key."""
        recording = self._recording
        if recording is not None and recording.is_lasting:
            recording.is_lasting = False
            if recording.notes:
                self._taker.take(tuple(recording.notes))

    def shadow(self, tensor: torch.Tensor) -> None:
        """From now on a tensor is not what its metadata say: another one stands for it."""
        self._marks.shadow(tensor)

    def _first(
        self,
        name: str,
        key: Key,
        tensors: list[torch.Tensor],
        func: Function,
        args: Arguments,
        kwargs: Keywords,
    ) -> object:
        before = _metadata(tensors)
        result, recording = self._recorded(func, args, kwargs)
        made = None
        if recording.is_lasting and _metadata(tensors) == before:
            made = self._entry(name, result, tensors, tuple(recording.notes))
        self._memo.put(key, made)
        return result

    def _ran(self, run: Callable[[], Ran]) -> Ran:
        """Run an operation; functions that its rule for meta calls in Python issue nothing."""
        outer, self._is_inside = self._is_inside, True
        try:
            ran = run()
        finally:
            self._is_inside = outer
        if ran.depends_on_values:
            self.spoil()
        if ran.note is not None:
            self._note((ran.note,))
        return ran

    def _note(self, notes: tuple[object, ...]) -> None:
        recording = self._recording
        if recording is not None and recording.is_lasting:
            recording.notes.extend(notes)
        else:
            self._taker.take(notes)

    def _recorded(
        self, func: Function, args: Arguments, kwargs: Keywords
    ) -> tuple[object, _Recording]:
        outer, recording = self._recording, _Recording()
        self._recording = recording
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = func(*args, **kwargs)
        finally:
            self._recording = outer
            if recording.is_lasting and recording.notes:
                self._note(tuple(recording.notes))
        for it in caught:  # one who records warnings gets them every time
            recording.is_lasting = False
            warnings.warn_explicit(it.message, it.category, it.filename, it.lineno)
        return result, recording

    def _entry(
        self, name: str, result: object, tensors: list[torch.Tensor], notes: tuple[object, ...]
    ) -> Entry | None:
        if name.partition(".")[0] in BY_OFFSET:
            return None
        if not notes and name.endswith("_") and not name.endswith("__"):
            return None  # it changes more than contents: `requires_grad_`, `t_`
        plan = Planning(self._marks, self._values, self._weights, tensors).plan(result)
        if plan is None:
            return None
        if not (type(plan) is Fresh or all(it.is_meta for it in tensors)):
            return None  # what comes from real memory may be its values
        return Entry(plan, notes)

    def _again(
        self,
        entry: Entry,
        func: Function,
        args: Arguments,
        kwargs: Keywords,
        tensors: list[torch.Tensor],
    ) -> object:
        if entry.notes:
            self._note(entry.notes)
        plan = entry.plan
        if type(plan) is Same:
            return tensors[plan.of]
        if type(plan) is Plain:
            return plan.value
        known: Known = []
        with self._without_dispatch():
            result = self._making.made(plan, tensors, known)
        if known:
            self._values.remember_later(known, func, args, kwargs)
        return result


def _has_known(entry: Entry | None) -> bool:
    """Whether the values of an output are known."""
    plan = None if entry is None else entry.plan
    return isinstance(plan, (Fresh, View)) and plan.known_as is not None


def _metadata(tensors: list[torch.Tensor]) -> list[Hashable]:
    return [(it.shape, it.stride(), it.untyped_storage()._cdata) for it in tensors]
