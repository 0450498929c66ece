"""What became of one architecture, and the file that keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

BATCH, LENGTH = 2, 64
TRACED, REFUSED, NOT_BUILT = "traced", "refused", "not built"


@dataclass
class Row:
    """What became of one architecture."""

    name: str
    state: str
    class_name: str = ""
    reason: str = ""  # of a refusal, or why its library itself does not build it
    inputs: str = ""
    assumptions: list[str] = field(default_factory=list)
    unpriced: list[str] = field(default_factory=list)
    matrix_flops: int = 0
    counted: int | None = None  # by FlopCounterMode; None where it cannot run
    counter: str = ""  # how it ran, or why not
    sums_hold: bool = True
    memo_holds: bool = True  # the tree is that of a process which remembers nothing
    raises_alone: bool = False  # a refused one, with IrEne out of the way
    seconds: float = 0.0

    @property
    def is_equal(self) -> bool:
        """Whether torch's counter agrees."""
        return self.counted == self.matrix_flops

    @property
    def is_wrong(self) -> bool:
        """Whether a figure of the tree is refuted."""
        differs = self.counted is not None and not self.is_equal
        is_sound = self.sums_hold and self.memo_holds
        return self.state == TRACED and (differs or not is_sound)


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of an earlier run; the last of a name counts."""
    if not path.is_file():
        return {}
    rows = [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return {it.name: it for it in rows}


def short(error: BaseException) -> str:
    """The error in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:300] + " ..."
