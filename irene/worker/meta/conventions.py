"""Questions about values that are answered by a convention, because the answer is safe.

A convention is one function of a library that asks, what it is told, and what that assumes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType


@dataclass(frozen=True, slots=True)
class Convention:
    """What the asking function is told, and the assumption that a person reads."""

    answer: bool
    assumption: str


_PADDING = Convention(answer=False, assumption="no padding: no input has pad tokens")
_ASKING: Mapping[tuple[str, str], Convention] = {
    ("transformers", "warn_if_padding_and_no_attention_mask"): _PADDING,
}
_NEAREST_FRAMES = 12  # a question is asked in the function itself


def convention_here() -> Convention | None:
    """The convention for whoever asks right now; None where no function is known to ask."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_NEAREST_FRAMES):
        if frame is None:
            break
        library = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        convention = _ASKING.get((library, frame.f_code.co_name))
        if convention is not None:
            return convention
        frame = frame.f_back
    return None
