"""The messages beyond LSP: the same in Python, in TypeScript and in docs/protocol.md."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from irene.errors import ProtocolError
from irene_server import messages

REPOSITORY = Path(__file__).parents[2]
TYPESCRIPT = (REPOSITORY / "extension/src/messages.ts").read_text(encoding="utf-8")
PAGE = (REPOSITORY / "docs/protocol.md").read_text(encoding="utf-8")

LISTS = {
    "SERVER_SETTINGS": messages.SERVER_SETTINGS,
    "CLIENT_SETTINGS": messages.CLIENT_SETTINGS,
    "REQUESTS": messages.REQUESTS,
    "NOTIFICATIONS": messages.NOTIFICATIONS,
    "SERVER_COMMANDS": messages.SERVER_COMMANDS,
    "LENS_COMMANDS": messages.LENS_COMMANDS,
}
MESSAGES = (
    messages.InterpreterParams,
    messages.StatusParams,
    messages.DocumentParams,
    messages.Choice,
    messages.DevicesAnswer,
    messages.PredictorsAnswer,
    messages.TargetChoice,
    messages.SetTargetParams,
    messages.ProfileAnswer,
)


@pytest.mark.parametrize("name", LISTS)
def test_names_agree(name: str) -> None:
    """Each name stands in both languages, and on the page."""
    block = re.search(rf"export const {name} = [\[{{](.*?)[\]}}] as const", TYPESCRIPT, re.DOTALL)
    assert block is not None
    assert sorted(re.findall(r'"([^"]+)"', block.group(1))) == sorted(LISTS[name])
    missing = [it for it in LISTS[name] if f"{it}`" not in PAGE]
    assert missing == []


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda it: it.__name__)
def test_fields_agree(kind: type) -> None:
    """Each message has the same keys in both languages."""
    block = re.search(rf"export interface {kind.__name__} {{(.*?)\n}}", TYPESCRIPT, re.DOTALL)
    assert block is not None
    keys = re.findall(r"readonly (\w+):", block.group(1))
    assert keys == [
        re.sub(r"_(\w)", lambda it: it.group(1).upper(), field.name) for field in fields(kind)
    ]


def test_encode_is_the_inverse_of_decode() -> None:
    """A message survives the way through JSON, in camelCase."""
    message = messages.SetTargetParams(uri="file:///a.py", class_name="Net")
    encoded = messages.encode(message)
    assert encoded == {"uri": "file:///a.py", "className": "Net"}
    assert messages.decode(messages.SetTargetParams, encoded) == message


def test_nested_messages_are_encoded() -> None:
    """Lists of messages are lists of objects."""
    choice = messages.Choice("cpu", "CPU", "12 cores")
    answer = messages.DevicesAnswer((choice,), "cpu", "settings")
    assert messages.encode(answer) == {
        "devices": [{"id": "cpu", "name": "CPU", "detail": "12 cores"}],
        "selected": "cpu",
        "setBy": "settings",
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"path": 3, "trusted": True, "source": "x"}, "wrong or missing path"),
        ({"path": None}, "wrong or missing trusted, source"),
        ([], "expected an object"),
    ],
)
def test_malformed(data: object, message: str) -> None:
    """What cannot be read is named."""
    with pytest.raises(ProtocolError, match=message):
        messages.decode(messages.InterpreterParams, data)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, None),
        ({"theirs": 1}, None),
        (
            {"interpreter": {"path": "/bin/python3", "trusted": True, "source": "PATH"}},
            messages.InterpreterParams("/bin/python3", trusted=True, source="PATH"),
        ),
        (
            {"interpreter": {"path": 7}},
            messages.InterpreterParams(None, trusted=False, source="unreadable options"),
        ),
    ],
)
def test_interpreter_at_start(options: object, expected: object) -> None:
    """Only our extension names an interpreter; what cannot be read is not trusted."""
    assert messages.interpreter_at_start(options) == expected
