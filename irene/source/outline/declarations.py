"""What a file declares: classes, their submodules, their forward, with exact spans."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    r"""From (line, column) to (line, column), end excluded: 1-based lines, 0-based columns.

    Columns count code points, as libcst does; `irene_server.convert` alone turns them into
    a client's units. Lines end at "\n", "\r\n" or "\r", and nowhere else.
    """

    start_line: int
    start_column: int
    end_line: int
    end_column: int

    def down(self, n_lines: int) -> Span:
        """The same columns, `n_lines` further down."""
        return Span(
            self.start_line + n_lines, self.start_column, self.end_line + n_lines, self.end_column
        )


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
    """A use of a submodule in a method: `self.attn` of `self.attn(x)`, `self.blocks` of a loop."""

    attribute: str  # "attn"; "encoder.layer" for `self.encoder.layer[0](x)`
    span: Span  # what is called or iterated, without the arguments


@dataclass(frozen=True, slots=True)
class Function:
    """`__init__` or `forward` of a class."""

    span: Span
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class ClassOutline:
    """A class of the file; `name` is qualified as in `__qualname__` (`Outer.Inner`)."""

    name: str
    bases: tuple[str, ...]  # dotted, aliases resolved where imports tell: "torch.nn.Module"
    is_module: bool
    span: Span
    name_span: Span
    comments: tuple[tuple[int, str], ...]  # (line, text) of the comment lines right above
    class_variables: tuple[tuple[str, str], ...]  # (name, value as written): config_class
    class_annotations: tuple[tuple[str, str], ...]  # (name, annotation): ("config", "BertConfig")
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
