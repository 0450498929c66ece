"""What a forked child remembers of new calls, for its parent: the next child begins with it.

Entries hold names of functions of torch, metadata and notes. They travel as a pickle that can
name nothing but the types of these: a parent reads what a child writes that has run the user's
code. A function is a key and no more, so it travels as words and is looked up, never called.
"""

from __future__ import annotations

import io
import pickle  # noqa: TID251 - nothing is stored: it goes from a child to its own parent
from collections.abc import Mapping
from functools import cache
from types import EllipsisType, MethodWrapperType, NoneType
from typing import Any

from irene.worker.meta.memo import MEMO, Key, Memo

_MOST_ENTRIES = 1 << 12
_OURS = frozenset(
    [
        ("irene.worker.meta.memo", "Entry"),
        ("irene.worker.meta.memo", "Fresh"),
        ("irene.worker.meta.memo", "Plain"),
        ("irene.worker.meta.memo", "Same"),
        ("irene.worker.meta.memo", "Several"),
        ("irene.worker.meta.memo", "View"),
        ("irene.worker.meta.sharing", "_constant"),
        ("irene.worker.meta.sharing", "_singleton_type"),
        ("irene.worker.ops.costs", "Cost"),
        ("irene.worker.tracing.notes", "interned"),
    ]
)
_BUILTINS = frozenset(
    ["slice", "Ellipsis", "complex", "list", "tuple", "int", "float", "bool", "str"]
)
_TORCH_TYPES = frozenset(
    ["Tensor", "Size", "device", "dtype", "layout", "memory_format", "Parameter", "Buffer"]
)


Since = tuple[int, int]
"""How many descriptions and entries a memo had learned at a moment."""


def moment(memo: Memo = MEMO) -> Since:
    """Now, for `encoded` later."""
    return len(memo.descriptions), len(memo.learned)


def encoded(since: Since, memo: Memo = MEMO) -> bytes:
    """What `memo` has learned since then; empty where that is nothing."""
    if moment(memo) < since:
        return b""  # it was full, and began anew
    descriptions = memo.descriptions[since[0] :]
    entries = memo.learned[since[1] :][:_MOST_ENTRIES]
    packed = [_packed(key, memo) for key in entries]
    kept = [it for it in packed if it is not None]
    if not kept:
        return b""
    return _dumped((since[0], descriptions, kept)) or b""


def learn(data: bytes, memo: Memo = MEMO) -> None:
    """Add what a child has learned; a memo that moved on meanwhile stays as it is.

    Raises:
        pickle.UnpicklingError: the data names something that no entry holds.
    """
    since, descriptions, packed = _loaded(data)
    if since != len(memo.descriptions):
        return
    for description in descriptions:
        memo.describe(description)
    for it in packed:
        place, rest, entry = _loaded(it)
        memo.put((_function(*place), *rest), entry)


def _packed(key: Key, memo: Memo) -> bytes | None:
    function, *rest = key
    place = _place_of(function)
    return None if place is None else _dumped((place, tuple(rest), memo.entries.get(key)))


# Functions

_OPERATOR, _ATTRIBUTE = "operator", "attribute"


def _place_of(function: object) -> tuple[str, ...] | None:
    """In words where a function of torch is found; None where it is in no known place."""
    import torch

    if isinstance(function, torch._ops.OpOverload):
        return (_OPERATOR, *function._schema.name.split("::"), function._overloadname)
    if isinstance(function, torch._ops.OpOverloadPacket):
        return (_OPERATOR, *function._qualified_op_name.split("::"))
    if isinstance(function, MethodWrapperType):
        return _ATTRIBUTE, str(getattr(function.__self__, "__name__", ""))
    name = getattr(function, "__name__", "")
    for owner, names in _owners().items():
        if getattr(names, name, None) is function:
            return owner, name
    return None


def _function(owner: str, *names: str) -> object:
    import torch

    try:
        if owner == _ATTRIBUTE:
            return vars(torch._C.TensorBase)[names[0]].__get__
        if owner == _OPERATOR:
            return _operator(*names)
        return getattr(_owners()[owner], names[0])
    except (AttributeError, KeyError, TypeError) as err:
        raise pickle.UnpicklingError(f"{owner} {'.'.join(names)} is in no entry") from err


def _operator(namespace: str, name: str, overload: str | None = None) -> object:
    import torch

    packet = getattr(getattr(torch.ops, namespace), name.partition(".")[0])
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        raise TypeError
    if overload is None:
        return packet
    found = getattr(packet, overload or "default")
    if not isinstance(found, torch._ops.OpOverload):
        raise TypeError
    return found


@cache
def _owners() -> Mapping[str, object]:
    """What holds the functions and layers that Python code calls, by a name of ours."""
    import torch

    held = vars(torch._C)
    return {
        "Tensor": torch.Tensor,
        "torch": held["_VariableFunctions"],
        "_nn": held["_nn"],
        "fft": held["_fft"],
        "linalg": held["_linalg"],
        "special": held["_special"],
        "nn": torch.nn,  # whose layers are remembered as a whole
        "functional": torch.nn.functional,
        "torch.functional": torch.functional,
    }


# Data


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - as pickle has it
        import torch

        if isinstance(obj, (torch.dtype, torch.layout, torch.memory_format)):
            # By itself it would name whichever module imports torch.
            return _constant, (str(obj).removeprefix("torch."),)
        if obj is NoneType or obj is EllipsisType:
            return _singleton_type, (obj is NoneType,)
        if isinstance(obj, type) and not _is_named(obj.__module__, obj.__name__):
            raise pickle.PicklingError(f"{obj} is in no entry")
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if not _is_named(module, name):
            raise pickle.UnpicklingError(f"{module}.{name} is in no entry")
        return super().find_class(module, name)


def _is_named(module: str, name: str) -> bool:
    """Whether entries hold values of that type; none of these does anything when it is called."""
    if module == "builtins":
        return name in _BUILTINS
    if module in ("torch", "torch.nn.parameter"):
        return name in _TORCH_TYPES
    if module == "torch.return_types":
        return name.isidentifier() and not name.startswith("_")
    return (module, name) in _OURS


def _constant(name: str) -> object:
    """`torch.float32` and its like."""
    import torch

    found = getattr(torch, name)
    if not isinstance(found, (torch.dtype, torch.layout, torch.memory_format)):
        raise pickle.UnpicklingError(f"torch.{name} is in no entry")
    return found


def _singleton_type(is_none: bool) -> type:
    return NoneType if is_none else EllipsisType


def _dumped(value: object) -> bytes | None:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError):
        return None
    return buffer.getvalue()


def _loaded(data: bytes) -> Any:  # noqa: ANN401 - what was dumped
    return _Unpickler(io.BytesIO(data)).load()
