"""What the server says on its own: refreshes, diagnostics, status, progress, questions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lsprotocol import types
from pygls.capabilities import get_capability
from pygls.lsp.server import LanguageServer

from irene.worker.protocol import Progress
from irene_server import convert, messages
from irene_server.analysis import View

log = logging.getLogger(__name__)

ANSWER_LIMIT_S = 5.0
"""How long an editor may take over a question before the server goes on without an answer."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a client can do, of all that the server would use."""

    name: str = "unknown"
    speaks_irene: bool = False  # docs/protocol.md: our own extension
    shows_lenses: bool = False
    refreshes_hints: bool = False
    refreshes_lenses: bool = False
    has_progress: bool = False
    pulls_settings: bool = False
    registers_settings: bool = False
    registers_watches: bool = False


def abilities(params: types.InitializeParams) -> Abilities:
    """Reads the capabilities of `initialize`."""

    def can(path: str) -> bool:
        return bool(get_capability(params.capabilities, path, False))

    info = params.client_info
    return Abilities(
        name=f"{info.name} {info.version or ''}".strip() if info else "unknown",
        speaks_irene=messages.speaks_irene(params.initialization_options),
        shows_lenses=get_capability(params.capabilities, "text_document.code_lens") is not None,
        refreshes_hints=can("workspace.inlay_hint.refresh_support"),
        refreshes_lenses=can("workspace.code_lens.refresh_support"),
        has_progress=can("window.work_done_progress"),
        pulls_settings=can("workspace.configuration"),
        registers_settings=can("workspace.did_change_configuration.dynamic_registration"),
        registers_watches=can("workspace.did_change_watched_files.dynamic_registration"),
    )


class Client:
    """The other side. It is told of a value once: what it has already is not sent again."""

    def __init__(self, server: LanguageServer) -> None:
        self.abilities = Abilities()
        self._server = server
        self._published: dict[str, list[types.Diagnostic]] = {}
        self._statuses: dict[str | None, messages.StatusParams] = {}
        self._refresh: asyncio.Handle | None = None

    def refresh(self) -> None:
        """Lets the client ask for hints and lenses anew; many calls in one turn are one."""
        if self._refresh is None:
            self._refresh = asyncio.get_running_loop().call_soon(self._send_refresh)

    def publish(self, view: View) -> None:
        """The problems of a document, for the version that they belong to."""
        found = convert.diagnostics(view, self._server.workspace.position_codec)
        if found != self._published.get(view.uri, []):
            self._published[view.uri] = found
            self._send_diagnostics(view.uri, found, view.version)

    def forget(self, uri: str) -> None:
        """Clears what was published for a document that was closed."""
        self._statuses.pop(uri, None)
        if self._published.pop(uri, []):
            self._send_diagnostics(uri, [], None)

    def status(self, status: messages.StatusParams) -> None:
        """The state of a document or of the server, for a status bar."""
        if self.abilities.speaks_irene and self._statuses.get(status.uri) != status:
            self._statuses[status.uri] = status
            self._server.protocol.notify(messages.STATUS, messages.encode(status))

    def say(self, sentence: str) -> None:
        """For the log that people look into; nothing pops up."""
        log.warning("%s", sentence)
        self._server.window_log_message(types.LogMessageParams(types.MessageType.Warning, sentence))

    async def configuration(self, uris: Sequence[str]) -> list[object]:
        """Section `irene` as it counts for each of `uris`; None where the client has none."""
        if not self.abilities.pulls_settings:
            return [None] * len(uris)
        items = [types.ConfigurationItem(uri, "irene") for uri in uris]
        question = self._server.workspace_configuration_async(types.ConfigurationParams(items))
        answer = await _within_limit(question, "its settings")
        return list(answer) if answer and len(answer) == len(uris) else [None] * len(uris)

    async def register(self, registrations: Sequence[types.Registration]) -> None:
        """Asks to be told of changes; an editor that refuses is lived with."""
        question = self._server.client_register_capability_async(
            types.RegistrationParams(registrations)
        )
        await _within_limit(question, "a registration")

    @contextlib.asynccontextmanager
    async def progress(
        self, title: str, on_cancel: Callable[[], object] | None = None
    ) -> AsyncIterator[Callable[[Progress], None]]:
        """Shows a piece of work while it lasts; the value takes its reports."""
        token = str(uuid.uuid4())
        if not await self._begin(token, title, on_cancel):
            yield lambda _: None
            return
        progress = self._server.work_done_progress
        try:
            yield lambda it: progress.report(token, _report(it))
        finally:
            progress.end(token, types.WorkDoneProgressEnd())
            progress.tokens.pop(token, None)

    async def _begin(self, token: str, title: str, on_cancel: Callable[[], object] | None) -> bool:
        if not self.abilities.has_progress:
            return False
        progress = self._server.work_done_progress
        await _within_limit(progress.create_async(token), "a progress bar")
        if token not in progress.tokens:
            return False
        if on_cancel is not None:
            cancel = on_cancel
            progress.tokens[token].add_done_callback(
                lambda it: cancel() if it.cancelled() else None
            )
        begin = types.WorkDoneProgressBegin(title, cancellable=on_cancel is not None, percentage=0)
        progress.begin(token, begin)
        return True

    def _send_refresh(self) -> None:
        self._refresh = None
        if self.abilities.refreshes_hints:
            self._server.workspace_inlay_hint_refresh(None)
        if self.abilities.refreshes_lenses:
            self._server.workspace_code_lens_refresh(None)

    def _send_diagnostics(
        self, uri: str, found: list[types.Diagnostic], version: int | None
    ) -> None:
        self._server.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri, found, version)
        )


def _report(progress: Progress) -> types.WorkDoneProgressReport:
    percentage = None if progress.fraction is None else round(100 * progress.fraction)
    return types.WorkDoneProgressReport(message=progress.message, percentage=percentage)


async def _within_limit(question: Awaitable[Answer], what: str) -> Answer | None:
    """The client's answer; None where it refuses or takes too long.

    The question itself is never cancelled: pygls fails on answers to cancelled ones.
    """
    try:
        return await asyncio.wait_for(asyncio.shield(question), ANSWER_LIMIT_S)
    except Exception as err:  # noqa: BLE001 - whatever the client answered, the server goes on
        log.warning("The editor did not answer the question for %s: %r", what, err)
        return None
