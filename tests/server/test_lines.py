"""Lines of a text, and where they go when it is edited."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irene_server.lines import NO_LINE, Edit, Text, apply, moved, text_of, trimmed

LETTERS = st.text(st.sampled_from("ab \t\n\r\x0c\u2028é😀"), max_size=40)


@st.composite
def edited(draw: st.DrawFn) -> tuple[Text, Edit]:
    content = draw(LETTERS)
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    return text_of(content), Edit(start, end, draw(LETTERS))


def lines_of(content: str) -> list[str]:
    text = text_of(content)
    return [text.line(number) for number in range(1, text.n_lines + 1)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a\n", ["a", ""]),
        ("a\r\nb\rc\nd", ["a", "b", "c", "d"]),
        ("a\x0cb\u2028c\x85d", ["a\x0cb\u2028c\x85d"]),
    ],
)
def test_lines(content: str, expected: list[str]) -> None:
    """Only LF, CR LF and CR end a line, as in Python and in editors."""
    assert lines_of(content) == expected


def edit_of(content: str, old: str, new: str) -> tuple[Text, Edit]:
    start = content.index(old)
    return text_of(content), Edit(start, start + len(old), new)


@pytest.mark.parametrize(
    ("content", "old", "new", "expected"),
    [
        pytest.param("a\nb\nc", "b", "bb", [1, 2, 3], id="typing keeps the line"),
        pytest.param("a\nb\nc", "b", "x\nb", [1, NO_LINE, 2, 3], id="a line above"),
        pytest.param("a\nb\nc", "b\n", "b\n\n", [1, 2, NO_LINE, 3], id="return at a line's end"),
        pytest.param("a\nb\nc", "b\n", "", [1, 3], id="a line deleted"),
        pytest.param("a\nb\nc", "a\nb", "ab", [1, 3], id="two lines joined keep the first"),
        pytest.param("a\n  b\nc", "  b", "  b\n  ", [1, 2, NO_LINE, 3], id="return, indented"),
        pytest.param("a\nbb\nc", "bb", "b\nb", [1, 2, NO_LINE, 3], id="a line split"),
        pytest.param("a\nb\nc", "a\nb\nc", "a\nx\nb\nc", [1, NO_LINE, 2, 3], id="whole text sent"),
        pytest.param("a\nb\nc", "a\nb\nc", "x\nb\ny", [NO_LINE] * 3, id="another text"),
        pytest.param("a\nb\nc", "a\nb\nc", "", [NO_LINE], id="everything deleted"),
    ],
)
def test_origins(content: str, old: str, new: str, expected: list[int]) -> None:
    """Each line knows which line it was before the edit."""
    before, edit = edit_of(content, old, new)
    edit = trimmed(before, edit)
    origins = moved(range(1, before.n_lines + 1), before, edit, apply(before, edit))
    assert list(origins) == expected


@given(edited())
def test_trimming_changes_nothing(case: tuple[Text, Edit]) -> None:
    """A trimmed edit is no longer than the edit, and leads to the same text."""
    text, edit = case
    smaller = trimmed(text, edit)
    assert apply(text, smaller) == apply(text, edit)
    assert len(smaller.replacement) <= len(edit.replacement)


@given(edited())
def test_origins_are_in_order(case: tuple[Text, Edit]) -> None:
    """One origin for each line, no line twice, none that changed places, untouched ones kept."""
    before, edit = case
    after = apply(before, edit)
    origins = moved(range(1, before.n_lines + 1), before, edit, after)
    kept = [it for it in origins if it != NO_LINE]
    assert len(origins) == after.n_lines
    assert kept == sorted(set(kept))
    above = before.line_of(edit.start) - 1
    assert list(origins[:above]) == list(range(1, above + 1))


@given(edited(), edited())
def test_lines_hold_the_whole_text(one: tuple[Text, Edit], other: tuple[Text, Edit]) -> None:
    """The offset of each line's start leads back to the line."""
    for text in (apply(*one), apply(*other)):
        assert [text.line_of(it) for it in text.starts] == list(range(1, text.n_lines + 1))
