"""What a forked child remembers of new calls, for its parent: the next child begins with it.

Entries hold functions of torch, metadata and notes. They travel as a pickle that can name
nothing but these: a parent reads what a child writes that has run the user's code.
"""

from __future__ import annotations

import io
import pickle  # noqa: TID251 - nothing is stored: it goes from a child to its own parent
from types import MethodWrapperType
from typing import Any

from irene.worker.meta.memo import MEMO, Memo

_MOST_ENTRIES = 1 << 12
_ALLOWED = ("torch", "irene.worker", "irene.tree")
_BUILTINS = frozenset(
    {
        "getattr",
        "type",
        "slice",
        "Ellipsis",
        "complex",
        "list",
        "tuple",
        "int",
        "float",
        "bool",
        "str",
    }
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
    packed = [_dumped((key, memo.entries.get(key))) for key in entries]
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
        key, entry = _loaded(it)
        memo.put(key, entry)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> tuple[str, ...] | None:
        import torch

        if isinstance(obj, torch._ops.OpOverload):
            return ("overload", *obj._schema.name.split("::"), obj._overloadname)
        if isinstance(obj, torch._ops.OpOverloadPacket):
            return ("packet", *obj._qualified_op_name.split("::"))
        if isinstance(obj, (torch.dtype, torch.layout, torch.memory_format)):
            # By itself it would name whichever module imports torch.
            return ("torch", str(obj).removeprefix("torch."))
        if isinstance(obj, MethodWrapperType):
            return ("attribute", obj.__self__.__name__)  # type: ignore[attr-defined] # a descriptor
        return None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> object:  # noqa: ANN401 - as pickle has it
        import torch

        kind, *names = pid
        if kind == "torch":
            return getattr(torch, names[0])
        if kind == "attribute":
            return getattr(torch.Tensor, names[0]).__get__
        namespace, name = names[0], names[1].partition(".")[0]
        packet = getattr(getattr(torch.ops, namespace), name)
        return packet if kind == "packet" else getattr(packet, names[2])

    def find_class(self, module: str, name: str) -> object:
        if module == "builtins" and name in _BUILTINS:
            return super().find_class(module, name)
        if module.startswith(tuple(f"{it}." for it in _ALLOWED)) or module in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is in no entry")


def _dumped(value: object) -> bytes | None:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError):
        return None
    return buffer.getvalue()


def _loaded(data: bytes) -> Any:  # noqa: ANN401 - what was dumped
    return _Unpickler(io.BytesIO(data)).load()
