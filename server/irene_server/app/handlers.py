"""What a client asks, one short function for each method."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable
from importlib import metadata

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from irene.errors import IreneError, ProtocolError
from irene_server import convert, messages
from irene_server.app.client import abilities
from irene_server.app.dialect import Said, quietly
from irene_server.app.server import EnergyServer

log = logging.getLogger(__name__)

LANGUAGE = "python"
SETTINGS_REGISTRATION = types.Registration(
    "irene-settings",
    types.WORKSPACE_DID_CHANGE_CONFIGURATION,
    types.DidChangeConfigurationRegistrationOptions(section="irene"),
)
WATCH_REGISTRATION = types.Registration(
    "irene-files",
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
    types.DidChangeWatchedFilesRegistrationOptions(
        [
            types.FileSystemWatcher(pattern)
            for pattern in ("**/*.py", "**/pyproject.toml", "**/config.json")
        ]
    ),
)

server = EnergyServer(metadata.version("irene-energy"))


@server.feature(types.INITIALIZE)
def initialize(ls: EnergyServer, params: types.InitializeParams) -> None:
    ls.client.abilities = abilities(params)
    ls.interpreter = messages.interpreter_at_start(params.initialization_options)


@server.feature(types.INITIALIZED)
@quietly
async def initialized(ls: EnergyServer, _params: types.InitializedParams) -> None:
    await asyncio.to_thread(importlib.import_module, "irene_server.session")
    if ls.client.abilities.registers_settings:
        await ls.client.register([SETTINGS_REGISTRATION])
    if ls.client.abilities.registers_watches:
        await ls.client.register([WATCH_REGISTRATION])


@server.feature(types.SHUTDOWN)
async def shutdown(ls: EnergyServer, _params: None) -> None:
    await ls.shut_down()


@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
def did_open(ls: EnergyServer, params: types.DidOpenTextDocumentParams) -> None:
    document = params.text_document
    if document.language_id == LANGUAGE:
        ls.open(document)


@server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
def did_change(ls: EnergyServer, params: types.DidChangeTextDocumentParams) -> None:
    document = params.text_document
    text = ls.analysis.text(document.uri)
    if text is not None:
        edits = convert.edits(text, params.content_changes, ls.codec)
        ls.analysis.change(document.uri, document.version, edits)


@server.feature(types.TEXT_DOCUMENT_DID_SAVE)
def did_save(ls: EnergyServer, params: types.DidSaveTextDocumentParams) -> None:
    ls.files_changed([params.text_document.uri])


@server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
def did_close(ls: EnergyServer, params: types.DidCloseTextDocumentParams) -> None:
    ls.close(params.text_document.uri)


@server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
def did_change_configuration(ls: EnergyServer, _params: types.DidChangeConfigurationParams) -> None:
    ls.session.forget_settings()
    ls.analysis.again()


@server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
def did_change_watched_files(ls: EnergyServer, params: types.DidChangeWatchedFilesParams) -> None:
    ls.files_changed({it.uri for it in params.changes})


@server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
def did_change_workspace_folders(
    ls: EnergyServer, _params: types.DidChangeWorkspaceFoldersParams
) -> None:
    ls.session.roots = ls.folders
    ls.analysis.again()


@server.feature(types.TEXT_DOCUMENT_INLAY_HINT)
@quietly
def inlay_hint(ls: EnergyServer, params: types.InlayHintParams) -> list[types.InlayHint]:
    uri = params.text_document.uri
    view = ls.analysis.view(uri)
    if view is None or not ls.session.known_settings(uri).shows_hints:
        return []
    with_classes = not ls.shows_lenses(uri)
    return convert.inlay_hints(view, params.range, ls.codec, with_classes=with_classes)


@server.feature(types.INLAY_HINT_RESOLVE)
@quietly
def inlay_hint_resolve(ls: EnergyServer, hint: types.InlayHint) -> types.InlayHint:
    view = ls.analysis.view(convert.uri_of(hint))
    return hint if view is None else convert.resolved_hint(hint, view)


@server.feature(types.TEXT_DOCUMENT_CODE_LENS)
@quietly
async def code_lens(ls: EnergyServer, params: types.CodeLensParams) -> list[types.CodeLens]:
    uri = params.text_document.uri
    view = await ls.analysis.first_view(uri)
    if view is None or not ls.shows_lenses(uri):
        return []
    is_trusted = ls.session.benches.is_trusted
    return convert.code_lenses(view, ls.codec, ls.commands, is_trusted=is_trusted)


@server.feature(types.TEXT_DOCUMENT_HOVER)
@quietly
def hover(ls: EnergyServer, params: types.HoverParams) -> types.Hover | None:
    view = ls.analysis.view(params.text_document.uri)
    return None if view is None else convert.hover(view, params.position, ls.codec)


@server.feature(
    types.TEXT_DOCUMENT_CODE_ACTION,
    types.CodeActionOptions([types.CodeActionKind.QuickFix, types.CodeActionKind.Refactor]),
)
@quietly
def code_action(ls: EnergyServer, params: types.CodeActionParams) -> list[types.CodeAction]:
    view = ls.analysis.view(params.text_document.uri)
    return [] if view is None else convert.code_actions(view, params, ls.codec, ls.commands)


@server.feature(messages.INTERPRETER)
@quietly
def interpreter(ls: EnergyServer, params: object) -> None:
    if ls.session.use(messages.decode(messages.InterpreterParams, params)):
        ls.analysis.again()


@server.feature(messages.DEVICES)
async def devices(ls: EnergyServer, params: object) -> object:
    from irene_server import answers  # noqa: PLC0415 - the catalogue is not for the start

    asked = _decode(messages.DocumentParams, params)
    return messages.encode(await _said(answers.devices(ls.session, ls.snapshot(asked.uri))))


@server.feature(messages.PREDICTORS)
async def predictors(ls: EnergyServer, params: object) -> object:
    from irene_server import answers  # noqa: PLC0415 - the catalogue is not for the start

    asked = _decode(messages.DocumentParams, params)
    return messages.encode(await _said(answers.predictors(ls.session, ls.snapshot(asked.uri))))


@server.feature(messages.TARGETS)
async def targets(ls: EnergyServer, params: object) -> object:
    snapshot = ls.snapshot(_decode(messages.DocumentParams, params).uri)
    return [] if snapshot is None else messages.encode(await _said(ls.session.targets(snapshot)))


@server.feature(messages.SET_TARGET)
def set_target(ls: EnergyServer, params: object) -> None:
    wanted = _decode(messages.SetTargetParams, params)
    ls.session.select(wanted.uri, wanted.class_name)
    ls.analysis.again([wanted.uri])


@server.feature(messages.ENVIRONMENT)
async def environment(ls: EnergyServer, params: object) -> str:
    from irene_server import answers  # noqa: PLC0415 - the catalogue is not for the start

    snapshot = ls.snapshot(_decode(messages.DocumentParams, params).uri)
    return await _said(answers.environment(ls.session, snapshot, ls.client.abilities.name))


@server.command(messages.PROFILE)
async def profile(ls: EnergyServer, *arguments: object) -> object:
    uri, class_name = _profile_arguments(arguments)
    running = asyncio.ensure_future(ls.profile(uri, class_name))
    ls.protocol.cancel_with_request(running)
    try:
        return messages.encode(await _said(running))
    except asyncio.CancelledError:
        log.info("The profile of %s was cancelled", class_name or uri)
        return None


def _profile_arguments(arguments: tuple[object, ...]) -> tuple[str, str | None]:
    match arguments:
        case (str(uri),) | (str(uri), None):
            return uri, None
        case (str(uri), str(class_name)):
            return uri, class_name
        case _:
            raise JsonRpcInvalidParams(f"{messages.PROFILE} takes a document and a class")


def _decode(kind: type[messages.Message], params: object) -> messages.Message:
    try:
        return messages.decode(kind, params)
    except ProtocolError as err:
        raise JsonRpcInvalidParams(str(err)) from err


async def _said(work: Awaitable[messages.Message]) -> messages.Message:
    """What a person asked for, or a sentence that says why it cannot be had."""
    try:
        return await work
    except IreneError as err:
        raise Said(str(err)) from err
