"""What the body of one function does with `self`: submodules assigned, submodules called.

Facts are read without knowing imports or other methods, so that they can be kept for as
long as the text of the function stays the same. `assembly` decides what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import libcst as cst

from irene.source.outline.declarations import Span
from irene.source.outline.syntax import Piece, dotted, literal, walk

_ADDING = frozenset({"append", "extend", "insert", "add_module", "register_module", "update"})
_REGISTERING = frozenset({"add_module", "register_module"})
_TRANSPARENT = frozenset({"reversed", "list", "tuple", "iter", "sorted"})
_VIEWS = frozenset({"items", "values", "children", "modules", "named_children"})
_NOT_RUNNING = (
    _ADDING
    | _VIEWS
    | {
        *("parameters", "named_parameters", "named_modules", "buffers", "state_dict", "keys"),
        *("load_state_dict", "train", "eval", "to", "apply", "requires_grad_", "zero_grad"),
    }
)
"""Methods that every module has and that do not run it."""

_ASKING = frozenset({"isinstance", "issubclass", "super", "type", "hasattr", "cast"})
_MAX_SITES = 64  # kept for one local name, which `x = f(x)` would let grow without end

_Site = tuple[str, cst.CSTNode, bool]  # dotted name, the call, whether it is a table look-up


@dataclass(frozen=True, slots=True)
class Construction:
    """A call that may construct a module: `nn.Linear(...)`, `ACT2FN[...]`."""

    name: str  # dotted, as written; the first parameter is "self"
    line: int
    is_table: bool  # a subscript of the name, called or not


@dataclass(frozen=True, slots=True)
class Assignment:
    """`self.attribute = value`, or a call that adds `value` to the submodules."""

    attribute: str
    constructions: tuple[Construction, ...]
    takes: str | None  # dotted, where the value is a name alone: `self.encoder = encoder`
    span: Span


@dataclass(frozen=True, slots=True)
class Use:
    """`self.a.b` that is called or iterated."""

    path: str
    span: Span


@dataclass(frozen=True, slots=True)
class Body:
    """Facts of one function body; lines are counted in its piece of text."""

    assignments: tuple[Assignment, ...] = ()
    uses: tuple[Use, ...] = ()
    calls: tuple[str, ...] = ()  # all that is called, dotted: "nn.Linear", "self._make_layer"
    mentions: tuple[str, ...] = ()  # plain names passed as arguments: partial(nn.LayerNorm)


def read_body(piece: Piece, nodes: Sequence[cst.CSTNode], self_name: str | None) -> Body:
    """The facts of `nodes`, the statements of a body; `self_name` is its first parameter."""
    reading = _Reading(piece, self_name)
    for node in nodes:
        for it in walk(node):
            reading.see(it)
    return reading.body()


def join(bodies: Sequence[Body]) -> Body:
    """One body of the pieces of one."""
    return Body(
        tuple(it for body in bodies for it in body.assignments),
        tuple(it for body in bodies for it in body.uses),
        tuple(it for body in bodies for it in body.calls),
        tuple(it for body in bodies for it in body.mentions),
    )


def shift(body: Body, n_lines: int) -> Body:
    """The same facts `n_lines` further down."""
    assignments = (
        replace(
            it,
            span=it.span.down(n_lines),
            constructions=tuple(replace(c, line=c.line + n_lines) for c in it.constructions),
        )
        for it in body.assignments
    )
    uses = (Use(it.path, it.span.down(n_lines)) for it in body.uses)
    return replace(body, assignments=tuple(assignments), uses=tuple(uses))


@dataclass(slots=True)
class _Reading:
    """Names bound so far, in the order of the text, and the facts found."""

    piece: Piece
    self_name: str | None
    paths: dict[str, str] = field(default_factory=dict)  # local name -> path below self
    locals: dict[str, dict[_Site, None]] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # local name -> its values
    assignments: list[Assignment] = field(default_factory=list)
    uses: dict[Span, Use] = field(default_factory=dict)
    calls: dict[str, None] = field(default_factory=dict)
    mentions: dict[str, None] = field(default_factory=dict)

    def body(self) -> Body:
        return Body(
            tuple(self.assignments),
            tuple(self.uses.values()),
            tuple(self.calls),
            tuple(self.mentions),
        )

    def see(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.Assign):
            for target in node.targets:
                self._assign(target.target, node.value, node)
        elif isinstance(node, (cst.AnnAssign, cst.AugAssign)):
            if node.value is not None:
                self._assign(node.target, node.value, node)
        elif isinstance(node, (cst.For, cst.CompFor)):
            self._iterate(node.target, node.iter)
        elif isinstance(node, cst.FunctionDef):
            self.locals[node.name.value] = self._sites(node.body)
        elif isinstance(node, cst.Call):
            self._call(node)

    def _assign(self, target: cst.CSTNode, value: cst.BaseExpression, whole: cst.CSTNode) -> None:
        if isinstance(target, (cst.Tuple, cst.List)):
            values = value.elements if isinstance(value, (cst.Tuple, cst.List)) else ()
            for left, right in zip(target.elements, values, strict=False):
                self._assign(left.value, right.value, whole)
            return
        if isinstance(target, cst.Name):
            self._bind(target.value, value)
            return
        path = self._path(target)
        if path:
            self._record(path, value, whole)

    def _bind(self, name: str, value: cst.BaseExpression) -> None:
        path = self._path(value)
        if path:
            self.paths[name] = path
        self._keep(name, value)
        if not isinstance(value, cst.Call):
            names = [self._name(node) for node in walk(value)]
            self.classes[name] = tuple(it for it in names if it and _is_class_like(it))

    def _keep(self, name: str, value: cst.BaseExpression) -> None:
        kept = self.locals.setdefault(name, {})
        if len(kept) < _MAX_SITES:
            kept.update(self._sites(value))

    def _record(self, attribute: str, value: cst.BaseExpression, whole: cst.CSTNode) -> None:
        constructions = tuple(
            Construction(name, self.piece.span(node).start_line, is_table)
            for name, node, is_table in self._sites(value)
        )
        takes = None if isinstance(value, cst.Call) else self._name(value)
        if constructions or takes:
            self.assignments.append(
                Assignment(attribute, constructions, takes, self.piece.span(whole))
            )

    def _sites(self, value: cst.CSTNode) -> dict[_Site, None]:
        """Calls and table look-ups in `value`, those of local names in it included."""
        found: dict[_Site, None] = {}
        for node in walk(value):
            if isinstance(node, cst.Call):
                table = isinstance(node.func, cst.Subscript)
                name = None if table else self._name(node.func)
                if name:
                    found[name, node, False] = None
            elif isinstance(node, cst.Subscript):
                name = self._name(node.value)
                if name and name.rpartition(".")[2].isupper():
                    found[name, node, True] = None
            elif isinstance(node, cst.Name):
                found.update(self.locals.get(node.value, {}))
        return found

    def _iterate(self, target: cst.CSTNode, over: cst.BaseExpression) -> None:
        for name, expression in _bindings(target, over):
            path = self._path(expression)
            if path:
                self.paths[name] = path
                self._use(path, expression)

    def _call(self, call: cst.Call) -> None:
        name = self._name(call.func)
        if name:
            self.calls[name] = None
            self.mentions.update(dict.fromkeys(self.classes.get(name, ())))
            self._mention(name, call)
            self._add(name, call)
        path = self._path(call.func)
        if path and path.rpartition(".")[2] not in _NOT_RUNNING:
            self._use(path.removesuffix(".forward"), call.func)

    def _mention(self, name: str, call: cst.Call) -> None:
        """Classes and submodules handed to another function, which may call them."""
        if name in _ASKING:
            return
        for argument in call.args:
            mentioned = self._name(argument.value)
            if mentioned:
                self.mentions[mentioned] = None
            path = self._path(argument.value) if "checkpoint" in name else None
            if path:
                self._use(path.removesuffix(".__call__"), argument.value)

    def _add(self, name: str, call: cst.Call) -> None:
        """`self.add_module("x", ...)`, `self.blocks.append(...)`, `setattr(self, "x", ...)`."""
        owner, _, method = name.rpartition(".")
        arguments = [argument.value for argument in call.args]
        if not arguments or (name != "setattr" and method not in _ADDING):
            return
        if name == "setattr":
            if len(arguments) == 3 and self._name(arguments[0]) == "self":
                self._record(literal(arguments[1]) or "", arguments[2], call)
        elif owner == "self" and method in _REGISTERING:
            self._record(literal(arguments[0]) or "", arguments[-1], call)
        elif owner in self.locals:
            self._keep(owner, arguments[-1])
        elif path := self._path(call.func):
            self._record(path.removesuffix(f".{method}"), arguments[-1], call)

    def _use(self, path: str, node: cst.CSTNode) -> None:
        span = self.piece.span(node)
        self.uses[span] = Use(path, span)

    def _name(self, node: cst.CSTNode) -> str | None:
        name = dotted(node)
        if name and self.self_name and name.partition(".")[0] == self.self_name:
            return "self" + name[len(self.self_name) :]
        return name

    def _path(self, node: cst.CSTNode) -> str | None:
        """`blocks` of `self.blocks[i]`, `block` in a loop over them, `getattr(self, "blocks")`."""
        attributes: list[str] = []
        while True:
            if isinstance(node, cst.Attribute):
                attributes.append(node.attr.value)
                node = node.value
            elif isinstance(node, cst.Subscript):
                node = node.value
            elif isinstance(node, cst.Call):
                root = self._call_path(node)
                break
            else:
                root = self._root(node.value) if isinstance(node, cst.Name) else None
                break
        if root is None:
            return None
        return ".".join(part for part in (root, *reversed(attributes)) if part)

    def _root(self, name: str) -> str | None:
        return "" if name == self.self_name else self.paths.get(name)

    def _call_path(self, call: cst.Call) -> str | None:
        arguments = [argument.value for argument in call.args]
        name = dotted(call.func)
        if name == "getattr" and len(arguments) >= 2 and dotted(arguments[0]) == self.self_name:
            return literal(arguments[1])
        if name in _TRANSPARENT and len(arguments) == 1:
            return self._path(arguments[0])
        if isinstance(call.func, cst.Attribute) and call.func.attr.value in _VIEWS:
            return self._path(call.func.value)
        return None


def _is_class_like(name: str) -> bool:
    return name.rpartition(".")[2].lstrip("_")[:1].isupper()


def _bindings(
    target: cst.CSTNode, over: cst.BaseExpression
) -> Iterator[tuple[str, cst.BaseExpression]]:
    """`for i, (a, b) in enumerate(zip(xs, ys))` binds a to xs and b to ys."""
    if isinstance(target, cst.Name):
        yield target.value, over
        return
    if not isinstance(target, (cst.Tuple, cst.List)) or not isinstance(over, cst.Call):
        return
    name, arguments = dotted(over.func), [argument.value for argument in over.args]
    elements = [element.value for element in target.elements]
    if name == "enumerate" and arguments and len(elements) == 2:
        yield from _bindings(elements[1], arguments[0])
    elif name == "zip":
        for element, argument in zip(elements, arguments, strict=False):
            yield from _bindings(element, argument)
    elif isinstance(over.func, cst.Attribute) and len(elements) == 2:
        yield from _bindings(elements[1], over)
