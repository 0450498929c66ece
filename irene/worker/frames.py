"""Which files are the user's, and which line of them is being executed."""

from __future__ import annotations

import os
import sysconfig
from functools import cache, lru_cache
from types import CodeType, FrameType
from typing import NamedTuple

from irene.tree import Location

_OURS = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep  # noqa: PTH120
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


_lines: dict[tuple[str, int], Location] = {}
"""One object per line: trees of many operations are compared by identity first."""


def is_installed(path: str) -> bool:
    """Whether a file belongs to an installed package or to the standard library."""
    return _resolved(path).is_installed


class UserCode:
    """The document, and every file below `roots` that is not an installed package.

    With `roots` None every file that is not installed counts, as the Python API wants it.
    """

    def __init__(self, document: str, roots: tuple[str, ...] | None) -> None:
        self.document = document
        self._real_document = os.path.realpath(document) if document else ""
        self._roots = None if roots is None else tuple(_folder(root) for root in roots if root)
        self._known: dict[str, str | None] = {document: document} if document else {}

    @property
    def is_everywhere(self) -> bool:
        """Whether no document was named: a person's own process called `irene.estimate`."""
        return not self.document and self._roots is None

    def path_of(self, filename: str) -> str | None:
        """The path to show for a code object's file; None where it is not the user's."""
        try:
            return self._known[filename]
        except KeyError:
            path = self._known[filename] = self._decide(filename)
            return path

    def location(
        self,
        frame: FrameType | None,
        end: CodeType | None = None,
        at_end: Location | None = None,
    ) -> Location | None:
        """The innermost line of the user's code at or above `frame`.

        Where a frame runs `end`, what lies above it is known: `at_end`.
        """
        known = self._known
        while frame is not None:
            code = frame.f_code
            if code is end:
                return at_end
            filename = code.co_filename
            path = known[filename] if filename in known else self.path_of(filename)
            if path is not None:
                at = (path, frame.f_lineno)
                return _lines.get(at) or _lines.setdefault(at, Location(*at))
            frame = frame.f_back
        return None

    def _decide(self, filename: str) -> str | None:
        if filename.startswith("<") and not filename.startswith("<ipython"):
            return None
        real, is_of_others = _resolved(filename)
        if real == self._real_document:
            return self.document
        if is_of_others or real.startswith(_OURS):
            return None
        if self._roots is None or real.startswith(self._roots):
            return filename
        return None


class _Resolved(NamedTuple):
    real: str  # without links
    is_installed: bool


@lru_cache(maxsize=1 << 14)
def _resolved(path: str) -> _Resolved:
    """Every pass asks for the same files, and the disk is slow to answer."""
    real = os.path.realpath(path)
    is_installed = real.startswith(_standard_library()) or any(it in real for it in _INSTALLED)
    return _Resolved(real, is_installed)


def _folder(path: str) -> str:
    return os.path.realpath(path).rstrip(os.sep) + os.sep


@cache
def _standard_library() -> tuple[str, ...]:
    return tuple({_folder(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})
