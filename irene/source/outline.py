"""Text to classes, submodule assignments and forward, with spans; libcst, never torch.

Broken text is the normal state of a buffer: `outline` never raises on it, it returns what
can be known and the problems.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """From (line, column) to (line, column), end excluded: 1-based lines, 0-based columns.

    Columns count code points, as libcst does; `irene_server.convert` alone turns them into
    a client's units.
    """

    start_line: int
    start_column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of `__init__` or `forward`, `self` left out; texts as written."""

    name: str
    annotation: str | None
    default: str | None
    kind: str  # "positional", "keyword-only", "var-positional", "var-keyword"


@dataclass(frozen=True, slots=True)
class Submodule:
    """An assignment of a submodule: `self.attn = Attention(...)`, `add_module("attn", ...)`."""

    attribute: str  # "attn"; "" where the name is computed
    constructors: tuple[str, ...]  # dotted names called in it, outermost first, as written
    span: Span  # the whole statement
    constructor_lines: tuple[int, ...]  # line of each constructor call


@dataclass(frozen=True, slots=True)
class SubmoduleCall:
    """A use of a submodule in `forward`: `self.attn(x)`, `for block in self.blocks`."""

    attribute: str
    span: Span


@dataclass(frozen=True, slots=True)
class Function:
    """`__init__` or `forward` of a class."""

    span: Span
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class ClassOutline:
    """A class of the file; `name` is qualified (`Outer.Inner`)."""

    name: str
    bases: tuple[str, ...]  # dotted, aliases resolved where imports tell: "torch.nn.Module"
    is_module: bool
    span: Span
    name_span: Span
    comments: tuple[tuple[int, str], ...]  # (line, text) of the comment lines right above
    class_variables: tuple[tuple[str, str], ...]  # (name, value as written): config_class
    init: Function | None
    forward: Function | None
    submodules: tuple[Submodule, ...]
    submodule_calls: tuple[SubmoduleCall, ...]
    instantiates: tuple[str, ...]  # classes of this file that its body constructs


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a part of the text could not be read."""

    message: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What a file declares, in order of appearance."""

    classes: tuple[ClassOutline, ...]
    imports: tuple[tuple[str, str], ...]  # (name in the file, dotted origin)
