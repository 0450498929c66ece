"""Facts of one statement, read from its text alone and kept by that text.

An edit changes the text of one statement (of one method, inside a class), so that only
this one is parsed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import libcst as cst

from irene.source.outline.bodies import Body, read_body
from irene.source.outline.declarations import Parameter, Problem, Span
from irene.source.outline.syntax import Piece, UnreadableError, dotted, walk

_KEPT_STATEMENTS = 8192  # of about 2 kB each with their text


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function or method; lines are counted in its piece of text."""

    name: str
    decorators: tuple[str, ...]
    parameters: tuple[Parameter, ...]  # the first one (`self`) included
    body: Body

    @property
    def is_method(self) -> bool:
        """Whether it takes an instance first."""
        return bool(self.parameters) and not {"staticmethod", "classmethod"} & set(self.decorators)


@dataclass(frozen=True, slots=True)
class Variable:
    """`name: annotation = value` at the level of a module or class."""

    name: str
    annotation: str
    value: str  # as written; "" for none
    dotted_value: str | None
    names_in_value: tuple[str, ...]  # dotted: what a table of classes holds


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """`class Net(Base, metaclass=M):`."""

    name: str
    bases: tuple[str, ...]  # dotted, as written
    name_span: Span  # in its piece of text


@dataclass(frozen=True, slots=True)
class Facts:
    """What one statement declares; `problem` where it does not parse."""

    functions: tuple[FunctionFacts, ...] = ()
    variables: tuple[Variable, ...] = ()
    imports: tuple[tuple[str, str], ...] = ()
    problem: Problem | None = None


@lru_cache(maxsize=_KEPT_STATEMENTS)
def read_facts(text: str, *, indented: bool) -> Facts:
    """The facts of a statement that is no class; classes inside it are left out."""
    try:
        piece = Piece(text, indented=indented)
        nodes = [node for it in piece.statements for node in walk(it, nested=False)]
        everything = [node for it in piece.statements for node in walk(it)]
        return Facts(
            tuple(_function(piece, node) for node in nodes if isinstance(node, cst.FunctionDef)),
            tuple(it for node in nodes for it in _variables(piece, node)),
            tuple(it for node in everything for it in _imported(node)),
        )
    except UnreadableError as err:
        return Facts(problem=Problem(err.message, err.line, err.column))


@lru_cache(maxsize=_KEPT_STATEMENTS)
def read_part(text: str, *, indented: bool, self_name: str | None) -> Body | Problem:
    """The facts of one statement of a function body that does not parse as a whole."""
    try:
        piece = Piece(text, indented=indented)
        return read_body(piece, piece.statements, self_name)
    except UnreadableError as err:
        return Problem(err.message, err.line, err.column)


@lru_cache(maxsize=_KEPT_STATEMENTS)
def read_header(text: str, *, indented: bool) -> HeaderFacts | Problem:
    """The name and bases of a class; `text` has its header, decorators and a body."""
    try:
        piece = Piece(text, indented=indented)
        node = piece.statements[0]
        if not isinstance(node, cst.ClassDef):
            return Problem("this is no class", 1, 0)
        bases = (base for argument in node.bases for base in _bases(argument.value))
        return HeaderFacts(node.name.value, tuple(bases), piece.span(node.name))
    except UnreadableError as err:
        return Problem(err.message, err.line, err.column)


def _bases(expression: cst.BaseExpression) -> list[str]:
    """`Base`, `Base[T]`, and the arguments of `with_metaclass(Meta, Base)`."""
    if isinstance(expression, cst.Subscript):
        expression = expression.value
    if isinstance(expression, cst.Call):
        if (dotted(expression.func) or "").endswith("with_metaclass"):
            return [base for it in expression.args[1:] for base in _bases(it.value)]
        return []
    name = dotted(expression)
    return [name] if name else []


def _function(piece: Piece, node: cst.FunctionDef) -> FunctionFacts:
    decorators = tuple(filter(None, (dotted(it.decorator) for it in node.decorators)))
    parameters = _parameters(piece, node.params)
    is_bound = parameters and not {"staticmethod", "classmethod"} & set(decorators)
    self_name = parameters[0].name if is_bound else None
    body = read_body(piece, (node.body,), self_name)
    return FunctionFacts(node.name.value, decorators, parameters, body)


def _parameters(piece: Piece, node: cst.Parameters) -> tuple[Parameter, ...]:
    found = [_parameter(piece, it, "positional") for it in (*node.posonly_params, *node.params)]
    if isinstance(node.star_arg, cst.Param):
        found.append(_parameter(piece, node.star_arg, "var-positional"))
    found += [_parameter(piece, it, "keyword-only") for it in node.kwonly_params]
    if node.star_kwarg is not None:
        found.append(_parameter(piece, node.star_kwarg, "var-keyword"))
    return tuple(found)


def _parameter(piece: Piece, node: cst.Param, kind: str) -> Parameter:
    annotation = piece.code(node.annotation.annotation) if node.annotation else None
    default = piece.code(node.default) if node.default else None
    return Parameter(node.name.value, annotation, default, kind)


def _variables(piece: Piece, node: cst.CSTNode) -> list[Variable]:
    if isinstance(node, cst.AnnAssign) and isinstance(node.target, cst.Name):
        annotation = piece.code(node.annotation.annotation)
        return [_variable(piece, node.target.value, annotation, node.value)]
    if isinstance(node, cst.Assign):
        names = [it.target.value for it in node.targets if isinstance(it.target, cst.Name)]
        return [_variable(piece, name, "", node.value) for name in names]
    return []


def _variable(
    piece: Piece, name: str, annotation: str, value: cst.BaseExpression | None
) -> Variable:
    if value is None:
        return Variable(name, annotation, "", None, ())
    names = filter(None, (dotted(it) for it in walk(value)))
    return Variable(name, annotation, piece.code(value), dotted(value), tuple(names))


def _imported(node: cst.CSTNode) -> list[tuple[str, str]]:
    """(name in the file, dotted origin); a star import has the name "*"."""
    if isinstance(node, cst.Import):
        return [_import_name(alias) for alias in node.names]
    if not isinstance(node, cst.ImportFrom):
        return []
    module = "." * len(node.relative) + ((node.module and dotted(node.module)) or "")
    if isinstance(node.names, cst.ImportStar):
        return [("*", module)]
    joint = "" if module.endswith(".") else "."
    return [(_bound(it), f"{module}{joint}{dotted(it.name)}") for it in node.names]


def _import_name(alias: cst.ImportAlias) -> tuple[str, str]:
    origin = dotted(alias.name) or ""
    if alias.asname is None:  # `import torch.nn` binds torch
        origin = origin.partition(".")[0]
        return origin, origin
    return _bound(alias), origin


def _bound(alias: cst.ImportAlias) -> str:
    if alias.asname is not None and isinstance(alias.asname.name, cst.Name):
        return alias.asname.name.value
    return dotted(alias.name) or ""
