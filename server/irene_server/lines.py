"""Lines of a text as editors and Python count them, and where they go when it is edited.

Only LF, CR LF and CR end a line; `str.splitlines` also splits at form feeds and other
characters that source files do contain, and every position after one would be wrong.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

NO_LINE = 0
"""The origin of a line that the older text did not have; lines count from 1."""

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Edit:
    """The code points from `start` to `end`, end excluded, become `replacement`."""

    start: int
    end: int
    replacement: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text with the offset of the start of each of its lines."""

    content: str
    starts: tuple[int, ...]

    @property
    def n_lines(self) -> int:
        return len(self.starts)

    def line(self, number: int) -> str:
        """Line `number`, from 1, without its end; the last line where there are fewer."""
        index = min(max(number, 1), self.n_lines) - 1
        is_last = index + 1 == self.n_lines
        end = len(self.content) if is_last else self.starts[index + 1]
        return self.content[self.starts[index] : end].rstrip("\r\n")

    def line_of(self, offset: int) -> int:
        """The number of the line that holds `offset`."""
        return bisect_right(self.starts, offset)


def text_of(content: str) -> Text:
    """Finds the lines of `content`; an empty text has one line."""
    return Text(content, (0, *(it.end() for it in _LINE_END.finditer(content))))


def apply(text: Text, edit: Edit) -> Text:
    """The text after `edit`."""
    return text_of(text.content[: edit.start] + edit.replacement + text.content[edit.end :])


def trimmed(text: Text, edit: Edit) -> Edit:
    """The smallest edit with the same result: editors replace whole files on a format."""
    old, new = text.content[edit.start : edit.end], edit.replacement
    n_prefix = _common_prefix(old, new)
    old, new = old[n_prefix:], new[n_prefix:]
    n_suffix = _common_prefix(old[::-1], new[::-1])
    start, end = edit.start + n_prefix, edit.end - n_suffix
    return Edit(start, end, new[: len(new) - n_suffix])


def moved(origins: Sequence[int], before: Text, edit: Edit, after: Text) -> tuple[int, ...]:
    """The origin of each line of `after`, given those of the lines of `before`.

    A line that was split keeps its origin at its first part that is not blank, two lines
    that were joined keep that of the first.
    """
    first, last = before.line_of(edit.start), before.line_of(edit.end)
    n_below = before.n_lines - last
    n_between = max(after.n_lines - n_below - first + 1, 1)
    between = _between(origins, before, edit, n_between)
    return (*origins[: first - 1], *between, *origins[last:])


def _between(origins: Sequence[int], before: Text, edit: Edit, n_lines: int) -> list[int]:
    first, last = before.line_of(edit.start), before.line_of(edit.end)
    if first == last and n_lines == 1:
        return [origins[first - 1]]
    has_head = bool(before.content[before.starts[first - 1] : edit.start].strip())
    tail_start = edit.end - before.starts[last - 1]
    has_tail = bool(before.line(last)[tail_start:].strip())
    between = [NO_LINE] * n_lines
    if has_tail and not (first == last and has_head):
        between[-1] = origins[last - 1]
    if has_head:
        between[0] = origins[first - 1]
    return between


def _common_prefix(one: str, other: str) -> int:
    """Length of the longest common start: bisection, since comparing slices is fast."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[:middle]):
            low = middle
        else:
            high = middle - 1
    return low
