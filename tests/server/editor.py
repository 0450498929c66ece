"""An editor for tests: a real client of the real server process, over standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types
from pygls.uris import from_fs_path
from pytest_lsp.client import LanguageClient, make_test_lsp_client

Answer = TypeVar("Answer")

PATIENCE_S = 90.0
"""How long a test waits for what must come; torch starts slowly on a busy machine."""


def vscode(encoding: str = "utf-16", *, lenses: bool = True) -> types.ClientCapabilities:
    """What VS Code can do, of all that the server uses."""
    return types.ClientCapabilities(
        general=types.GeneralClientCapabilities(position_encodings=[encoding]),
        text_document=types.TextDocumentClientCapabilities(
            code_lens=types.CodeLensClientCapabilities() if lenses else None,
            inlay_hint=types.InlayHintClientCapabilities(),
        ),
        workspace=types.WorkspaceClientCapabilities(
            configuration=True,
            inlay_hint=types.InlayHintWorkspaceClientCapabilities(refresh_support=True),
            code_lens=types.CodeLensWorkspaceClientCapabilities(refresh_support=True),
            did_change_configuration=types.DidChangeConfigurationClientCapabilities(
                dynamic_registration=True
            ),
            did_change_watched_files=types.DidChangeWatchedFilesClientCapabilities(
                dynamic_registration=True
            ),
        ),
        window=types.WindowClientCapabilities(work_done_progress=True),
    )


class Editor:
    """Opens, edits and reads documents as a person's editor does."""

    def __init__(self, client: LanguageClient, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.capabilities = types.ServerCapabilities()
        self.statuses: list[dict[str, Any]] = []
        self.refreshes: list[str] = []
        self.registered: list[str] = []
        self._versions: dict[str, int] = {}

    def uri(self, name: str) -> str:
        return from_fs_path(str(self.folder / name)) or ""

    async def open(self, name: str, text: str, *, language: str = "python") -> str:
        return await self.open_uri(self.uri(name), text, language=language)

    async def open_uri(self, uri: str, text: str, *, language: str = "python") -> str:
        self._versions[uri] = 1
        document = types.TextDocumentItem(uri, language, 1, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(document))
        return uri

    def change(self, uri: str, text: str) -> int:
        """Replaces the whole text; the version of the new one."""
        self._versions[uri] = self._versions.get(uri, 0) + 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self._versions[uri], uri),
                [types.TextDocumentContentChangeWholeDocument(text)],
            )
        )
        return self._versions[uri]

    def close(self, uri: str) -> None:
        document = types.TextDocumentIdentifier(uri)
        self.client.text_document_did_close(types.DidCloseTextDocumentParams(document))

    async def hints(self, uri: str) -> list[types.InlayHint]:
        document = types.TextDocumentIdentifier(uri)
        everything = types.Range(types.Position(0, 0), types.Position(9999, 0))
        params = types.InlayHintParams(document, everything)
        return list(await self.client.text_document_inlay_hint_async(params) or [])

    async def labels(self, uri: str) -> dict[int, str]:
        """Hints by their line, from 1."""
        return {it.position.line + 1: str(it.label) for it in await self.hints(uri)}

    async def lenses(self, uri: str) -> list[tuple[int, str, str]]:
        """(line from 1, title, command) of each lens."""
        params = types.CodeLensParams(types.TextDocumentIdentifier(uri))
        found = await self.client.text_document_code_lens_async(params) or []
        return [
            (it.range.start.line + 1, it.command.title, it.command.command)
            for it in found
            if it.command is not None
        ]

    async def titles(self, uri: str) -> dict[int, str]:
        """The first lens of each line, from 1."""
        return {line: title for line, title, _ in reversed(await self.lenses(uri))}

    async def hover(self, uri: str, line: int, column: int) -> str | None:
        """The Markdown at a line from 1 and a column from 0."""
        params = types.HoverParams(
            types.TextDocumentIdentifier(uri), types.Position(line - 1, column)
        )
        found = await self.client.text_document_hover_async(params)
        if found is None:
            return None
        assert isinstance(found.contents, types.MarkupContent)
        return found.contents.value

    async def ask(self, method: str, params: object) -> Any:
        """The answer to one of our own requests."""
        return await self.client.protocol.send_request_async(method, params)

    def tell(self, method: str, params: object) -> None:
        self.client.protocol.notify(method, params)

    def set(self, **settings: object) -> None:
        """Changes the settings of section `irene`."""
        self.client.set_configuration(settings, section="irene")
        params = types.DidChangeConfigurationParams(settings=None)
        self.client.workspace_did_change_configuration(params)

    def problems(self, uri: str) -> list[str]:
        return [it.message for it in self.client.diagnostics.get(uri, [])]

    async def settled(self, uri: str) -> dict[int, str]:
        """The first lens of each line, once none of them is a placeholder."""
        return await until(lambda: self.titles(uri), lambda it: bool(it) and "…" not in it.values())


async def until(ask: Callable[[], Awaitable[Answer]], holds: Callable[[Answer], bool]) -> Answer:
    """The first answer for which `holds` is true."""

    async def poll() -> Answer:
        while not holds(answer := await ask()):
            await asyncio.sleep(0.05)
        return answer

    return await asyncio.wait_for(poll(), PATIENCE_S)


@asynccontextmanager
async def editor(
    folder: Path,
    *,
    interpreter: str | None = sys.executable,
    trusted: bool = True,
    capabilities: types.ClientCapabilities | None = None,
    settings: dict[str, object] | None = None,
    plain: bool = False,
) -> AsyncIterator[Editor]:
    """Our extension's client (`plain`: another editor's), with its server, in a workspace."""
    client = make_test_lsp_client()
    made = Editor(client, folder)
    _listen(client, made)
    client.set_configuration(settings or {}, section="irene")
    environment = {**os.environ, "IRENE_CACHE_DIR": str(folder / ".cache")}
    await client.start_io(sys.executable, "-I", "-m", "irene_server", env=environment)
    options = {"interpreter": {"path": interpreter, "trusted": trusted, "source": "the test"}}
    result = await client.initialize_session(
        types.InitializeParams(
            capabilities=capabilities or vscode(),
            workspace_folders=[types.WorkspaceFolder(made.uri(""), "workspace")],
            initialization_options=None if plain else options,
            client_info=types.ClientInfo("test editor", "1.0"),
        )
    )
    made.capabilities = result.capabilities
    try:
        yield made
    finally:
        await client.shutdown_session()
        await client.stop()


def _listen(client: LanguageClient, made: Editor) -> None:
    """Takes what the server says on its own, beside what pytest-lsp takes."""

    @client.feature(types.WORKSPACE_INLAY_HINT_REFRESH)
    def hint_refresh(_params: None) -> None:
        made.refreshes.append("hints")

    @client.feature(types.WORKSPACE_CODE_LENS_REFRESH)
    def lens_refresh(_params: None) -> None:
        made.refreshes.append("lenses")

    @client.feature("irene/status")
    def status(params: Any) -> None:
        made.statuses.append(params._asdict())

    @client.feature(types.CLIENT_REGISTER_CAPABILITY)
    def register(params: types.RegistrationParams) -> None:
        made.registered.extend(it.method for it in params.registrations)
