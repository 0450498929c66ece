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
    is_detached: bool  # from a parameter that learns
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
        self.learned: list[Key] = []
        """Keys in the order in which they came."""
        self.descriptions: list[Hashable] = []
        """The metadata of tensors, and what torch is set to; keys have the numbers, which are
        compared fast."""
        self._numbers: dict[Hashable, int] = {}

    def clear(self) -> None:
        self.entries.clear()
        self.learned.clear()
        self.descriptions.clear()
        self._numbers.clear()

    def make_room(self) -> None:
        """Begin anew where too much is described; not during a pass, which has the numbers."""
        if len(self.descriptions) >= _LARGEST:
            self.clear()

    def put(self, key: Key, entry: Entry | None) -> None:
        if len(self.entries) >= _LARGEST:
            for old in self.learned[: _LARGEST // 4]:
                self.entries.pop(old, None)
            del self.learned[: _LARGEST // 4]
        if key not in self.entries:
            self.learned.append(key)
        self.entries[key] = entry

    def describe(self, metadata: Hashable) -> int:
        """The number of a description."""
        number = self._numbers.get(metadata)
        if number is None:
            number = self._numbers[metadata] = len(self.descriptions)
            self.descriptions.append(metadata)
        return number


MEMO = Memo()
"""Of this process; a forked child begins with its parent's."""
