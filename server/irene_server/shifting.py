"""Values of an older text at the lines where they now stand; a pure function.

A line that is gone takes its values with it: nothing is ever shown on another line's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from irene_server.lines import NO_LINE

if TYPE_CHECKING:
    from irene.annotations import Annotations
    from irene.source.outline import Span


def shifted(values: Annotations, origins: Sequence[int]) -> Annotations:
    """`values` where their lines are now; `origins[i]` is the old number of line i + 1.

    Rows inside cards keep the numbers of the text that they were made for.
    """
    now = {old: new for new, old in enumerate(origins, 1) if old != NO_LINE}
    if len(now) == len(origins) and all(old == new for old, new in now.items()):
        return values
    return replace(
        values,
        classes=tuple(
            replace(it, line=now[it.line], name_span=span)
            for it in values.classes
            if it.line in now and (span := _moved(it.name_span, now)) is not None
        ),
        lines=tuple(replace(it, line=now[it.line]) for it in values.lines if it.line in now),
        hovers=tuple(
            replace(it, span=span)
            for it in values.hovers
            if (span := _moved(it.span, now)) is not None
        ),
        problems=tuple(
            replace(it, span=span, insert_line=now.get(it.insert_line, span.start_line))
            for it in values.problems
            if (span := _moved(it.span, now)) is not None
        ),
    )


def _moved(span: Span, now: Mapping[int, int]) -> Span | None:
    """A span is gone when its first or last line is, or when they changed places."""
    start, end = now.get(span.start_line), now.get(span.end_line)
    if start is None or end is None or end < start:
        return None
    return replace(span, start_line=start, end_line=end)
