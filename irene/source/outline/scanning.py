"""Text to logical lines and statements by brackets, quotes and indentation; no parser.

A syntax tree exists only for text that parses. Statement boundaries exist always, and on
text that does parse they are Python's own (a test compares them with libcst's). So each
statement can be parsed alone, kept while its text stays the same, and given up alone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from irene.source.outline.declarations import Span

NEWLINE = re.compile(r"\r\n?|\n")
"""Where lines end for Python and for LSP; `str.splitlines` would also split at form feeds."""

_TOKEN = re.compile(r"\n|\\\n|#[^\n]*|\"\"\"|'''|[\"'()\[\]{}]")
_STRING_END = {
    "'": re.compile(r"\\[\s\S]|'|\n"),
    '"': re.compile(r'\\[\s\S]|"|\n'),
    "'''": re.compile(r"\\[\s\S]|'''"),
    '"""': re.compile(r'\\[\s\S]|"""'),
}
_WORD = re.compile(r"[@\\]|async\s+def\b|[^\W\d]\w*")
_INDENT = re.compile(r"[ \t\f]*")
# Reserved words that begin statements and stand nowhere inside an expression: a line that
# starts with one cannot continue a bracket, so there the bracket is known to be unclosed.
_NEVER_IN_BRACKETS = re.compile(
    r"[ \t\f]*(?:async[ \t]+)?(?:class|def|import|return|while|try|with|raise|del|pass|break|"
    r"continue|global|nonlocal|assert|elif|except|finally)\b"
)
# Lines that are code although a string seems open: used only once a string never ends.
_CODE_IN_STRING = re.compile(
    r"\n(?=(?:class|def|async def)[ \t]+\w+|@\w|[ \t]*(?:async[ \t]+)?def[ \t]+\w+\(self\b)"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTINUATIONS = frozenset({"else", "elif", "except", "finally"})


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """A line as Python's grammar sees it: brackets, strings and backslashes joined."""

    first: int  # physical lines, 0-based, both included
    last: int
    column: int  # of its first character
    end_column: int  # after its last character on `last`, comment left out
    indent: int  # column with tabs expanded to 8: what Python compares
    keyword: str  # its first word, "@" for a decorator, a backslash; "" for anything else
    depth: int  # of its brackets
    n_characters: int

    @property
    def n_rows(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with its decorators and body, as logical lines."""

    lines: tuple[LogicalLine, ...]

    @property
    def head(self) -> LogicalLine:
        """The line after the decorators: `class Net(nn.Module):`."""
        return next((line for line in self.lines if line.keyword != "@"), self.lines[-1])

    @property
    def keyword(self) -> str:
        return self.head.keyword

    @property
    def indent(self) -> int:
        return self.lines[0].indent

    @property
    def first(self) -> int:
        return self.lines[0].first

    @property
    def last(self) -> int:
        return self.lines[-1].last

    @property
    def span(self) -> Span:
        """Without decorators, from its keyword to its last character that is code."""
        head, end = self.head, self.lines[-1]
        return Span(head.first + 1, head.column, end.last + 1, end.end_column)

    @property
    def body(self) -> tuple[LogicalLine, ...]:
        """The lines indented below it; those of `else` and the like too."""
        after = self.lines.index(self.head) + 1
        return tuple(line for line in self.lines[after:] if line.indent > self.indent)


@dataclass(frozen=True, slots=True)
class Source:
    """A text cut into physical and logical lines."""

    lines: tuple[str, ...]
    logical: tuple[LogicalLine, ...]

    def text(self, first: int, last: int) -> str:
        """Physical lines `first` to `last`, both included, each with its line end."""
        return "\n".join(self.lines[first : last + 1]) + "\n"

    def is_comment(self, row: int) -> bool:
        """Whether physical line `row` is a comment alone, outside strings and brackets."""
        if row < 0 or not self.lines[row].lstrip(" \t\f").startswith("#"):
            return False
        before = bisect_right(self.logical, row, key=lambda line: line.first) - 1
        return before < 0 or self.logical[before].last < row


def scan(text: str) -> Source:
    """The logical lines of any text; never fails."""
    lines = NEWLINE.split(_SURROGATES.sub("\ufffd", text))
    if lines[0].startswith("\ufeff"):
        lines[0] = "\f" + lines[0][1:]  # a form feed is as wide, and Python skips it there
    whole = "\n".join(lines)
    logical = _logical_lines(whole, lines, trust_strings=True)
    if logical is None:
        logical = _logical_lines(whole, lines, trust_strings=False) or []
    return Source(tuple(lines), tuple(logical))


def statements(lines: tuple[LogicalLine, ...]) -> list[Statement]:
    """Groups lines of one block into its statements, each with its decorators and body."""
    groups: list[list[LogicalLine]] = []
    base = lines[0].indent if lines else 0
    for line in lines:
        if groups and not _starts(line, groups[-1], base):
            groups[-1].append(line)
            continue
        base = line.indent
        groups.append([line])
    return [Statement(tuple(group)) for group in groups]


def _starts(line: LogicalLine, before: list[LogicalLine], base: int) -> bool:
    if line.indent > base:
        return False
    if line.keyword in _CONTINUATIONS:
        return line.indent < base
    decorated = before[-1].keyword == "@" and line.keyword in ("@", "class", "def", "async")
    return not decorated


def _logical_lines(text: str, lines: list[str], *, trust_strings: bool) -> list[LogicalLine] | None:
    """None where `trust_strings` and a triple-quoted string never ends."""
    logical: list[LogicalLine] = []
    row, position = 0, 0
    while row < len(lines):
        blank = _INDENT.match(lines[row])
        column = blank.end() if blank else 0
        if column == len(lines[row]) or lines[row][column] == "#":
            position += len(lines[row]) + 1
            row += 1
            continue
        read = _read_line(text, position, trust_strings=trust_strings)
        if read is None:
            return None
        code_end, end, depth = read
        last = row + text.count("\n", position, end)
        word = _WORD.match(lines[row], column)
        keyword = word.group() if word else ""
        logical.append(
            LogicalLine(
                first=row,
                last=last,
                column=column,
                end_column=max(code_end - (text.rfind("\n", 0, end) + 1), 0),
                indent=_width(lines[row][:column]),
                keyword="def" if keyword.startswith("async") and " " in keyword else keyword,
                depth=depth,
                n_characters=end - position,
            )
        )
        following = text.find("\n", end)
        row, position = last + 1, len(text) if following < 0 else following + 1
    return logical


def _read_line(text: str, start: int, *, trust_strings: bool) -> tuple[int, int, int] | None:
    """The logical line from `start`: where its code and itself end, how deep it nests."""
    position, depth, deepest, comment = start, 0, 0, (-1, -1)
    while token := _TOKEN.search(text, position):
        kind, position = token.group(), token.end()
        if kind == "\n":
            if depth == 0 or _NEVER_IN_BRACKETS.match(text, position):
                position = token.start()
                break
        elif kind[0] in "\"'":
            end = _string_end(text, position, kind, trust_strings=trust_strings)
            if end is None:
                return None
            position = end
        elif kind[0] == "#":
            comment = token.span()
        elif kind in "([{":
            depth += 1
            deepest = max(depth, deepest)
        elif kind in ")]}":
            depth = max(depth - 1, 0)
    else:
        position = len(text)
    tail = comment[0] if comment[1] == position else position
    code_end = start + len(text[start:tail].rstrip())
    return code_end, position if depth == 0 else code_end, deepest


def _string_end(text: str, position: int, quote: str, *, trust_strings: bool) -> int | None:
    """After the closing quote; the end of the line where there is none."""
    start = position
    while token := _STRING_END[quote].search(text, position):
        if token.group() == "\n":
            return token.start()
        position = token.end()
        if token.group() == quote:
            break
    else:
        if len(quote) == 1:
            return len(text)
        if trust_strings:
            return None
        position = len(text)
        line_end = text.find("\n", start)
        if not _CODE_IN_STRING.search(text, start):
            return position if line_end < 0 else line_end
    if not trust_strings and len(quote) == 3:
        code = _CODE_IN_STRING.search(text, start, position)
        return code.start() if code else position
    return position


def _width(indentation: str) -> int:
    width = 0
    for character in indentation:
        widened = width // 8 * 8 + 8 if character == "\t" else width + 1
        width = 0 if character == "\f" else widened
    return width
