"""Text to the raw facts of its classes, whatever its state: what parses is read, the rest named.

A class is read as its header and each of its members; a member that does not parse is read
statement by statement. So a half-typed line costs that line, and an edit costs one member.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from irene.source.outline.bodies import Body, join, shift
from irene.source.outline.declarations import Problem, Span
from irene.source.outline.facts import (
    Facts,
    FunctionFacts,
    HeaderFacts,
    Variable,
    read_facts,
    read_header,
    read_part,
)
from irene.source.outline.scanning import LogicalLine, Source, Statement, scan, statements
from irene.source.outline.syntax import nests_harmlessly, python_problem

_MODEL_WORDS = re.compile(
    r"torch|transformers|lightning|diffusers|timm|\bnn\b|PreTrainedModel|Module\b|Layer\b"
)
_TOO_DEEP = "this statement nests too deeply to be read"
_MAX_LEVELS = 30  # of blocks inside blocks; Python allows 100, recursion here must end
_CLASS_NAME = re.compile(r"class[ \t]+([^\W\d]\w*)")
_FUNCTION_NAME = re.compile(r"(?:async[ \t]+)?def[ \t]+([^\W\d]\w*)")
_BASE = re.compile(r"(?<![\w.=])[^\W\d][\w.]*(?![\w.]*=)")
_MAX_CHARACTERS = 100_000  # of one statement, 2,500 lines; a second of parsing
_MAX_LINES = 200  # of an unclosed bracket that are tried alone


@dataclass(frozen=True, slots=True)
class RawMethod:
    """A method with its place in the file; the lines of `facts` count from `first_line`."""

    facts: FunctionFacts
    span: Span
    first_line: int  # 1-based line of the file that is line 1 of the facts


@dataclass(slots=True)
class RawClass:
    """A class as its own text tells it: names unresolved, submodules only candidates."""

    name: str  # qualified
    bases: tuple[str, ...]
    span: Span
    name_span: Span
    comments: tuple[tuple[int, str], ...]
    methods: list[RawMethod] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)


@dataclass(slots=True)
class RawFile:
    """All that a file says, before names are resolved."""

    classes: list[RawClass] = field(default_factory=list)
    functions: list[FunctionFacts] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    imports: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read(source: Source) -> RawFile:
    """The raw facts of all statements of a file.

    A file without a word of torch has no modules: of it only classes and imports are read.
    """
    has_modules = any(_MODEL_WORDS.search(line) for line in source.lines)
    reader = _Reader(source, RawFile(), has_modules)
    block = statements(source.logical)
    if has_modules:
        reader.check_indentation(block, expected=0)
    else:
        reader.check_syntax(block)
    for statement in block:
        reader.read_top(statement, "", 0)
    reader.file.problems.sort(key=lambda problem: (problem.line, problem.column))
    return reader.file


@dataclass(frozen=True, slots=True)
class _Reader:
    source: Source
    file: RawFile
    has_modules: bool

    def read_top(self, statement: Statement, prefix: str, level: int) -> None:
        """A statement outside classes; `prefix` is what qualified names below it start with."""
        if statement.keyword == "class":
            self.read_class(statement, prefix, level)
            return
        if not self.has_modules and statement.keyword not in ("import", "from"):
            self._nested_classes(statement, _inner_prefix(prefix, statement, self.source), level)
            return
        facts = self._facts(statement)
        self.file.imports.extend(facts.imports)
        if not prefix:
            self.file.functions.extend(facts.functions)
            self.file.variables.extend(facts.variables)
        inner = _inner_prefix(prefix, statement, self.source)
        if facts.problem is None:
            self._nested_classes(statement, inner, level)
            return
        block = statements(statement.body) if level < _MAX_LEVELS else []
        n_problems = len(self.file.problems)
        for child in block:
            self.read_top(child, inner, level + 1)
        if len(self.file.problems) == n_problems:
            self._report(facts.problem, statement)

    def read_class(self, statement: Statement, prefix: str, level: int) -> None:
        """A class and the classes inside it."""
        header = self._header(statement)
        if header is None:
            return
        raw = RawClass(
            name=prefix + header.name,
            bases=header.bases,
            span=statement.span,
            name_span=header.name_span.down(statement.first),
            comments=self._comments_above(statement),
        )
        self.file.classes.append(raw)
        if level >= _MAX_LEVELS:
            return
        block = statements(statement.body)
        if self.has_modules:
            self.check_indentation(block, expected=block[0].indent if block else 0)
        for member in block:
            if member.keyword == "class":
                self.read_class(member, f"{raw.name}.", level + 1)
            else:
                self._member(member, raw, level + 1)

    def check_indentation(self, block: Sequence[Statement], expected: int) -> None:
        for statement in block:
            if statement.indent != expected:
                message = "this line is not indented like the lines around it"
                line = statement.lines[0]
                self.file.problems.append(Problem(message, line.first + 1, line.column))

    def check_syntax(self, block: Sequence[Statement]) -> None:
        """The first problem of a file whose statements are not read one by one."""
        for statement in block:
            text = self._text(statement.first, statement.last)
            if not nests_harmlessly(statement.lines, text):
                self._report(Problem(_TOO_DEEP, 1, statement.lines[0].column), statement)
                return
        problem = python_problem(self._text(0, len(self.source.lines)))
        if problem is not None:
            self._add(problem, 0)

    def _member(self, member: Statement, raw: RawClass, level: int) -> None:
        if not self.has_modules:
            self._nested_classes(member, _inner_prefix(f"{raw.name}.", member, self.source), level)
            return
        facts = self._facts(member)
        self.file.imports.extend(facts.imports)
        raw.variables.extend(facts.variables)
        spans = {} if member.keyword == "def" else _function_spans(member, self.source)
        for function in facts.functions:
            span = spans.get(function.name, member.span)
            raw.methods.append(RawMethod(function, span, member.first + 1))
        if facts.problem is None or member.keyword == "def":
            self._nested_classes(member, _inner_prefix(f"{raw.name}.", member, self.source), level)
        if facts.problem is None:
            return
        if member.keyword == "def":
            self._broken_method(member, raw, facts.problem)
        else:
            block = statements(member.body) if level < _MAX_LEVELS else []
            for child in block:
                self._member(child, raw, level + 1)
            if not block:
                self._report(facts.problem, member)

    def _broken_method(self, member: Statement, raw: RawClass, problem: Problem) -> None:
        """Reads what parses of a method: its header alone, each statement alone."""
        harm = self._harm_of_header(member)
        header = self._with_body(member)
        facts = Facts(problem=harm) if harm else read_facts(header, indented=member.indent > 0)
        n_problems = len(self.file.problems)
        if facts.functions:
            function = facts.functions[0]
        else:
            self._report(facts.problem or problem, member)
            function = FunctionFacts(_function_name(member, self.source), (), (), Body())
        self_name = function.parameters[0].name if function.is_method else "self"
        parts = self._parts(member.body, self_name, member.first, 0)
        raw.methods.append(
            RawMethod(replace(function, body=join(parts)), member.span, member.first + 1)
        )
        if len(self.file.problems) == n_problems:
            self._report(problem, member)

    def _parts(
        self, lines: tuple[LogicalLine, ...], self_name: str, first: int, level: int
    ) -> list[Body]:
        """Bodies of statements read alone; their lines are counted from `first`."""
        found: list[Body] = []
        for statement in statements(lines):
            if statement.keyword == "class":
                continue
            part = self._part(statement, self_name)
            if isinstance(part, Body):
                found.append(shift(part, statement.first - first))
            elif statement.body and level < _MAX_LEVELS:
                n_problems = len(self.file.problems)
                found += self._parts(statement.body, self_name, first, level + 1)
                if len(self.file.problems) == n_problems:
                    self._report(part, statement)
            else:
                self._report(part, statement)
                found += self._lines_of(statement, self_name, first)
        return found

    def _lines_of(self, statement: Statement, self_name: str, first: int) -> list[Body]:
        """A statement that an open bracket made too long: its later lines, each alone."""
        found = []
        indentation = self.source.lines[statement.first][: statement.lines[0].column]
        last = min(statement.last, statement.first + _MAX_LINES)
        for row in range(statement.first + 1, last + 1):
            text = self.source.lines[row]
            if not text.startswith(indentation) or text[len(indentation) :][:1].strip() == "":
                continue
            if self._harm(scan(text).logical, text):
                continue
            part = read_part(f"{text}\n", indented=bool(indentation), self_name=self_name)
            if isinstance(part, Body):
                found.append(shift(part, row - first))
        return found

    def _facts(self, statement: Statement) -> Facts:
        text = self._text(statement.first, statement.last)
        harm = self._harm(statement.lines, text)
        return Facts(problem=harm) if harm else read_facts(text, indented=statement.indent > 0)

    def _part(self, statement: Statement, self_name: str) -> Body | Problem:
        text = self._text(statement.first, statement.last)
        return self._harm(statement.lines, text) or read_part(
            text, indented=statement.indent > 0, self_name=self_name
        )

    def _harm(self, lines: tuple[LogicalLine, ...], text: str) -> Problem | None:
        """Why a text must not reach the parser."""
        if len(text) > _MAX_CHARACTERS:
            return Problem("this statement is too long to be read", 1, lines[0].column)
        if not nests_harmlessly(lines, text):
            return Problem(_TOO_DEEP, 1, lines[0].column)
        if any(line.keyword == "\\" for line in lines):  # libcst misplaces what follows
            return Problem("a statement that starts with a backslash is not read", 1, 0)
        return None

    def _harm_of_header(self, statement: Statement) -> Problem | None:
        head = statement.head
        lines = tuple(line for line in statement.lines if line.first <= head.first)
        return self._harm(lines, self._text(statement.first, head.last))

    def _header(self, statement: Statement) -> HeaderFacts | None:
        """Read from the header alone; half-typed ones give their name at least."""
        head, indented = statement.head, statement.indent > 0
        text = self._text(statement.first, head.last)
        facts: HeaderFacts | Problem | None = self._harm_of_header(statement)
        if facts is None:
            facts = read_header(self._with_body(statement), indented=indented)
            if isinstance(facts, Problem):  # `class A: pass` has its body in its header
                facts = read_header(text, indented=indented)
        if isinstance(facts, HeaderFacts):
            return facts
        self._report(facts, statement)
        return _half_typed_header(self.source, statement)

    def _with_body(self, statement: Statement) -> str:
        """The header of a class or function, decorators included, over an empty body."""
        head = statement.head
        indentation = self.source.lines[head.first][: head.column]
        return f"{self._text(statement.first, head.last)}{indentation} pass\n"

    def _nested_classes(self, statement: Statement, prefix: str, level: int) -> None:
        """Classes below a statement that parses, whose other facts are known."""
        body = statement.body
        if level >= _MAX_LEVELS or not any(line.keyword == "class" for line in body):
            return
        for child in statements(body):
            if child.keyword == "class":
                self.read_class(child, prefix, level + 1)
            else:
                inner = _inner_prefix(prefix, child, self.source)
                self._nested_classes(child, inner, level + 1)

    def _comments_above(self, statement: Statement) -> tuple[tuple[int, str], ...]:
        found: list[tuple[int, str]] = []
        row = statement.first - 1
        while self.source.is_comment(row):
            found.append((row + 1, self.source.lines[row].strip()))
            row -= 1
        return tuple(reversed(found))

    def _text(self, first: int, last: int) -> str:
        return self.source.text(first, last)

    def _report(self, problem: Problem, statement: Statement) -> None:
        self._add(problem, statement.first)

    def _add(self, problem: Problem, n_lines_down: int) -> None:
        """Python names the end of a text by a line behind it: kept inside."""
        line = min(problem.line + n_lines_down, len(self.source.lines))
        column = min(problem.column, len(self.source.lines[line - 1]))
        self.file.problems.append(Problem(problem.message, line, column))


def _half_typed_header(source: Source, statement: Statement) -> HeaderFacts | None:
    """`class Net(nn.Module` without its end: the name, and the bases that stand there."""
    head = statement.head
    line = source.lines[head.first]
    match = _CLASS_NAME.match(line, head.column)
    if match is None:
        return None
    row = head.first - statement.first + 1
    name_span = Span(row, match.start(1), row, match.end(1))
    bases = _BASE.findall(line[match.end() :].partition(":")[0].partition("#")[0])
    return HeaderFacts(match[1], tuple(bases), name_span)


def _inner_prefix(prefix: str, statement: Statement, source: Source) -> str:
    """What `__qualname__` of a class inside `statement` starts with."""
    if statement.keyword != "def":
        return prefix
    return f"{prefix}{_function_name(statement, source)}.<locals>."


def _function_name(statement: Statement, source: Source) -> str:
    head = statement.head
    match = _FUNCTION_NAME.match(source.lines[head.first], head.column)
    return match[1] if match else ""


def _function_spans(statement: Statement, source: Source) -> dict[str, Span]:
    """Functions that stand under `if` or `try`, by name."""
    found: dict[str, Span] = {}
    blocks = [statements(statement.body)]
    while blocks:
        for child in blocks.pop():
            if child.keyword == "def":
                found[_function_name(child, source)] = child.span
            elif child.body:
                blocks.append(statements(child.body))
    return found
