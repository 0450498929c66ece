"""How user code that is broken becomes an answer: what, where, and what to do."""

from __future__ import annotations

import os
import traceback

from irene.worker.protocol import Refusal, RefusalKind

_LONGEST_MESSAGE = 600


class Refused(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """Ends a request with a refusal; `worker.main` sends it, the Python API shows it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(
    kind: RefusalKind, message: str, *, line: int | None = None, advice: str = ""
) -> Refused:
    """The exception for a refusal, to be raised where the stage ends."""
    return Refused(Refusal(kind, message, line, advice))


def in_words(refusal: Refusal) -> str:
    """What is wrong and what to do, one sentence after the other."""
    message = refusal.message.rstrip()
    is_ended = message.endswith((".", "!", "?"))
    return f"{message}{'' if is_ended else '.'} {refusal.advice}".strip()


def describe(error: BaseException) -> str:
    """`ValueError: d_model must be even`, cut where user code wrote a novel."""
    text = " ".join("".join(traceback.format_exception_only(type(error), error)).split())
    if len(text) > _LONGEST_MESSAGE:
        text = text[:_LONGEST_MESSAGE] + " ..."
    return text


def line_in(error: BaseException, path: str) -> int | None:
    """The innermost line of `path` in the traceback of `error`, its causes included."""
    seen: BaseException | None = error
    while seen is not None:
        for frame in reversed(traceback.extract_tb(seen.__traceback__)):
            if path and frame.filename == path:
                return frame.lineno
        seen = seen.__cause__
    return None


def place_of(error: BaseException, path: str) -> str:
    """` (line 12 of helper.py)` where another file than `path` raised, else nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or frames[-1].filename == path:
        return ""
    return f" (line {frames[-1].lineno} of {os.path.basename(frames[-1].filename)})"  # noqa: PTH119
