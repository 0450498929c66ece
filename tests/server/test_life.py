"""The real server over a working day: trust, settings, profiles, odd documents, odd clients."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import psutil
import pytest
from editor import Editor, editor, until
from lsprotocol import types
from pygls.exceptions import JsonRpcException

DEVICE: dict[str, object] = {"device": "A100-SXM4-80GB"}
NET = """from torch import nn

# irene: Net(64), x=float32[8, 64]
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        return self.fc(x)
"""
LINE_NET, LINE_FC = 4, 7


async def valued(made: Editor, uri: str) -> dict[int, str]:
    """The lenses, once the model has a value."""
    return await until(
        lambda: made.titles(uri), lambda it: any("per forward" in title for title in it.values())
    )


def workers(made: Editor) -> list[psutil.Process]:
    assert made.client._server is not None
    return psutil.Process(made.client._server.pid).children()


async def profile(made: Editor, uri: str, class_name: str | None = None) -> object:
    params = types.ExecuteCommandParams("irene.server.profile", [uri, class_name])
    return await made.client.workspace_execute_command_async(params)


async def begun(made: Editor, title: str) -> types.ProgressToken:
    """The token of the progress bar that begins with `title`."""

    async def tokens() -> list[types.ProgressToken]:
        reports = made.client.progress_reports.items()
        return [
            token
            for token, values in reports
            if isinstance(first := next(iter(values), None), types.WorkDoneProgressBegin)
            and first.title.startswith(title)
        ]

    return (await until(tokens, bool))[0]


async def test_trust_can_be_given_while_a_file_is_open(tmp_path: Path) -> None:
    """Values follow at once, and trust that is withdrawn ends what runs."""
    told = {"path": sys.executable, "source": "the test"}
    async with editor(tmp_path, trusted=False, settings=DEVICE) as made:
        uri = await made.open("net.py", NET)
        assert await made.settled(uri) == {
            LINE_NET: "n/a · needs trust: nothing of this folder runs until you trust it"
        }
        ((_, _, command),) = await made.lenses(uri)
        assert (command, workers(made)) == ("irene.manageTrust", [])
        with pytest.raises(JsonRpcException, match="needs trust"):
            await profile(made, uri)
        made.tell("irene/interpreter", {**told, "trusted": True})
        await valued(made, uri)
        made.tell("irene/interpreter", {**told, "trusted": False})
        await until(lambda: made.titles(uri), lambda it: "needs trust" in it[LINE_NET])
        await until(lambda: asyncio.to_thread(workers, made), lambda it: not it)


async def test_settings_count_at_once(tmp_path: Path) -> None:
    """Each surface has its switch, and one switch hides everything."""
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", NET)
        assert "8 x 64" in (await valued(made, uri))[LINE_NET]
        made.set(**DEVICE, codeLens={"enabled": False})
        await until(lambda: made.labels(uri), lambda it: set(it) == {LINE_NET, LINE_FC})
        assert await made.lenses(uri) == []
        made.set(**DEVICE, inlayHints={"enabled": False})
        await valued(made, uri)
        assert await made.labels(uri) == {}
        made.set(enabled=False)
        await until(lambda: made.titles(uri), lambda it: it == {})
        assert (await made.labels(uri), await made.hover(uri, LINE_NET, 8)) == ({}, None)


async def test_wrong_settings_are_named_once(tmp_path: Path) -> None:
    """One sentence in the log for each, however many files are open; nothing pops up."""
    wrong: dict[str, object] = {**DEVICE, "batchSize": 0, "dtype": "int1"}
    async with editor(tmp_path, settings=wrong) as made:
        for name in ("one.py", "two.py"):
            await valued(made, await made.open(name, NET))
        assert [it.message for it in made.client.log_messages] == [
            "irene.batchSize is 0, but must be a whole number from 1",
            "irene.dtype is 'int1', but must be auto, float32, float16 or bfloat16",
        ]
        assert made.client.messages == []
        assert sorted(made.registered) == [
            "workspace/didChangeConfiguration",
            "workspace/didChangeWatchedFiles",
        ]


async def test_results_carry_their_version(tmp_path: Path) -> None:
    """Old values that moved with the lines say the version of the text that they stand in."""
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", NET)
        await valued(made, uri)
        version = made.change(uri, f"\n\n{NET}")
        (hint,) = await made.hints(uri)
        assert (hint.position.line + 1, hint.data) == (
            LINE_FC + 2,
            {"uri": uri, "version": version},
        )
        params = types.CodeLensParams(types.TextDocumentIdentifier(uri))
        lenses = await made.client.text_document_code_lens_async(params) or []
        assert [it.data for it in lenses] == [{"version": version}] * 2
        await until(lambda: asyncio.sleep(0, made.statuses), lambda it: it[-1]["state"] == "ready")
        status = made.statuses[-1]
        assert status["uri"] == uri
        assert status["text"].startswith("Net ")
        assert "A100" in status["device"]


@pytest.mark.parametrize("how", ["progress bar", "request"])
async def test_a_profile_can_be_cancelled(tmp_path: Path, how: str) -> None:
    """By the bar or by the request; estimates are answered meanwhile and after it."""
    async with editor(tmp_path) as made:
        uri = await made.open("net.py", NET)
        await valued(made, uri)
        request_id = "the profile"
        params = types.ExecuteCommandParams("irene.server.profile", [uri, "Net"])
        running = made.client.protocol.send_request_async(
            types.WORKSPACE_EXECUTE_COMMAND, params, msg_id=request_id
        )
        answer = asyncio.ensure_future(running)
        token = await begun(made, "profiling")
        made.change(uri, NET.replace("Net(64)", "Net(32)").replace("[8, 64]", "[8, 32]"))
        await until(lambda: made.titles(uri), lambda it: "8 x 32" in it[LINE_NET])
        assert not answer.done()
        if how == "request":
            made.client.protocol.notify(types.CANCEL_REQUEST, types.CancelParams(id=request_id))
            with pytest.raises(JsonRpcException, match="cancel"):
                await answer
        else:
            made.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token))
            assert await answer is None
        await until(
            lambda: asyncio.sleep(0, made.client.progress_reports[token]),
            lambda it: isinstance(it[-1], types.WorkDoneProgressEnd),
        )
        assert "modelled" in (await valued(made, uri))[LINE_NET]


async def test_a_storm_of_edits_during_a_profile(tmp_path: Path) -> None:
    """Both end well: the profile is of the text that it began with, the values of the last."""
    async with editor(tmp_path) as made:
        uri = await made.open("net.py", NET)
        await valued(made, uri)
        running = asyncio.ensure_future(profile(made, uri))
        await begun(made, "profiling")
        for width in range(8, 40):
            text = NET.replace("Net(64)", f"Net({width})").replace("[8, 64]", f"[8, {width}]")
            made.change(uri, text)
            await asyncio.sleep(0.02)
        assert await running is not None
        await until(
            lambda: made.titles(uri),
            lambda it: "8 x 39" in it[LINE_NET] and "modelled" in it[LINE_NET],
        )
        made.change(uri, NET)
        await until(lambda: made.titles(uri), lambda it: "profiled" in it[LINE_NET])


async def test_a_profile_that_fails_says_why(tmp_path: Path) -> None:
    """To the person who asked, in a sentence; the server lives."""
    broken = NET.replace("        self.fc", "        raise ValueError('no disk')\n        self.fc")
    async with editor(tmp_path) as made:
        uri = await made.open("net.py", broken)
        with pytest.raises(JsonRpcException, match="no disk"):
            await profile(made, uri)
        with pytest.raises(JsonRpcException, match="no class Nothing"):
            await profile(made, uri, "Nothing")
        with pytest.raises(JsonRpcException, match=r"gone\.py is not open"):
            await profile(made, made.uri("gone.py"))
        nothing = types.ExecuteCommandParams("irene.server.profile", [])
        with pytest.raises(JsonRpcException, match="takes a document"):
            await made.client.workspace_execute_command_async(nothing)
        with pytest.raises(JsonRpcException, match="wrong or missing uri"):
            await made.ask("irene/setTarget", {"className": "Net"})
        made.change(uri, NET)
        await valued(made, uri)


async def test_an_endless_constructor_blocks_nobody_who_edits_it(tmp_path: Path) -> None:
    """Correcting it ends the process that hangs; closing its file lets others have their turn."""
    endless = NET.replace("        self.fc", "        while True: pass\n        self.fc")
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", endless)
        assert (await until(lambda: made.titles(uri), bool))[LINE_NET] == "…"
        made.change(uri, NET)
        await valued(made, uri)
        hangs = await made.open("hangs.py", endless)
        await until(lambda: made.titles(hangs), bool)
        made.close(hangs)
        await valued(made, await made.open("other.py", NET))


@pytest.mark.parametrize(
    "name",
    ["two words.py", "größe 50%.py", "percent%20written.py", "a#b?.py"],
)
async def test_odd_file_names(tmp_path: Path, name: str) -> None:
    """URIs are encoded, paths are not; imports beside the file are found."""
    (tmp_path / "widths.py").write_text("WIDTH = 64\n", encoding="utf-8")
    text = NET.replace("from torch", "from widths import WIDTH\nfrom torch", 1)
    (tmp_path / name).write_text(text, encoding="utf-8")
    async with editor(tmp_path, settings=DEVICE) as made:
        await valued(made, await made.open(name, text))


async def test_documents_that_are_no_files(tmp_path: Path) -> None:
    """An untitled buffer is estimated from its text; what no model is in costs nothing."""
    async with editor(tmp_path, settings=DEVICE) as made:
        texts = {"a.py": "import torch\nx = torch.zeros(2)\n", "b.py": "class A:\n    pass\n"}
        uris = [await made.open(name, text) for name, text in texts.items()]
        uris.append(await made.open("c.md", NET, language="markdown"))
        for uri in (*uris, made.uri("never-opened.py")):
            assert (await made.lenses(uri), await made.labels(uri)) == ([], {})
            assert await made.hover(uri, 1, 0) is None
        assert workers(made) == []
        untitled = await made.open_uri("untitled:Untitled-1", NET)
        await valued(made, untitled)
        made.close(untitled)
        assert (await made.lenses(untitled), await made.labels(untitled)) == ([], {})


async def test_a_file_may_go_while_it_is_open(tmp_path: Path) -> None:
    """The buffer is what counts, also where the folder is gone from the disk."""
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "net.py").write_text(NET, encoding="utf-8")
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("gone/net.py", NET)
        await valued(made, uri)
        shutil.rmtree(folder)
        made.change(uri, NET.replace("[8, 64]", "[4, 64]"))
        await until(lambda: made.titles(uri), lambda it: "4 x 64" in it[LINE_NET])


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_file_that_changes_on_disk_counts(tmp_path: Path, is_open: bool) -> None:
    """Values follow what a module imports, once the editor says that it changed.

    An open file that changes on disk (a checkout, a formatter) is changed in the editor too,
    and never saved there.
    """
    layers = tmp_path / "layers.py"
    layers.write_text("WIDTH = 64\n", encoding="utf-8")
    text = NET.replace("from torch", "from layers import WIDTH\nfrom torch", 1)
    text = text.replace("nn.Linear(width, width)", "nn.Linear(width, WIDTH)")
    async with editor(tmp_path, settings=DEVICE) as made:
        imported = made.uri("layers.py")
        if is_open:
            await made.open("layers.py", "WIDTH = 64\n")
        uri = await made.open("net.py", text)
        before = (await valued(made, uri))[LINE_NET + 1]
        layers.write_text("WIDTH = 65536\n", encoding="utf-8")
        if is_open:
            made.change(imported, "WIDTH = 65536\n")
        event = types.FileEvent(imported, types.FileChangeType.Changed)
        made.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))
        await until(lambda: made.titles(uri), lambda it: it[LINE_NET + 1] != before)


async def test_a_saved_file_is_not_estimated_again_but_what_may_import_it_is(
    tmp_path: Path,
) -> None:
    """Its buffer is what counts; the editor tells of one save twice, by its name and as a file."""

    async def runs(name: str) -> int:
        log = tmp_path / f"{name}.log"
        return log.stat().st_size if log.exists() else 0

    def logging(name: str) -> str:
        return f"open({str(tmp_path / name)!r} + '.log', 'a').write('x')\n{NET}"

    async with editor(tmp_path, settings=DEVICE) as made:
        saved = await made.open("saved.py", logging("saved"))
        other = await made.open("other.py", logging("other"))
        await valued(made, saved)
        await valued(made, other)
        before = await runs("saved"), await runs("other")
        event = types.FileEvent(saved, types.FileChangeType.Changed)
        made.client.text_document_did_save(
            types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(saved))
        )
        made.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))
        await until(lambda: runs("other"), lambda it: it > before[1])
        assert await runs("saved") == before[0]


async def test_another_editor_needs_no_extension(tmp_path: Path) -> None:
    """No options, no refresh, no progress, no settings: `python3` of the PATH, own commands."""
    bare = types.ClientCapabilities(
        text_document=types.TextDocumentClientCapabilities(
            code_lens=types.CodeLensClientCapabilities()
        )
    )
    async with editor(tmp_path, plain=True, capabilities=bare) as made:
        uri = await made.open("net.py", NET)
        await made.settled(uri)
        commands = {command for _, _, command in await made.lenses(uri)}
        assert commands == {"", "irene.server.profile"}
        assert (made.statuses, made.refreshes, made.registered) == ([], [], [])
        assert made.client.progress_reports == {}


async def test_the_interpreter_of_another_editor_is_a_setting(tmp_path: Path) -> None:
    settings: dict[str, object] = {**DEVICE, "interpreter": sys.executable}
    async with editor(tmp_path, plain=True, settings=settings) as made:
        await valued(made, await made.open("net.py", NET))


async def test_predictors_say_which_one_counts(tmp_path: Path) -> None:
    """`auto` first, then the shipped ones; the chosen one speaks."""
    settings: dict[str, object] = {**DEVICE, "predictor": "IrEne device 2"}
    async with editor(tmp_path, settings=settings) as made:
        uri = await made.open("net.py", NET)
        titles = await valued(made, uri)
        assert any("IrEne-device-2" in it and "predicted" in it for it in titles.values())
        answer = await made.ask("irene/predictors", {"uri": uri})
        assert (answer.selected, answer.setBy) == ("IrEne-device-2", "settings")
        assert [it.id for it in answer.predictors][:3] == [
            "auto",
            "IrEne-device-1",
            answer.selected,
        ]


async def test_devices_say_which_one_counts(tmp_path: Path) -> None:
    """`auto` first; a file's pyproject.toml stands before the settings."""
    async with editor(tmp_path, settings=DEVICE) as made:
        uri = await made.open("net.py", NET)
        await valued(made, uri)
        answer = await made.ask("irene/devices", {"uri": uri})
        assert (answer.selected, answer.setBy) == ("A100-SXM4-80GB", "settings")
        assert answer.devices[0].id == "auto"
        assert answer.selected in [it.id for it in answer.devices]
        (tmp_path / "pyproject.toml").write_text(
            '[tool.irene]\ndevice = "H100-SXM5-80GB"\n', encoding="utf-8"
        )
        answer = await made.ask("irene/devices", {"uri": uri})
        assert (answer.selected, answer.setBy) == ("H100-SXM5-80GB", "pyproject.toml")
