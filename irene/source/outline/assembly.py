"""Raw facts and names to the outline: which assignments are submodules, which calls use them."""

from __future__ import annotations

from collections.abc import Iterator

from irene.source.outline.bodies import Assignment, Construction
from irene.source.outline.declarations import (
    ClassOutline,
    Function,
    Outline,
    Span,
    Submodule,
    SubmoduleCall,
)
from irene.source.outline.names import Names, without_factory
from irene.source.outline.reading import RawClass, RawFile, RawMethod

_BUILDING = ("__init__", "__post_init__", "setup", "configure_model")


def assemble(raw: RawFile) -> Outline:
    """The outline of a file from its raw facts."""
    meaning = _Meaning(raw)
    return Outline(
        classes=tuple(meaning.outline(it) for it in raw.classes),
        imports=tuple(dict.fromkeys(raw.imports)),
    )


class _Meaning:
    """Answers what a name means in a class, with the whole file known."""

    def __init__(self, raw: RawFile) -> None:
        self.names = Names(raw)
        self.functions = {it.name: it for it in raw.functions}
        # By identity: a file may define a name twice.
        self.submodules = {id(it): tuple(self._submodules(it)) for it in raw.classes}

    def outline(self, raw: RawClass) -> ClassOutline:
        return ClassOutline(
            name=raw.name,
            bases=tuple(self.names.bases(raw)),
            is_module=self.names.is_module(raw.name),
            span=raw.span,
            name_span=raw.name_span,
            comments=raw.comments,
            class_variables=tuple((it.name, it.value) for it in raw.variables if it.value),
            class_annotations=tuple(
                (it.name, it.annotation) for it in raw.variables if it.annotation
            ),
            init=_function(raw, "__init__"),
            forward=_function(raw, "forward"),
            submodules=self.submodules[id(raw)],
            submodule_calls=tuple(self._uses(raw)),
            instantiates=tuple(self._instantiates(raw)),
        )

    def _submodules(self, raw: RawClass) -> Iterator[Submodule]:
        called = {use.path for it in self._running(raw) for use in it.facts.body.uses}
        called |= {path.partition(".")[0] for path in called}
        for method in self._building(raw):
            for it in method.facts.body.assignments:
                known = [c for c in it.constructions if self._constructs(c, raw, method)]
                if known or (it.attribute in called and self._may_be_module(it, raw)):
                    yield _submodule(it, tuple(known) or it.constructions, method)

    def _may_be_module(self, assignment: Assignment, raw: RawClass) -> bool:
        """An attribute that is called later, whose value the text does not tell."""
        if assignment.takes is not None and not assignment.constructions:
            return self.names.is_constructor(assignment.takes, raw.name) is None
        return any(
            not it.name.startswith("self.") and self.names.is_constructor(it.name, raw.name) is None
            for it in assignment.constructions
        )

    def _constructs(self, it: Construction, raw: RawClass, method: RawMethod) -> bool:
        if it.is_table:
            return self._is_table_of_modules(it.name, raw)
        if it.name.startswith("self."):
            return self._helper_constructs(it.name[5:], raw)
        known = self.names.is_constructor(it.name, raw.name)
        if known is not None:
            return known
        for parameter in method.facts.parameters:
            if parameter.name == it.name and parameter.default:
                return self.names.is_constructor(parameter.default, raw.name) is True
        function = self.functions.get(it.name)
        return function is not None and any(
            self.names.is_constructor(call, "") for call in function.body.calls
        )

    def _is_table_of_modules(self, name: str, raw: RawClass) -> bool:
        values = self.names.tables.get(name)
        if values is None:
            return self.names.resolve(name, raw.name).endswith(("ACT2FN", "ACT2CLS"))
        return any(self.names.is_constructor(value, "") for value in values)

    def _helper_constructs(self, name: str, raw: RawClass) -> bool:
        """Whether `self.name()` constructs modules, itself or through other helpers."""
        seen, waiting = {name}, [name]
        while waiting:
            for method in self._methods(raw, waiting.pop()):
                calls = method.facts.body.calls
                own = {it[5:] for it in calls if it.startswith("self.")}
                if any(self._makes_module(it, raw) for it in calls):
                    return True
                waiting += own - seen
                seen |= own
        return False

    def _makes_module(self, call: str, raw: RawClass) -> bool:
        return not call.startswith("self.") and self.names.is_constructor(call, raw.name) is True

    def _methods(self, raw: RawClass, name: str) -> Iterator[RawMethod]:
        """Methods of that name in the class and its bases in the file."""
        for owner in self._lineage(raw):
            yield from (it for it in owner.methods if it.facts.name == name)

    def _lineage(self, raw: RawClass) -> list[RawClass]:
        found, waiting = {raw.name: raw}, [raw]
        while waiting:
            for base in self.names.bases(waiting.pop()):
                inner = self.names.by_name.get(base)
                if inner is not None and base not in found:
                    found[base] = inner
                    waiting.append(inner)
        return list(found.values())

    def _building(self, raw: RawClass) -> list[RawMethod]:
        """`__init__` and what it calls of the class's own methods."""
        by_name = {it.facts.name: it for it in raw.methods if it.facts.is_method}
        found: dict[str, RawMethod] = {}
        waiting = [name for name in reversed(_BUILDING) if name in by_name]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found[name] = by_name[name]
            calls = (it[5:] for it in by_name[name].facts.body.calls if it.startswith("self."))
            waiting += [it for it in calls if it in by_name and it not in found]
        return list(found.values())

    def _running(self, raw: RawClass) -> list[RawMethod]:
        """Methods that run after building."""
        building = {id(it) for it in self._building(raw)}
        return [it for it in raw.methods if id(it) not in building]

    def _uses(self, raw: RawClass) -> Iterator[SubmoduleCall]:
        attributes = {
            it.attribute for owner in self._lineage(raw) for it in self.submodules[id(owner)]
        }
        for method in self._running(raw):
            for use in method.facts.body.uses:
                if attributes & set(_starts(use.path)):
                    yield SubmoduleCall(use.path, _place(use.span, method))

    def _instantiates(self, raw: RawClass) -> Iterator[str]:
        """Classes of the file that the body calls, or hands to another constructor."""
        names: dict[str, None] = {}
        for method in raw.methods:
            names.update(dict.fromkeys(method.facts.body.calls))
        for method in self._building(raw):
            names.update(dict.fromkeys(method.facts.body.mentions))
            names.update((it.default, None) for it in method.facts.parameters if it.default)
            for it in method.facts.body.assignments:
                tables = (c.name for c in it.constructions if c.is_table)
                names.update(
                    (n, None) for table in tables for n in self.names.tables.get(table, ())
                )
        for name in tuple(names):
            if name in self.functions:
                names.update(dict.fromkeys(self.functions[name].body.calls))
        found = dict.fromkeys(self._class_called(name, raw) for name in names)
        yield from (it for it in found if it is not None and it != raw.name)

    def _class_called(self, name: str, raw: RawClass) -> str | None:
        return self.names.class_named(without_factory(name), raw.name)


def _starts(path: str) -> Iterator[str]:
    """`a`, `a.b`, `a.b.c` of `a.b.c`."""
    parts = path.split(".")
    return (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def _submodule(
    assignment: Assignment, constructions: tuple[Construction, ...], method: RawMethod
) -> Submodule:
    shift = method.first_line - 1
    return Submodule(
        attribute=assignment.attribute,
        constructors=tuple(it.name for it in constructions),
        span=_place(assignment.span, method),
        constructor_lines=tuple(it.line + shift for it in constructions),
    )


def _place(span: Span, method: RawMethod) -> Span:
    return span.down(method.first_line - 1)


def _function(raw: RawClass, name: str) -> Function | None:
    """The last definition of that name, as Python has it."""
    for method in reversed(raw.methods):
        if method.facts.name == name:
            parameters = method.facts.parameters[1 if method.facts.is_method else 0 :]
            return Function(method.span, parameters)
    return None
