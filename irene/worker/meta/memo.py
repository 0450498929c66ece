"""What operations gave before, by the metadata of their arguments.

A meta tensor has no content beyond its metadata, so an operation on meta that was seen once
need not run again: its outputs are made anew from what is remembered. A memo is bounded and
lives as long as its process; `recall` uses it during one forward pass.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

Key = tuple[Hashable, ...]
_LARGEST = 1 << 16  # entries


class Fresh(NamedTuple):
    """An output in memory of its own."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    is_weight: bool
    known_as: int | None  # which of the call's tensors it is, where its values are known
    description: int


class View(NamedTuple):
    """An output in the memory of an argument."""

    of: int  # which of the arguments' tensors
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int  # in elements, from the argument's
    known_as: int | None
    description: int


class Same(NamedTuple):
    """An argument itself."""

    of: int


class Plain(NamedTuple):
    """An output that is no tensor."""

    value: object


class Several(NamedTuple):
    """A tuple or list of outputs."""

    type: type
    parts: tuple[Plan, ...]


Plan = Fresh | View | Same | Plain | Several


@dataclass(frozen=True, slots=True)
class Entry:
    """How to make the outputs of a call again, and the notes on what it issued."""

    plan: Plan
    notes: tuple[object, ...]


class Memo:
    """Entries by key; `None` stands for a call that must run every time."""

    def __init__(self) -> None:
        self.entries: dict[Key, Entry | None] = {}
        self._descriptions: dict[Hashable, int] = {}

    def clear(self) -> None:
        self.entries.clear()
        self._descriptions.clear()

    def put(self, key: Key, entry: Entry | None) -> None:
        if len(self.entries) >= _LARGEST:
            for old in list(self.entries)[: _LARGEST // 4]:
                del self.entries[old]
        self.entries[key] = entry

    def describe(self, metadata: Hashable) -> int:
        """A number for the metadata of a tensor: keys of numbers are compared fast."""
        if len(self._descriptions) >= _LARGEST:
            self.clear()  # entries name descriptions
        return self._descriptions.setdefault(metadata, len(self._descriptions))


MEMO = Memo()
"""Of this process; a forked child begins with its parent's."""
