"""The real server process, asked over standard input and output as an editor asks it."""

from __future__ import annotations

import asyncio
import json
import sys
import venv
from pathlib import Path

import psutil
import pytest
from editor import Editor, editor, until, vscode
from lsprotocol import types

DEVICE: dict[str, object] = {"device": "A100-SXM4-80GB"}
NET = """from torch import nn

class Part(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        return self.fc(x)

# irene: Net(64), x=float32[8, 64]
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.parts = nn.ModuleList([Part(width) for _ in range(3)])

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x
"""
LINE_FC, LINE_PART, LINE_PARTS, LINE_NET = 6, 3, 15, 12


def written(tmp_path: Path, text: str = NET, name: str = "net.py") -> str:
    """The text, saved; the buffer is what counts."""
    with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
        file.write(text)
    return text


async def answers_the_next_request(made: Editor) -> None:
    """Whatever a file did, another one gets its values."""
    uri = await made.open("next.py", NET)
    assert (await made.settled(uri))[LINE_NET].startswith(("4.", "5.", "6.", "3."))


async def test_values_stand_on_classes_lines_and_cards(tmp_path: Path) -> None:
    """Lens over each class, hint on each line that creates a submodule, card on names and calls."""
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        titles = await made.settled(uri)
        assert set(titles) == {LINE_PART, LINE_NET}
        assert titles[LINE_PART].startswith("3 x ")
        assert (
            " per forward · 100 % of Net · A100-SXM4-80GB · 8 x 64 · float32 · modelled "
            in (titles[LINE_PART])
        )
        labels = await made.labels(uri)
        assert set(labels) == {LINE_FC, LINE_PARTS}
        assert labels[LINE_FC] == labels[LINE_PARTS]
        assert labels[LINE_FC].startswith("3 x ")
        for line, column in [(LINE_PART, 8), (LINE_FC, 12), (9, 17)]:
            card = await made.hover(uri, line, column)
            assert card is not None
            assert "90 % interval" in card
            assert "A100-SXM4-80GB" in card
        assert await made.hover(uri, 1, 8) is None


async def test_a_hint_s_tooltip_is_its_card(tmp_path: Path) -> None:
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        await made.settled(uri)
        hint = (await made.hints(uri))[0]
        assert hint.tooltip is None
        resolved = await made.client.inlay_hint_resolve_async(hint)
        assert isinstance(resolved.tooltip, types.MarkupContent)
        assert resolved.tooltip.value == await made.hover(uri, LINE_FC, 12)


async def test_lenses_stand_at_once_where_they_will_stay(tmp_path: Path) -> None:
    """A placeholder first, then the text alone changes."""
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        first = await until(lambda: made.titles(uri), bool)
        assert set(first) == set(await made.settled(uri))


async def test_values_follow_the_text(tmp_path: Path) -> None:
    """An edit changes the values; each result is of the version that it was made for."""
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        before = (await made.settled(uri))[LINE_NET]
        made.change(uri, NET.replace("range(3)", "range(5)"))
        titles = await until(lambda: made.titles(uri), lambda it: it[LINE_PART].startswith("5 x "))
        assert titles[LINE_NET] != before
        assert made.refreshes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_positions_are_in_the_client_s_units(tmp_path: Path, encoding: str) -> None:
    """An emoji and a tab before the end of a line, CRLF at it."""
    line = "\t\tself.fc = nn.Linear(width, width)  # 🧠⚡"
    text = NET.replace("    ", "\t").replace("\t\tself.fc = nn.Linear(width, width)", line)
    text = text.replace("\n", "\r\n")
    units = {"utf-8": len(line.encode()), "utf-16": len(line.encode("utf-16-le")) // 2,
             "utf-32": len(line)}  # fmt: skip
    async with editor(tmp_path, settings=DEVICE, capabilities=vscode(encoding)) as made:
        uri = await made.open("net.py", written(tmp_path, text))
        await made.settled(uri)
        assert made.capabilities.position_encoding == encoding
        hint = next(it for it in await made.hints(uri) if it.position.line == LINE_FC - 1)
        assert hint.position.character == units[encoding]


async def test_a_client_without_lenses_gets_class_totals_as_hints(tmp_path: Path) -> None:
    async with editor(tmp_path, settings=DEVICE, capabilities=vscode(lenses=False)) as made:
        uri = await made.open("net.py", written(tmp_path))
        labels = await until(lambda: made.labels(uri), lambda it: LINE_FC in it)
        assert set(labels) == {LINE_PART, LINE_FC, LINE_NET, LINE_PARTS}


async def test_nothing_of_an_untrusted_folder_runs(tmp_path: Path) -> None:
    """Importing the file would leave a mark; the lens says what is needed."""
    mark = tmp_path / "ran"
    text = f"open({str(mark)!r}, 'w').close()\n{NET}"
    async with editor(tmp_path, trusted=False, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path, text))
        titles = await made.settled(uri)
        assert "needs trust" in titles[LINE_NET + 1]
        assert await made.labels(uri) == {}
        assert not mark.exists()


async def test_the_server_loads_no_model_library(tmp_path: Path) -> None:
    """Torch and the user's code live in the worker alone."""
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        await made.settled(uri)
        running = [it for it in psutil.Process().children() if it.status() != psutil.STATUS_ZOMBIE]
        children = [it for it in running if "irene_server" in it.cmdline()]
        maps = [mapped.path for it in children for mapped in it.memory_maps()]
        assert maps
        assert not [it for it in maps if "/torch/" in it or "/numpy/" in it]


CONSTRUCTOR = """from torch import nn
# irene: Net(), x=float32[2, 2]
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        {}
    def forward(self, x):
        return {}
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_at_all\n" + NET, "nowhere_at_all"),
        (CONSTRUCTOR.format("raise ValueError('no width here')", "x"), "no width here"),
        (CONSTRUCTOR.format("import os; os._exit(0)", "x"), "exit"),
        (CONSTRUCTOR.format("import ctypes; ctypes.string_at(0)", "x"), "SIGSEGV"),
        (CONSTRUCTOR.format("self.fc = nn.Linear(3, 3)", "self.fc(x)"), "2"),
        (CONSTRUCTOR.format("pass", "x * x.numpy().sum()"), "values of a tensor"),
        (NET.replace("# irene: Net(64)", "# irene: Net(64"), "cannot read"),
        (NET.replace("# irene: Net(64), x=float32[8, 64]", ""), "width"),
    ],
    ids=[
        "import",
        "raises",
        "exits",
        "crashes",
        "shape",
        "values",
        "comment",
        "arguments",
    ],
)
async def test_what_fails_says_so_and_the_next_request_is_answered(
    tmp_path: Path, text: str, words: str
) -> None:
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path, text))
        titles = await made.settled(uri)
        assert any(it.startswith("n/a · ") for it in titles.values())
        problems = await until(lambda: asyncio.sleep(0, made.problems(uri)), bool)
        assert words in problems[0]
        await answers_the_next_request(made)


async def test_a_constructor_that_prints_megabytes_harms_nothing(tmp_path: Path) -> None:
    text = NET.replace("        self.fc =", "        print('x' * 3_000_000)\n        self.fc =")
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path, text))
        assert "per forward" in (await made.settled(uri))[LINE_NET + 1]


async def test_half_typed_text_keeps_the_server_and_its_values(tmp_path: Path) -> None:
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        await made.settled(uri)
        made.change(uri, NET.replace("nn.Linear(width, width)", "nn.Linear(width,"))
        assert await made.labels(uri)
        made.change(uri, NET.replace("range(3)", "range(4)"))
        await until(lambda: made.titles(uri), lambda it: it[LINE_PART].startswith("4 x "))


async def test_names_of_the_user_s_files_do_not_clash(tmp_path: Path) -> None:
    """The workspace has its own irene.py, profile.py, attrs.py and server package."""
    for name in ("irene.py", "profile.py"):
        (tmp_path / name).write_text("WIDTH = 64\n")
    (tmp_path / "attrs.py").write_text("raise RuntimeError('planted')\n")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("")
    text = NET.replace("from torch", "import irene, profile, server\nfrom torch", 1)
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path, text))
        assert "per forward" in (await made.settled(uri))[LINE_NET + 1]


async def test_an_unknown_device_is_answered_with_the_nearest_names(tmp_path: Path) -> None:
    async with editor(tmp_path, settings={"device": "A10O"}) as made:
        uri = await made.open("net.py", written(tmp_path))
        title = (await made.settled(uri))[LINE_NET]
        assert "A10O" in title
        assert "A10" in (await until(lambda: asyncio.sleep(0, made.problems(uri)), bool))[0]
        made.set(**DEVICE)
        await until(lambda: made.titles(uri), lambda it: "per forward" in it[LINE_NET])


async def test_an_interpreter_without_torch_is_named(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=sys.platform != "win32")
    python = next(it for it in (tmp_path / "bare").glob("*/python*") if it.stem == "python")
    async with editor(tmp_path, interpreter=str(python), settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        title = (await made.settled(uri))[LINE_NET]
        assert "torch is not installed" in title


async def test_no_interpreter_is_said(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone" / "python")
    async with editor(tmp_path, interpreter=gone, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        assert gone in (await made.settled(uri))[LINE_NET]


async def test_two_files_with_one_class_name_keep_their_own_values(tmp_path: Path) -> None:
    async with editor(tmp_path, settings=DEVICE) as made:
        one = await made.open("one.py", written(tmp_path, NET, "one.py"))
        other_text = NET.replace("range(3)", "range(7)")
        two = await made.open("two.py", written(tmp_path, other_text, "two.py"))
        assert (await made.settled(one))[LINE_PART].startswith("3 x ")
        assert (await made.settled(two))[LINE_PART].startswith("7 x ")


async def test_a_profile_is_shown_kept_and_found_again(tmp_path: Path) -> None:
    """Measured times stand in place of the estimate, at once again after a restart."""
    async with editor(tmp_path) as made:
        uri = await made.open("net.py", written(tmp_path))
        assert "modelled" in (await made.settled(uri))[LINE_NET]
        params = types.ExecuteCommandParams("irene.server.profile", [uri, None])
        answer = await made.client.workspace_execute_command_async(params)
        assert answer is not None
        assert "profiled" in str(answer)
        titles = await until(lambda: made.titles(uri), lambda it: "profiled" in it[LINE_NET])
        assert "profiled" in titles[LINE_PART]
        made.set(**DEVICE)
        lenses = await until(
            lambda: made.lenses(uri), lambda it: any("A100" in title for _, title, _ in it)
        )
        assert "irene.switchDevice" in [command for _, _, command in lenses]
    async with editor(tmp_path) as made:
        uri = await made.open("net.py", NET)
        assert "profiled" in (await made.settled(uri))[LINE_NET]


async def test_a_cache_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / ".cache"
    folder.mkdir()
    (folder / "profiles.sqlite").write_text("not a database, and of some length " * 100)
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path))
        assert "per forward" in (await made.settled(uri))[LINE_NET]
    assert [it.name for it in folder.iterdir() if "damaged" in it.name]


async def test_a_comment_is_offered_for_what_cannot_be_built(tmp_path: Path) -> None:
    text = NET.replace("# irene: Net(64), x=float32[8, 64]\n", "")
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", written(tmp_path, text))
        await until(lambda: asyncio.sleep(0, made.problems(uri)), bool)
        diagnostic = made.client.diagnostics[uri][0]
        params = types.CodeActionParams(
            types.TextDocumentIdentifier(uri),
            diagnostic.range,
            types.CodeActionContext([diagnostic]),
        )
        actions = await made.client.text_document_code_action_async(params) or []
        edits = [
            edit.new_text
            for it in actions
            if isinstance(it, types.CodeAction) and it.edit is not None
            for change in it.edit.document_changes or []
            if isinstance(change, types.TextDocumentEdit)
            for edit in change.edits
            if isinstance(edit, types.TextEdit)
        ]
        assert edits == ["# irene: Net(width=64), x=float32[batch, sequence, 64]\n"]


async def test_targets_can_be_listed_and_chosen(tmp_path: Path) -> None:
    async with editor(tmp_path, settings=DEVICE) as made:
        text = NET.replace("class Part", "# irene: Part(8), x=float32[2, 8]\nclass Part")
        uri = await made.open("net.py", written(tmp_path, text))
        await made.settled(uri)
        found = await made.ask("irene/targets", {"uri": uri})
        names = [it["className"] if isinstance(it, dict) else it.className for it in found]
        assert names == ["Part", "Net"]
        await made.ask("irene/setTarget", {"uri": uri, "className": "Part"})
        await until(
            lambda: made.titles(uri),
            lambda it: "per forward · A100" in it[LINE_PART + 1],
        )


async def test_the_report_names_what_is_here(tmp_path: Path) -> None:
    async with editor(tmp_path, settings=DEVICE) as made:
        report = await made.ask("irene/environment", {"uri": None})
        text = report if isinstance(report, str) else json.dumps(report)
        assert sys.executable in text
        assert "torch" in text
