"""One forward pass with a memory: calls that were seen before are not run again.

A key has everything that a result may depend on: the function; of each tensor its type, shape,
strides, dtype, and whether it is a weight; which arguments are the same object, or lie in the
same memory; each scalar with its type, since 1, 1.0 and True are equal; which values are known;
the modes around the call, and the kind of device. It has no values: a call that reads one is run every time, and so is
one whose outputs are not plain tensors on meta.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache, partial
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from irene.worker.meta.device_path import current_device_type, enabled_attention
from irene.worker.meta.memo import MEMO, Entry, Fresh, Key, Memo, Plain, Plan, Same, Several, View
from irene.worker.meta.patches import PURE_MODULES, calls_originals, note_originals
from irene.worker.meta.tensors import has_storage
from irene.worker.meta.weights import Weights
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch

Function = Callable[..., Any]
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


class _Mark(NamedTuple):
    """What is noted on a tensor while a forward pass lasts."""

    session: object
    owner: int  # id of the tensor: a copy of it carries the mark of the original
    description: int
    storage: int
    offset: int  # in elements
    is_meta: bool


_mark = partial(tuple.__new__, _Mark)  # ten times as fast as the constructor


class _Recording:
    """The notes of a function that runs, until something shows that it has to run every time."""

    __slots__ = ("is_lasting", "notes")

    def __init__(self) -> None:
        self.notes: list[object] = []
        self.is_lasting = True


class Recall:
    """The memo in use; `taker` gets the notes of calls whether they ran or not."""

    def __init__(
        self, values: KnownValues, weights: Weights, taker: Taker, memo: Memo = MEMO
    ) -> None:

        memo.make_room()
        note_originals()
        self._values = values
        self._weights = weights
        self._taker = taker
        self._memo = memo
        self._session = object()
        self._recording: _Recording | None = None
        self._is_inside = False  # an operation that runs
        self._shadowed: dict[int, torch.Tensor] = {}
        self._torch = _Torch()
        self._direct = _direct()
        self._types = _types()

    def function(self, func: Function, args: Arguments, kwargs: Keywords) -> object:
        """A call of a torch function by Python code."""
        if self._is_inside or func in self._direct:
            return func(*args, **kwargs)
        tensors: list[torch.Tensor] = []
        key = self._key_of(func, tensors, args, kwargs)
        entry = None if key is None else self._memo.entries.get(key, False)
        if key is None or entry is None:
            return func(*args, **kwargs)
        if entry is not False:
            return self._again(entry, func, args, kwargs, tensors)  # type: ignore[arg-type] # True is none
        before = _metadata(tensors)
        result, recording = self._recorded(func, args, kwargs)
        made = None
        if recording.is_lasting and _metadata(tensors) == before:
            made = self._entry(func.__name__, result, tensors, tuple(recording.notes))
        self._memo.put(key, made)
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
        key = self._key([func, self._torch.default_dtype()], tensors, args, kwargs)
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
        self._shadowed[id(tensor)] = tensor
        unmark(tensor)

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

    def _key_of(
        self, func: Function, tensors: list[torch.Tensor], args: Arguments, kwargs: Keywords
    ) -> Key | None:
        """The key of a call of a function; None for one that runs every time."""
        if not _is_torchs(func):
            for argument in args:
                if isinstance(argument, self._torch.tensor):
                    unmark(argument)  # `x.data = y` is such a function
            if getattr(func, "__name__", "") == "__set__" and len(args) == 2:
                self._values.exchange(*args)
            return None
        if type(func) is FunctionType and not calls_originals(func):
            return None
        state = self._torch
        if not state.is_inference() or state.functorch() is not None or state.n_modes() > 1:
            return None
        parts = [
            func,
            current_device_type(),
            enabled_attention(),
            state.default_dtype(),
            state.is_autocast() and _autocast(),
            state.is_deterministic(),
        ]
        return self._key(parts, tensors, args, kwargs)

    def _key(
        self,
        parts: list[Hashable],
        tensors: list[torch.Tensor],
        args: Arguments,
        kwargs: Keywords,
    ) -> Key | None:
        """`parts` and the arguments; None where one is neither tensor nor scalar, or none is one.

        The tensors among the arguments are added to `tensors`.
        """
        marks: list[_Mark] = []
        if not self._add(args, parts, tensors, marks):
            return None
        if kwargs:
            parts.extend(kwargs)
            if not self._add(kwargs.values(), parts, tensors, marks):
                return None
        if len(marks) > 1:
            if len({it.storage for it in marks}) < len(marks):
                parts.append(_arrangement(tensors, marks))
        elif not marks:
            return None
        values = self._values
        if values.has_any() or not all(it.is_meta for it in marks):
            parts.append(tuple([values.is_known(it) for it in tensors]))
        return tuple(parts)

    def _add(
        self,
        values: Iterable[Any],
        parts: list[Any],  # hashable
        tensors: list[torch.Tensor],
        marks: list[_Mark],
    ) -> bool:
        tensor_types, scalar_types = self._types
        session = self._session
        for value in values:
            kind = type(value)
            if kind in tensor_types:
                mark = getattr(value, "_irene_mark", None)
                if mark is None or mark.session is not session or mark.owner != id(value):
                    if not has_storage(value) or id(value) in self._shadowed:
                        return False
                    mark = self.mark(value)
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

    def mark(self, tensor: torch.Tensor) -> _Mark:
        """The description of a tensor, made once a pass."""
        mark: _Mark | None = getattr(tensor, "_irene_mark", None)
        if mark is not None and mark.session is self._session and mark.owner == id(tensor):
            return mark
        storage = tensor.untyped_storage()._cdata
        description = self._memo.describe(
            (
                type(tensor),
                tuple(tensor.shape),
                tensor.stride(),
                tensor.dtype,
                tensor.is_meta,
                tensor.requires_grad,
                tensor.is_conj(),
                tensor.is_neg(),
                tensor.is_quantized,
                self._weights.n_parameters(storage),
            )
        )
        offset = tensor.storage_offset()
        mark = _mark((self._session, id(tensor), description, storage, offset, tensor.is_meta))
        tensor._irene_mark = mark  # type: ignore[attr-defined] # for the pass
        return mark

    # Outputs

    def _entry(
        self, name: str, result: object, tensors: list[torch.Tensor], notes: tuple[object, ...]
    ) -> Entry | None:
        if name.partition(".")[0] in _BY_OFFSET:
            return None
        if not notes and name.endswith("_") and not name.endswith("__"):
            return None  # it changes more than contents: `requires_grad_`, `t_`
        plan = _Planning(self, self._values, self._weights, tensors).plan(result)
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
        known: list[tuple[int, torch.Tensor]] = []
        with self._torch.without_dispatch():
            result = self._made(plan, tensors, known)
        if known:
            self._values.remember_later(known, func, args, kwargs)
        return result

    def _made(
        self, plan: Plan, tensors: list[torch.Tensor], known: list[tuple[int, torch.Tensor]]
    ) -> object:
        if type(plan) is Fresh:
            shape, stride, dtype, is_weight, known_as, description = plan
            made = self._torch.empty(shape, stride, dtype=dtype, device="meta")
            storage, offset = made.untyped_storage()._cdata, 0
            if is_weight:
                self._weights.add(made, 0)
        elif type(plan) is View:
            of, shape, stride, offset, is_detached, known_as, description = plan
            base = tensors[of]
            base_mark = self.mark(base)
            storage, offset = base_mark.storage, offset + base_mark.offset
            made = self._torch.view(base, shape, stride, offset)
            if is_detached:
                made = made.detach()
        elif type(plan) is Same:
            return tensors[plan.of]
        elif type(plan) is Plain:
            return plan.value
        else:
            assert type(plan) is Several
            return _sequence(plan.type, [self._made(it, tensors, known) for it in plan.parts])
        mark = _mark((self._session, id(made), description, storage, offset, True))
        made._irene_mark = mark  # type: ignore[attr-defined] # for the pass
        if known_as is not None:
            known.append((known_as, made))
        return made


class _Torch:
    """What is asked of torch for every call."""

    def __init__(self) -> None:
        import torch

        self.is_inference = torch.is_inference_mode_enabled
        self.is_grad = torch.is_grad_enabled
        self.is_autocast = torch._C._is_any_autocast_enabled
        self.functorch = torch._C._functorch.peek_interpreter_stack
        self.n_modes = torch._C._len_torch_dispatch_stack  # more than ours: the user's
        self.default_dtype = torch.get_default_dtype
        self.is_deterministic = torch.are_deterministic_algorithms_enabled
        self.without_dispatch = torch._C._DisableTorchDispatch
        self.without_function = torch._C.DisableTorchFunction
        self.empty = torch.empty_strided
        self.view = torch.as_strided
        self.tensor = torch.Tensor


class _Planning:
    """Plans how the outputs of one call are made again; None where they cannot be."""

    def __init__(
        self, recall: Recall, values: KnownValues, weights: Weights, tensors: list[torch.Tensor]
    ) -> None:
        self._recall = recall
        self._values = values
        self._weights = weights
        self._arguments = tensors
        self._storages = [it.untyped_storage()._cdata for it in tensors]
        self._made: list[int] = []  # storages of outputs
        self._n_tensors = 0

    def plan(self, value: Any) -> Plan | None:  # noqa: ANN401 - what a torch function returns
        import torch

        if isinstance(value, torch.Tensor):
            self._n_tensors += 1
            for i, argument in enumerate(self._arguments):
                if argument is value:
                    return Same(i)
            return self._tensor(value)
        if type(value) in _types()[1]:
            return Plain(value)
        if isinstance(value, (tuple, list)):
            parts = tuple(self.plan(it) for it in value)
            return None if None in parts else Several(type(value), parts)  # type: ignore[arg-type] # none is None
        return None

    def _tensor(self, tensor: torch.Tensor) -> Fresh | View | None:
        import torch

        if type(tensor) is not torch.Tensor or not _is_plain(tensor):
            return None
        storage, offset = tensor.untyped_storage()._cdata, tensor.storage_offset()
        shape, stride = tuple(tensor.shape), tensor.stride()
        known_as = self._n_tensors - 1 if self._values.is_known(tensor) else None
        if storage in self._storages:
            of = self._storages.index(storage)
            base = self._arguments[of]
            if base.dtype is not tensor.dtype or not _is_plain(base):
                return None
            distance = int(offset - base.storage_offset())
            description = self._recall.mark(tensor).description
            is_detached = base.requires_grad and not tensor.requires_grad
            return View(of, shape, stride, distance, is_detached, known_as, description)
        if storage in self._made or offset:
            return None  # outputs that share memory which no argument has
        self._made.append(storage)
        is_weight = self._weights.n_parameters(storage) is not None
        description = self._recall.mark(tensor).description
        return Fresh(shape, stride, tensor.dtype, is_weight, known_as, description)


def unmark(tensor: torch.Tensor) -> None:
    """Take off what a forward pass noted on a tensor."""
    vars(tensor).pop("_irene_mark", None)


def _is_plain(tensor: torch.Tensor) -> bool:
    import torch

    return (
        tensor.is_meta
        and tensor.layout is torch.strided
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
    )


def _metadata(tensors: list[torch.Tensor]) -> list[Hashable]:
    return [(it.shape, it.stride(), it.untyped_storage()._cdata) for it in tensors]


def _arrangement(tensors: list[torch.Tensor], marks: list[_Mark]) -> Hashable:
    """Which tensors are one object, and how those in one memory lie to each other."""
    objects: dict[int, int] = {}
    memories: dict[int, int] = {}
    arrangement = []
    for i, (tensor, mark) in enumerate(zip(tensors, marks, strict=True)):
        first = memories.setdefault(mark.storage, i)
        distance = mark.offset - marks[first].offset
        arrangement.append((objects.setdefault(id(tensor), i), first, distance))
    return tuple(arrangement)


def _sequence(kind: Any, parts: list[object]) -> object:  # noqa: ANN401 - a type of sequence
    if kind is list:
        return parts
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


# Their result hangs on where in its memory a tensor begins.
_BY_OFFSET = frozenset({"as_strided", "as_strided_", "as_strided_copy", "as_strided_scatter"})

_ASKED_DIRECTLY = (
    "shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_meta", "is_cuda", "is_cpu",
    "is_sparse", "is_quantized", "is_nested", "is_leaf", "itemsize", "nbytes", "grad", "grad_fn",
    "names", "is_mps", "is_xpu", "is_mkldnn", "is_sparse_csr", "output_nr", "_version", "_base",
)  # fmt: skip
_ANSWERED_DIRECTLY = (
    "size", "dim", "numel", "nelement", "ndimension", "stride", "storage_offset", "is_contiguous",
    "is_floating_point", "is_complex", "is_signed", "is_conj", "is_neg", "is_inference",
    "element_size", "get_device", "data_ptr", "untyped_storage", "is_same_size", "has_names",
    "type", "__len__", "__hash__",
)  # fmt: skip


@cache
def _direct() -> frozenset[Function]:
    """Questions about metadata: asked faster than looked up."""
    import torch

    tensor = torch.Tensor
    asked = (getattr(tensor, it, None) for it in _ASKED_DIRECTLY)
    answered = (getattr(tensor, it, None) for it in _ANSWERED_DIRECTLY)
    return frozenset(
        [it.__get__ for it in asked if it is not None] + [it for it in answered if it is not None]
    )


@cache
def _is_torchs(func: Function) -> bool:
    """Whether a function is torch's own, without a state that it changes."""
    import torch

    name = getattr(func, "__name__", "")
    if name in ("__set__", "__delete__", "__deepcopy__", "__reduce_ex__"):
        return False
    if isinstance(func, torch._ops.OpOverload):
        return func.namespace == "aten"
    if isinstance(func, torch._ops.OpOverloadPacket):
        return str(func._qualified_op_name).startswith("aten::")
    if isinstance(func, FunctionType):
        return func.__module__ in PURE_MODULES
    if name == "__get__":
        return isinstance(getattr(func, "__self__", None), _GETSET)
    return isinstance(func, (BuiltinFunctionType, _METHOD, _SLOT))


_GETSET = (type(FunctionType.__code__), type(property()))
_METHOD = type(str.join)
_SLOT = type(object.__repr__)


def _autocast() -> Hashable:
    import torch

    return tuple(
        (kind, torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
        if torch.is_autocast_enabled(kind)
    )


@cache
def _types() -> tuple[frozenset[type], frozenset[type]]:
    """The types of tensors and of scalars that keys are made of."""
    import torch

    tensors = (torch.Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", torch.nn.Parameter))
    scalars = (
        bool, int, float, complex, str, type(None), type(...), torch.Size, torch.dtype,
        torch.device, torch.layout, torch.memory_format,
    )  # fmt: skip
    return frozenset(tensors), frozenset(scalars)
