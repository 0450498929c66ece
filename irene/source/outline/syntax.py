"""libcst at arm's length: parse a piece of text safely, walk it, name its expressions.

libcst's parser is native and recursive: text that nests too deeply ends the process, not
in an exception. So nothing is given to it before its nesting is known to be harmless.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from irene.source.outline.declarations import Problem, Span
from irene.source.outline.scanning import LogicalLine

MAX_DEPTH = 60
"""Of brackets; libcst overran an 8 MB stack at 1,000 of them, people write a dozen."""

MAX_PATTERN_DEPTH = 6
"""Of brackets in a pattern of `match`; libcst needs 4 times longer for each further one."""

MAX_CHAIN = 200
"""Of operators without a comma between them, of clauses of one `if`, of joined strings."""

MAX_LEVELS = 20
"""Of blocks inside blocks; 45 of them overran a stack of 1 MB, people write half a dozen."""

_SHORT_LINE = 100  # characters, which cannot nest to any harm

_CHAINING = re.compile(
    r"[-+*/%@&|^~<>.=:,;()\[\]{}]|''|\b(?:not|and|or|if|else|lambda|await|yield|for|in|is)\b"
)
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_OPAQUE = re.compile(
    r"(?P<prefix>\b[a-zA-Z]{1,2}(?=[\"']))?(?:"
    r"(?P<quote>\"\"\"|''')(?:\\[\s\S]|[^\\])*?(?P=quote)"
    r"|\"(?:\\[\s\S]|[^\"\\\n])*\"|'(?:\\[\s\S]|[^'\\\n])*'|#[^\n]*)"
)
_SKIPPED = frozenset(
    {"leading_lines", "lines_after_decorators", "header", "footer", "lpar", "rpar", "comma"}
    | {"semicolon", "equal", "dot", "colon", "lbracket", "rbracket", "lbrace", "rbrace"}
    | {"trailing_whitespace", "star_etc", "asname_whitespace", "indent", "operator", "operators"}
)


class UnreadableError(Exception):
    """A piece of text does not parse; line and column are counted in the piece."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class Piece:
    """A parsed piece of text; positions are computed when first asked for."""

    def __init__(self, text: str, *, indented: bool) -> None:
        """Parse `text`, whose first line may be indented.

        Raises:
            UnreadableError: it does not parse.
        """
        self._line_offset = -1 if indented else 0
        whole = f"if 1:\n{text}" if indented else text
        try:
            self.module = cst.parse_module(whole)
        except (cst.ParserSyntaxError, RecursionError, ValueError) as err:
            raise _why(whole, self._line_offset) from err
        self._positions: Mapping[cst.CSTNode, CodeRange] | None = None
        self._indented = indented

    @property
    def statements(self) -> Sequence[cst.CSTNode]:
        if not self._indented:
            return self.module.body
        outer = self.module.body[0]
        assert isinstance(outer, cst.If)
        return (*outer.body.body, *self.module.body[1:])

    def code(self, node: cst.CSTNode) -> str:
        """The node as written, on one line."""
        return " ".join(self.module.code_for_node(node).split())

    def span(self, node: cst.CSTNode) -> Span:
        """Where `node` is, in the piece: 1-based lines.

        Raises:
            UnreadableError: the piece nests too deeply for libcst's positions.
        """
        if self._positions is None:
            self._positions = self._locate()
        place = self._positions[node]
        shift = self._line_offset
        return Span(
            place.start.line + shift, place.start.column, place.end.line + shift, place.end.column
        )

    def _locate(self) -> Mapping[cst.CSTNode, CodeRange]:
        wrapper = MetadataWrapper(self.module, unsafe_skip_copy=True)
        try:
            return dict(wrapper.resolve(PositionProvider))
        except (RecursionError, KeyError) as err:  # libcst may hide the first behind the second
            raise UnreadableError("this statement nests too deeply to be read", 1, 0) from err


def nests_harmlessly(lines: Sequence[LogicalLine], text: str) -> bool:
    """Whether `text`, made of `lines`, can be parsed without overrunning the stack."""
    clauses = sum(line.keyword in ("elif", "except", "@") for line in lines)
    if clauses > MAX_CHAIN or any(line.depth > _max_depth(line) for line in lines):
        return False
    long_lines = [line for line in lines if line.n_characters > _SHORT_LINE]
    rows = text.split("\n") if long_lines else []
    return _n_levels(lines) <= MAX_LEVELS and all(
        _longest_chain("\n".join(rows[line.first - lines[0].first :][: line.n_rows])) <= MAX_CHAIN
        for line in long_lines
    )


def _max_depth(line: LogicalLine) -> int:
    return MAX_PATTERN_DEPTH if line.keyword == "case" else MAX_DEPTH


def _n_levels(lines: Sequence[LogicalLine]) -> int:
    """How deep the blocks of `lines` nest."""
    open_indents: list[int] = []
    deepest = 0
    for line in lines:
        while open_indents and open_indents[-1] >= line.indent:
            open_indents.pop()
        open_indents.append(line.indent)
        deepest = max(deepest, len(open_indents))
    return deepest


def _longest_chain(code: str) -> int:
    """How many operators and brackets of one line may stand inside each other.

    A comma ends a chain of its own bracket, but not one of `lambda a, b:` or `for a, b in`.
    """
    chains, longest, binders = [0], 0, 0
    for symbol in _CHAINING.findall(_OPAQUE.sub(_without_text, code)):
        if symbol in _CLOSING:
            del chains[max(len(chains) - 1, 1) :]
        elif symbol in ",;":
            chains[-1] = 0
        else:
            chains[-1] += 1
            binders += symbol in ("lambda", "for")
            longest = max(longest, sum(chains))
            if symbol in _OPENING:
                chains.append(0)
        if len(chains) > MAX_DEPTH or longest > MAX_CHAIN:
            return MAX_CHAIN + 1
    return max(longest, binders)


def _without_text(opaque: re.Match[str]) -> str:
    """What of a string or comment is code: the replacement fields of an f-string."""
    written = opaque.group()
    if written[0] == "#":
        return ""
    if "f" not in (opaque["prefix"] or "").lower():
        return "''"
    return ",".join(("''", *re.findall(r"\{[^{}]*|\}", written)))


def python_problem(text: str) -> Problem | None:
    """Python's own words for what is wrong: libcst's name tokens that people do not know."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as err:
        return Problem(err.msg, err.lineno or 1, max((err.offset or 1) - 1, 0))
    except (ValueError, RecursionError, MemoryError):
        return Problem("this text is not Python", 1, 0)
    return None


def walk(node: cst.CSTNode, *, nested: bool = True) -> Iterator[cst.CSTNode]:
    """`node` and what is below it, in order of the text; annotations and classes left out.

    Args:
        node: Where to start.
        nested: Whether functions are entered.
    """
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if nested or not isinstance(current, cst.FunctionDef):
            stack.extend(reversed(_children(current)))


def dotted(node: cst.CSTNode) -> str | None:
    """`torch.nn.Linear` of that expression; None for any other."""
    parts: list[str] = []
    while isinstance(node, cst.Attribute):
        parts.append(node.attr.value)
        node = node.value
    if not isinstance(node, cst.Name):
        return None
    return ".".join((node.value, *reversed(parts)))


def literal(node: cst.CSTNode) -> str | None:
    """The value of a plain string literal; None for any other expression."""
    if not isinstance(node, cst.SimpleString):
        return None
    try:
        value = ast.literal_eval(node.value)
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str) else None


def _children(node: cst.CSTNode) -> list[cst.CSTNode]:
    found: list[cst.CSTNode] = []
    for name in _field_names(type(node)):
        value = getattr(node, name)
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, cst.CSTNode) and not isinstance(
                item, (cst.ClassDef, cst.Annotation)
            ):
                found.append(item)
    return found


@cache
def _field_names(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    names = [field.name for field in fields(kind)]
    if "for_in" in names:  # a comprehension binds its names before it uses them
        names.sort(key=lambda name: name in ("elt", "key", "value"))
    return tuple(n for n in names if n not in _SKIPPED and not n.startswith("whitespace"))


def _why(whole: str, line_offset: int) -> UnreadableError:
    problem = python_problem(whole)
    if problem is None:
        return UnreadableError("this statement is newer than the parser knows", 1, 0)
    return UnreadableError(problem.message, max(problem.line + line_offset, 1), problem.column)
