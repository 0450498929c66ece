"""Between editor terms and LSP: the only builder of LSP values, the only converter of positions.

Inside, lines count from 1 and columns count code points, as libcst has them; a client counts
lines from 0 and columns in UTF-8, UTF-16 or UTF-32 units, as its position codec knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.workspace import PositionCodec

from irene_server import messages
from irene_server.analysis import State, View
from irene_server.lines import Edit, Text, apply

if TYPE_CHECKING:
    from irene.annotations import (
        Annotations,
        ClassAnnotation,
        HoverAnnotation,
        LineAnnotation,
        ProblemAnnotation,
    )
    from irene.cards import Card
    from irene.source.outline import Span

SOURCE = "IrEne"
_MARKS: dict[State, str] = {"fresh": "", "pending": "", "stale": " · stale", "failed": " · stale"}
_STALE_NOTES: dict[State, str] = {
    "fresh": "",
    "pending": "",
    "stale": "_Stale: these values are those of an earlier text._\n\n",
    "failed": "_Stale: the last estimate failed, see the log of IrEne._\n\n",
}


@dataclass(frozen=True, slots=True)
class LensCommands:
    """Commands that lenses and code actions may name; None: the client has no such command."""

    profile: str
    select_target: str | None
    switch_device: str | None
    manage_trust: str | None


EXTENSION_COMMANDS = LensCommands(
    messages.LENS_PROFILE,
    messages.LENS_SELECT_TARGET,
    messages.LENS_SWITCH_DEVICE,
    messages.LENS_MANAGE_TRUST,
)
PLAIN_COMMANDS = LensCommands(messages.PROFILE, None, None, None)
"""For an editor without the extension: the server's own command is all that there is."""


def edits(
    text: Text, changes: Iterable[types.TextDocumentContentChangeEvent], codec: PositionCodec
) -> Iterator[Edit]:
    """The edits of one notification, each relative to the text after those before it."""
    for change in changes:
        if isinstance(change, types.TextDocumentContentChangePartial):
            start = _offset(text, change.range.start, codec)
            end = _offset(text, change.range.end, codec)
            edit = Edit(min(start, end), max(start, end), change.text)
        else:
            edit = Edit(0, len(text.content), change.text)
        yield edit
        text = apply(text, edit)


def inlay_hints(
    view: View, visible: types.Range, codec: PositionCodec, *, with_classes: bool
) -> list[types.InlayHint]:
    """Values at line ends; class totals too where the client shows no lenses."""
    annotations = view.annotations
    if annotations is None:
        return []
    hints = [(it.line, it.label) for it in annotations.lines]
    if with_classes:
        hints += [(it.line, _short(it.text)) for it in annotations.classes]
    first, last = visible.start.line + 1, visible.end.line + 1
    return [
        _inlay_hint(view, line, label, codec)
        for line, label in sorted(hints)
        if first <= line <= last
    ]


def resolved_hint(hint: types.InlayHint, view: View) -> types.InlayHint:
    """The hint with its full card; as it was where its line has moved on meanwhile."""
    found = _card_at(view.annotations, hint.position.line + 1)
    if found is not None:
        hint.tooltip = _markup(found, view.state)
    return hint


def uri_of(hint: types.InlayHint) -> str:
    """The document of a hint that this server made; "" for any other."""
    data = hint.data
    return str(data.get("uri", "")) if isinstance(data, dict) else ""


def code_lenses(
    view: View, codec: PositionCodec, commands: LensCommands, *, is_trusted: bool
) -> list[types.CodeLens]:
    """Totals over classes, and beside them what can be done."""
    if view.annotations is None:
        return []
    return [
        types.CodeLens(_range(it.name_span, view.text, codec), command, {"version": view.version})
        for it in view.annotations.classes
        for command in _lens_commands(it, view, commands, is_trusted=is_trusted)
    ]


def hover(view: View, position: types.Position, codec: PositionCodec) -> types.Hover | None:
    """The card of the innermost range at `position`."""
    line, column = position.line + 1, _column(view.text, position, codec)
    found = [it for it in _hovers(view) if _holds(it.span, line, column)]
    if not found:
        return None
    innermost = min(found, key=lambda it: _extent(it.span))
    span = _range(innermost.span, view.text, codec)
    return types.Hover(_markup(innermost.card, view.state), span)


def diagnostics(view: View, codec: PositionCodec) -> list[types.Diagnostic]:
    """Why classes have no estimate: at the lowest severity, since the code may well be right."""
    return [
        types.Diagnostic(
            range=_range(it.span, view.text, codec),
            message=f"{it.message}\n{it.advice}" if it.advice else it.message,
            severity=types.DiagnosticSeverity.Hint,
            source=SOURCE,
            code="no-estimate",
        )
        for it in _problems(view)
    ]


def code_actions(
    view: View, wanted: types.CodeActionParams, codec: PositionCodec, commands: LensCommands
) -> list[types.CodeAction]:
    """Comments that say how a class is built, and the choice among targets on a class name."""
    actions = [
        _insert_comment(it, view, wanted.context.diagnostics, codec)
        for it in _problems(view)
        if it.comment is not None and _touches(it.span, wanted.range)
    ]
    on_class = view.annotations is not None and any(
        _touches(it.name_span, wanted.range) for it in view.annotations.classes
    )
    if on_class and commands.select_target is not None:
        title = "IrEne: Select target"
        select = types.Command(title, commands.select_target, arguments=[view.uri])
        actions.append(types.CodeAction(title, types.CodeActionKind.Refactor, command=select))
    only = wanted.context.only
    return [it for it in actions if only is None or any(_is_kind(it.kind, kind) for kind in only)]


def _inlay_hint(view: View, line: int, label: str, codec: PositionCodec) -> types.InlayHint:
    return types.InlayHint(
        position=_position(view.text, line, len(view.text.line(line)), codec),
        label=f"{label}{_MARKS[view.state]}",
        padding_left=True,
        data={"uri": view.uri, "version": view.version},
    )


def _short(lens: str) -> str:
    """`12 x 31.0 mJ = 372 mJ per forward · 45 % of GPT · ...` up to its first dot."""
    return lens.partition(" · ")[0] if not lens.startswith("n/a") else lens


def _lens_commands(
    it: ClassAnnotation, view: View, commands: LensCommands, *, is_trusted: bool
) -> Iterator[types.Command]:
    mark = _MARKS[view.state] if it.state == "value" else ""
    may_trust = it.state == "unavailable" and not is_trusted
    trust = commands.manage_trust if may_trust else None
    yield types.Command(f"{it.text}{mark}", trust or "")
    if it.target_class is not None and is_trusted:
        target = [view.uri, it.target_class]
        yield types.Command("Profile this model", commands.profile, arguments=target)
    if it.other_device is not None and commands.switch_device is not None:
        title = f"Profiled on {it.other_device}: switch"
        yield types.Command(title, commands.switch_device, arguments=[it.other_device])


def _insert_comment(
    problem: ProblemAnnotation,
    view: View,
    shown: Sequence[types.Diagnostic],
    codec: PositionCodec,
) -> types.CodeAction:
    """A quick fix that is bound to the version of the text that it was made for."""
    line = view.text.line(problem.insert_line)
    indent = line[: len(line) - len(line.lstrip())]
    at = _position(view.text, problem.insert_line, 0, codec)
    insert = types.TextEdit(types.Range(at, at), f"{indent}{problem.comment}{_line_end(view)}")
    document = types.OptionalVersionedTextDocumentIdentifier(view.uri, view.version)
    own = _range(problem.span, view.text, codec)
    return types.CodeAction(
        title=f"IrEne: Say how {problem.class_name} is built",
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[it for it in shown if it.source == SOURCE and it.range == own],
        edit=types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(document, [insert])]),
    )


def _line_end(view: View) -> str:
    return "\r\n" if "\r\n" in view.text.content else "\n"


def _hovers(view: View) -> tuple[HoverAnnotation, ...]:
    return view.annotations.hovers if view.annotations else ()


def _problems(view: View) -> tuple[ProblemAnnotation, ...]:
    return view.annotations.problems if view.annotations else ()


def _card_at(annotations: Annotations | None, line: int) -> Card | None:
    if annotations is None:
        return None
    on_line: Iterable[LineAnnotation | ClassAnnotation] = (*annotations.lines, *annotations.classes)
    return next((it.card for it in on_line if it.line == line and it.card is not None), None)


def _markup(card: Card, state: State) -> types.MarkupContent:
    from irene.cards import markdown  # noqa: PLC0415 - brings libcst, which the start must not wait for

    return types.MarkupContent(types.MarkupKind.Markdown, _STALE_NOTES[state] + markdown(card))


def _is_kind(kind: types.CodeActionKind | str | None, wanted: types.CodeActionKind | str) -> bool:
    """`refactor.extract` is a `refactor`."""
    name, root = _kind_name(kind), _kind_name(wanted)
    return name == root or name.startswith(f"{root}.")


def _kind_name(kind: types.CodeActionKind | str | None) -> str:
    return kind.value if isinstance(kind, types.CodeActionKind) else kind or ""


def _extent(span: Span) -> tuple[int, int]:
    return span.end_line - span.start_line, span.end_column - span.start_column


def _holds(span: Span, line: int, column: int) -> bool:
    start, end = (span.start_line, span.start_column), (span.end_line, span.end_column)
    return start <= (line, column) <= end


def _touches(span: Span, wanted: types.Range) -> bool:
    return wanted.start.line + 1 <= span.end_line and span.start_line <= wanted.end.line + 1


def _range(span: Span, text: Text, codec: PositionCodec) -> types.Range:
    at = partial(_position, text, codec=codec)
    return types.Range(at(span.start_line, span.start_column), at(span.end_line, span.end_column))


def _position(text: Text, line: int, column: int, codec: PositionCodec) -> types.Position:
    """A position inside the text, whatever an older text said."""
    line = min(max(line, 1), text.n_lines)
    before = text.line(line)[:column]
    return types.Position(line - 1, codec.client_num_units(before))


def _column(text: Text, position: types.Position, codec: PositionCodec) -> int:
    """Code points before a client's position; beyond the end of a line is its end."""
    line = text.line(position.line + 1)
    if line.isascii():
        return min(position.character, len(line))
    n_units = 0
    for column, char in enumerate(line):
        if n_units >= position.character:
            return column
        n_units += codec.client_num_units(char)
    return len(line)


def _offset(text: Text, position: types.Position, codec: PositionCodec) -> int:
    if position.line >= text.n_lines:
        return len(text.content)
    return text.starts[position.line] + _column(text, position, codec)
