"""What the editor and the server say to each other beyond LSP: `docs/protocol.md` in types.

The names stand in `extension/src/messages.ts` too; a test compares the three.
"""

from __future__ import annotations

import logging
import re
import types as python_types
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal, TypeVar, get_args, get_origin, get_type_hints

from irene.errors import ProtocolError

log = logging.getLogger(__name__)

SERVER_SETTINGS = (
    "enabled",
    "device",
    "predictor",
    "batchSize",
    "sequenceLength",
    "dtype",
    "attention",
    "inlayHints.enabled",
    "codeLens.enabled",
)
CLIENT_SETTINGS = ("interpreter", "server.interpreter")

DEVICES = "irene/devices"
PREDICTORS = "irene/predictors"
TARGETS = "irene/targets"
SET_TARGET = "irene/setTarget"
ENVIRONMENT = "irene/environment"
REQUESTS = (DEVICES, PREDICTORS, TARGETS, SET_TARGET, ENVIRONMENT)

STATUS = "irene/status"
INTERPRETER = "irene/interpreter"
NOTIFICATIONS = (STATUS, INTERPRETER)

PROFILE = "irene.server.profile"
SERVER_COMMANDS = (PROFILE,)

LENS_PROFILE = "irene.profile"
LENS_SELECT_TARGET = "irene.selectTarget"
LENS_SWITCH_DEVICE = "irene.switchDevice"
LENS_MANAGE_TRUST = "irene.manageTrust"
LENS_COMMANDS = (LENS_PROFILE, LENS_SELECT_TARGET, LENS_SWITCH_DEVICE, LENS_MANAGE_TRUST)


@dataclass(frozen=True, slots=True)
class InterpreterParams:
    """Which interpreter the worker may run in, and whether the folder is trusted."""

    path: str | None
    trusted: bool
    source: str


StatusState = Literal["ready", "working", "failed"]


@dataclass(frozen=True, slots=True)
class StatusParams:
    """State of one document, or of the server where `uri` is None."""

    uri: str | None
    state: StatusState
    text: str
    device: str | None
    tooltip: str  # Markdown


@dataclass(frozen=True, slots=True)
class DocumentParams:
    """Which document a question is about; None: the session as a whole."""

    uri: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A device or predictor that can be selected."""

    id: str
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class DevicesAnswer:
    """All devices, `auto` first, the selected one, and who selected it."""

    devices: tuple[Choice, ...]
    selected: str
    set_by: str


@dataclass(frozen=True, slots=True)
class PredictorsAnswer:
    """All predictors, `auto` first, the selected one, and who selected it."""

    predictors: tuple[Choice, ...]
    selected: str
    set_by: str


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """A class of a document that can be the model."""

    class_name: str
    detail: str
    selected: bool


@dataclass(frozen=True, slots=True)
class SetTargetParams:
    """Makes a class of a document its model, for as long as the server runs."""

    uri: str
    class_name: str


@dataclass(frozen=True, slots=True)
class ProfileAnswer:
    """What a profile found, in one sentence."""

    class_name: str
    summary: str


Message = TypeVar("Message")


def speaks_irene(initialization_options: object) -> bool:
    """Whether the client is our extension; other editors may send options of their own."""
    return isinstance(initialization_options, dict) and "interpreter" in initialization_options


def interpreter_at_start(initialization_options: object) -> InterpreterParams | None:
    """What our extension says in `initialize`; None from any other editor.

    Options that cannot be read count as those of an untrusted folder.
    """
    if not isinstance(initialization_options, dict) or not speaks_irene(initialization_options):
        return None
    try:
        return decode(InterpreterParams, initialization_options["interpreter"])
    except ProtocolError as err:
        log.warning("%s", err)
        return InterpreterParams(path=None, trusted=False, source="unreadable options")


def decode(kind: type[Message], data: object) -> Message:
    """A message from JSON; keys that it does not know are ignored, for newer clients.

    Raises:
        ProtocolError: a key is missing or has a value of another type.
    """
    if not isinstance(data, dict):
        raise ProtocolError(f"{kind.__name__}: expected an object, got {data!r}")
    hints = get_type_hints(kind)
    values = {name: data.get(_camel(name)) for name in hints}
    wrong = [_camel(it) for it, hint in hints.items() if not _fits(values[it], hint)]
    if wrong:
        raise ProtocolError(f"{kind.__name__}: wrong or missing {', '.join(wrong)} in {data!r}")
    return kind(**values)


def encode(message: object) -> object:
    """A message as JSON values."""
    if isinstance(message, tuple):
        return [encode(it) for it in message]
    if is_dataclass(message):
        return {_camel(it.name): encode(getattr(message, it.name)) for it in fields(message)}
    return message


def _fits(value: object, hint: object) -> bool:
    if isinstance(hint, python_types.UnionType):
        return any(_fits(value, it) for it in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    return isinstance(hint, type) and isinstance(value, hint)


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda it: it.group(1).upper(), name)
