"""Editor terms to LSP: positions in every encoding, marks, commands, bound edits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from irene.annotations import (
    Annotations,
    ClassAnnotation,
    HoverAnnotation,
    LineAnnotation,
    ProblemAnnotation,
)
from irene.cards import Card
from irene.source.outline import Span
from irene_server import convert
from irene_server.analysis import View
from irene_server.convert import EXTENSION_COMMANDS, PLAIN_COMMANDS
from irene_server.lines import apply, text_of

URI = "file:///net.py"
ENCODINGS = ("utf-8", "utf-16", "utf-32")
CONTENT = 'class Net(Module):\r\n\tx = "😀é"; self.fc = Linear(3)\r\n\ty = 1\r\n'
EVERYTHING = types.Range(types.Position(0, 0), types.Position(99, 0))


def card_of(title: str) -> Card:
    return Card(title, "31.0 mJ", "20 mJ to 40 mJ", "one call", (), "", ("1 ms",), (), ())


ANNOTATIONS = Annotations(
    version=3,
    classes=(
        ClassAnnotation(
            "Net",
            1,
            Span(1, 6, 1, 9),
            "31.0 mJ per forward · A100 · modelled ± 40 %",
            "value",
            "Net",
            None,
            card_of("Net"),
        ),
    ),
    lines=(LineAnnotation(2, "31.0 mJ · 20 %", 0.031, 0.2, card_of("fc")),),
    hovers=(
        HoverAnnotation(Span(1, 6, 1, 9), card_of("Net")),
        HoverAnnotation(Span(2, 12, 2, 31), card_of("statement")),
        HoverAnnotation(Span(2, 12, 2, 19), card_of("call")),
    ),
    problems=(
        ProblemAnnotation(
            "Net", Span(1, 6, 1, 9), "Net needs d", "Say what d is.", "# irene: Net(d=1)", 1
        ),
    ),
    summary="Net 31.0 mJ",
)
VIEW = View(URI, text_of(CONTENT), 3, ANNOTATIONS, "fresh", is_reading=False, device="A100")


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 34), ("utf-16", 31), ("utf-32", 30)])
def test_hints_stand_at_the_end_of_their_line(encoding: str, units: int) -> None:
    """After an emoji and a tab, before CR LF, in the client's units."""
    codec = PositionCodec(encoding)
    assert convert.inlay_hints(VIEW, EVERYTHING, codec, with_classes=False) == [
        types.InlayHint(
            types.Position(1, units),
            "31.0 mJ · 20 %",
            padding_left=True,
            data={"uri": URI, "version": 3},
        )
    ]


def test_class_totals_are_hints_where_there_are_no_lenses() -> None:
    """Shortened to the value, since the card has the rest."""
    hints = convert.inlay_hints(VIEW, EVERYTHING, PositionCodec(), with_classes=True)
    assert [(it.position.line, it.label) for it in hints] == [
        (0, "31.0 mJ per forward"),
        (1, "31.0 mJ · 20 %"),
    ]


def test_only_the_asked_lines_have_hints() -> None:
    """A client asks for what is visible."""
    asked = types.Range(types.Position(0, 0), types.Position(0, 5))
    assert convert.inlay_hints(VIEW, asked, PositionCodec(), with_classes=False) == []


@pytest.mark.parametrize(
    ("state", "label"),
    [
        ("fresh", "31.0 mJ · 20 %"),
        ("pending", "31.0 mJ · 20 %"),
        ("stale", "31.0 mJ · 20 % · stale"),
        ("failed", "31.0 mJ · 20 % · stale"),
    ],
)
def test_old_values_are_marked(state: convert.State, label: str) -> None:
    """A value that the text has left behind says so, in the hint and in its card."""
    view = replace(VIEW, state=state)
    (hint,) = convert.inlay_hints(view, EVERYTHING, PositionCodec(), with_classes=False)
    tooltip = convert.resolved_hint(hint, view).tooltip
    assert hint.label == label
    assert isinstance(tooltip, types.MarkupContent)
    assert tooltip.value.startswith("_Stale") == label.endswith("stale")


def test_resolving_brings_the_card() -> None:
    """The hint's own tooltip is the full card; a hint of a line that is gone has none."""
    (hint,) = convert.inlay_hints(VIEW, EVERYTHING, PositionCodec(), with_classes=False)
    assert hint.tooltip is None
    gone = replace(VIEW, annotations=replace(ANNOTATIONS, lines=()))
    assert convert.resolved_hint(hint, gone).tooltip is None
    tooltip = convert.resolved_hint(hint, VIEW).tooltip
    assert isinstance(tooltip, types.MarkupContent)
    assert (tooltip.kind, tooltip.value[:6]) == (types.MarkupKind.Markdown, "**fc**")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("line", "before", "title"),
    [
        (0, "class N", "Net"),
        (0, "class Net(", None),
        (1, '\tx = "😀é"; self', "call"),
        (1, '\tx = "😀é"; self.fc = L', "statement"),
        (1, "\tx", None),
        (2, "", None),
        (98, "", None),
    ],
)
def test_hover(encoding: str, line: int, before: str, title: str | None) -> None:
    """The innermost range with a card, wherever the client counts its columns."""
    codec = PositionCodec(encoding)
    position = types.Position(line, codec.client_num_units(before))
    found = convert.hover(VIEW, position, codec)
    assert title_of(found) == title


def title_of(hover: types.Hover | None) -> str | None:
    if hover is None:
        return None
    assert isinstance(hover.contents, types.MarkupContent)
    return hover.contents.value.split("**")[1]


def lenses(view: View, commands: convert.LensCommands, *, is_trusted: bool = True) -> list[object]:
    found = convert.code_lenses(view, PositionCodec(), commands, is_trusted=is_trusted)
    assert all(it.data == {"version": 3} for it in found)
    return [
        (it.command.title, it.command.command, it.command.arguments) for it in found if it.command
    ]


def with_class(**changes: object) -> View:
    changed = replace(ANNOTATIONS.classes[0], **changes)  # type: ignore[arg-type] # a test's table
    return replace(VIEW, annotations=replace(ANNOTATIONS, classes=(changed,)))


LENS = "31.0 mJ per forward · A100 · modelled ± 40 %"


def test_lenses() -> None:
    """The total, and beside it what can be done, by the commands that the client has."""
    profile = ("Profile this model", "irene.profile", [URI, "Net"])
    plain = ("Profile this model", "irene.server.profile", [URI, "Net"])
    switch = ("Profiled on cpu: switch", "irene.switchDevice", ["cpu"])
    elsewhere = with_class(other_device="cpu")
    assert lenses(VIEW, EXTENSION_COMMANDS) == [(LENS, "", None), profile]
    assert lenses(elsewhere, EXTENSION_COMMANDS) == [(LENS, "", None), profile, switch]
    assert lenses(elsewhere, PLAIN_COMMANDS) == [(LENS, "", None), plain]
    assert lenses(replace(VIEW, state="stale"), PLAIN_COMMANDS)[0] == (f"{LENS} · stale", "", None)


def test_lenses_of_an_untrusted_folder() -> None:
    """Nothing can be run; the lens itself leads to the page on trust."""
    view = with_class(text="n/a · needs trust", state="unavailable")
    asks = ("n/a · needs trust", "irene.manageTrust", None)
    assert lenses(view, EXTENSION_COMMANDS, is_trusted=False) == [asks]


def test_diagnostics_are_quiet() -> None:
    """Why there is no value is a hint on the name, never an error."""
    assert convert.diagnostics(VIEW, PositionCodec()) == [
        types.Diagnostic(
            types.Range(types.Position(0, 6), types.Position(0, 9)),
            "Net needs d\nSay what d is.",
            severity=types.DiagnosticSeverity.Hint,
            code="no-estimate",
            source="IrEne",
        )
    ]


def actions(line: int, only: list[types.CodeActionKind] | None = None) -> list[types.CodeAction]:
    at = types.Position(line, 7)
    context = types.CodeActionContext(convert.diagnostics(VIEW, PositionCodec()), only)
    wanted = types.CodeActionParams(types.TextDocumentIdentifier(URI), types.Range(at, at), context)
    return convert.code_actions(VIEW, wanted, PositionCodec(), EXTENSION_COMMANDS)


def test_a_quick_fix_writes_the_comment() -> None:
    """Above the class, with the file's line ends, bound to the version it was made for."""
    fix, select = actions(0)
    start = types.Position(0, 0)
    insert = types.TextEdit(types.Range(start, start), "# irene: Net(d=1)\r\n")
    document = types.OptionalVersionedTextDocumentIdentifier(URI, 3)
    assert fix.edit == types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(document, [insert])]
    )
    assert fix.diagnostics == convert.diagnostics(VIEW, PositionCodec())
    assert select.command == types.Command(
        "IrEne: Select target", "irene.selectTarget", arguments=[URI]
    )


def test_actions_stay_where_they_belong() -> None:
    """Nothing on other lines, and only the kinds that the client asks for."""
    assert actions(2) == []
    assert [it.kind for it in actions(0, [types.CodeActionKind.QuickFix])] == [
        types.CodeActionKind.QuickFix
    ]
    assert actions(0, [types.CodeActionKind.SourceOrganizeImports]) == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(
    content=st.text(st.sampled_from("aé😀\t\n\r\x0c\u2028"), max_size=30),
    replacement=st.text(st.sampled_from("b😀\n"), max_size=5),
    data=st.data(),
)
def test_edits_of_a_client(
    encoding: str, content: str, replacement: str, data: st.DataObject
) -> None:
    """An edit in the client's units changes what it changes in code points."""
    text, codec = text_of(content), PositionCodec(encoding)
    inside = [  # a client has no position between CR and LF
        it for it in range(len(content) + 1) if content[it - 1 : it + 1] != "\r\n" or it == 0
    ]
    start, end = sorted(data.draw(st.tuples(*[st.sampled_from(inside)] * 2)))

    def position(offset: int) -> types.Position:
        line = text.line_of(offset)
        before = content[text.starts[line - 1] : offset]
        return types.Position(line - 1, codec.client_num_units(before))

    span = types.Range(position(start), position(end))
    changes = [types.TextDocumentContentChangePartial(span, replacement)]
    (edit,) = convert.edits(text, changes, codec)
    assert apply(text, edit).content == content[:start] + replacement + content[end:]


def test_edits_build_on_each_other() -> None:
    """Each change of a notification counts from the text after those before it."""
    codec, at = PositionCodec(), types.Position
    changes: list[types.TextDocumentContentChangeEvent] = [
        types.TextDocumentContentChangePartial(types.Range(at(0, 0), at(0, 0)), "😀\n"),
        types.TextDocumentContentChangePartial(types.Range(at(1, 1), at(1, 99)), "!"),
        types.TextDocumentContentChangePartial(types.Range(at(0, 2), at(7, 0)), "?"),
    ]
    text = text_of("abc")
    contents = []
    for edit in convert.edits(text, changes, codec):
        text = apply(text, edit)
        contents.append(text.content)
    assert contents == ["😀\nabc", "😀\na!", "😀?"]
    whole = [types.TextDocumentContentChangeWholeDocument("new")]
    (edit,) = convert.edits(text, whole, codec)
    assert apply(text, edit).content == "new"
