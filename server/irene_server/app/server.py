"""The server of one client: its documents, its session, and what it tells the client."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import PositionCodec

from irene.errors import TargetError
from irene_server import convert, messages
from irene_server.analysis import Analysis, Publish, Reading, Snapshot, State, View
from irene_server.app.client import Client
from irene_server.app.dialect import EnergyProtocol, Said, converter
from irene_server.messages import InterpreterParams, ProfileAnswer

if TYPE_CHECKING:
    from irene_server.session import Session

log = logging.getLogger(__name__)

NAME = "irene-server"
FILES_SETTLE_S = 0.5
"""A checkout or an install changes many files, one after another."""

_STATUS_STATES: dict[State, messages.StatusState] = {
    "pending": "working",
    "fresh": "ready",
    "stale": "ready",
    "failed": "failed",
}


class EnergyServer(LanguageServer):
    """`analysis` holds the open documents, `session` what was chosen, `client` the other side."""

    protocol: EnergyProtocol

    def __init__(self, version: str) -> None:
        super().__init__(NAME, version, protocol_cls=EnergyProtocol, converter_factory=converter)
        self.client = Client(self)
        self.interpreter: InterpreterParams | None = None  # as `initialize` had it
        self.analysis = Analysis(self.estimate, self.show)
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """Made after `initialize` was answered: its imports take most of the server's start."""
        if self._session is None:
            from irene_server.session import Session  # noqa: PLC0415 - see above

            self._session = Session(self.client)
            self._session.roots = self.folders
            if self.interpreter is not None:
                self._session.use(self.interpreter)
        return self._session

    @property
    def codec(self) -> PositionCodec:
        return self.workspace.position_codec

    @property
    def folders(self) -> tuple[str, ...]:
        """The workspace folders, as paths: targets and imports are looked up in them."""
        paths = (to_fs_path(it.uri) for it in self.workspace.folders.values())
        return tuple(it for it in paths if it is not None)

    @property
    def commands(self) -> convert.LensCommands:
        """What lenses may name: an editor without our extension has the server's commands alone."""
        speaks_irene = self.client.abilities.speaks_irene
        return convert.EXTENSION_COMMANDS if speaks_irene else convert.PLAIN_COMMANDS

    def shows_lenses(self, uri: str) -> bool:
        settings = self.session.known_settings(uri)
        return self.client.abilities.shows_lenses and settings.shows_lenses

    async def estimate(self, snapshot: Snapshot, publish: Publish | None) -> Reading:
        return await self.session.estimate(snapshot, publish)

    def show(self, uri: str) -> None:
        """A document has new values, or their state changed."""
        view = self.analysis.view(uri)
        if view is not None:
            self.client.refresh()
            self.client.publish(view)
            self.client.status(_status(view))

    def snapshot(self, uri: str | None) -> Snapshot | None:
        """An open document, of those that a person can ask about."""
        return None if uri is None else self.analysis.snapshot(uri)

    def open(self, document: types.TextDocumentItem) -> None:
        path = to_fs_path(document.uri) or _path_beside(document.uri, self.folders)
        self.analysis.open(document.uri, path, document.text, document.version)

    def close(self, uri: str) -> None:
        self.analysis.close(uri)
        self.session.close(uri)
        self.client.forget(uri)

    async def shut_down(self) -> None:
        """Stops all that runs for this client, and waits until it is gone."""
        await self.analysis.shut_down()
        if self._session is not None:
            await self._session.shut_down()

    def files_changed(self, uris: Collection[str]) -> None:
        """What was built may have imported the files that changed on disk.

        A document's own file does not count for it: it is estimated from its buffer.
        """
        self.session.benches.forget()
        affected = [it for it in self.analysis.uris if any(uri != it for uri in uris)]
        self.analysis.again(affected, FILES_SETTLE_S)

    async def profile(self, uri: str, class_name: str | None) -> ProfileAnswer:
        """Profiles a model with a progress bar that can cancel it, then shows its values.

        Raises:
            TargetError: the document has no such model, or it cannot be run.
        """
        snapshot = self.analysis.snapshot(uri)
        if snapshot is None:
            raise TargetError(f"{uri} is not open: open the file whose model is to be profiled")
        task = asyncio.current_task()
        assert task is not None
        title = f"profiling {class_name or 'the model'}"
        async with self.client.progress(title, on_cancel=task.cancel) as report:
            answer = await self.session.profile(snapshot, class_name, report)
        log.info("Profiled %s: %s", answer.class_name, answer.summary)
        self.analysis.again()
        return answer

    def report_server_error(self, error: Exception, source: type[Exception]) -> None:
        """To the log alone: a person is told where they asked for something."""
        level = logging.INFO if isinstance(error, Said) else logging.ERROR
        log.log(level, "%s: %s", source.__name__, error)


def _path_beside(uri: str, folders: Sequence[str]) -> str:
    """A path for a document that is no file: it imports what its first folder has.

    The name is made of the whole URI, so that it is that of no file there.
    """
    folder = Path(folders[0]) if folders else Path.home() / "untitled"
    name = re.sub(r"\W+", "_", uri).strip("_") or "untitled"
    return str(folder / f"{name}.py")


def _status(view: View) -> messages.StatusParams:
    annotations = view.annotations
    return messages.StatusParams(
        uri=view.uri,
        state="working" if view.is_reading else _STATUS_STATES[view.state],
        text=annotations.summary if annotations else "",
        device=view.device,
        tooltip=annotations.classes[0].text if annotations and annotations.classes else "",
    )
