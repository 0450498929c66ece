"""How pygls speaks for us: raw JSON in our own messages, our own documents, quiet failures."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any, ParamSpec, TypeVar, cast

import cattrs
from lsprotocol import types
from pygls.exceptions import JsonRpcInternalError
from pygls.protocol import (
    JsonRPCNotification,
    JsonRPCRequestMessage,
    JsonRPCResponseMessage,
    LanguageServerProtocol,
    default_converter,
    lsp_method,
)

log = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class Said(JsonRpcInternalError):  # noqa: N818 - an answer, not an error of ours
    """A sentence for the person who asked: an answer, and no fault to be traced."""


def _is_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], Said))


# pygls logs a traceback for each error that it answers.
logging.getLogger("pygls.protocol.json_rpc").addFilter(_is_fault)


def converter() -> cattrs.Converter:
    """The converter of pygls, but what messages unknown to LSP carry stays plain JSON."""
    made = cast("cattrs.Converter", default_converter())  # type: ignore[no-untyped-call] # pygls
    for kind in (JsonRPCNotification, JsonRPCRequestMessage, JsonRPCResponseMessage):
        made.register_structure_hook(kind, lambda data, cls: cls(**data))
    return made


class EnergyProtocol(LanguageServerProtocol):
    """LSP without pygls' own copy of each document, which splits lines at form feeds too.

    `Analysis` holds the documents; the workspace of pygls is left with the folders.
    """

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(
        self, params: types.DidOpenTextDocumentParams
    ) -> Generator[Any, Any, None]:
        yield self.fm.features[types.TEXT_DOCUMENT_DID_OPEN], (params,), None

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(
        self, params: types.DidChangeTextDocumentParams
    ) -> Generator[Any, Any, None]:
        yield self.fm.features[types.TEXT_DOCUMENT_DID_CHANGE], (params,), None

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(
        self, params: types.DidCloseTextDocumentParams
    ) -> Generator[Any, Any, None]:
        yield self.fm.features[types.TEXT_DOCUMENT_DID_CLOSE], (params,), None

    def cancel_with_request(self, task: asyncio.Task[Any]) -> None:
        """Lets `$/cancelRequest` for the request that is being handled cancel `task`.

        pygls cancels its own future of a command, never the coroutine behind it.
        """
        request = self._request_futures.get(self.msg_id) if self.msg_id is not None else None
        if request is not None:
            request.add_done_callback(lambda it: task.cancel() if it.cancelled() else None)


def quietly(handler: Callable[Parameters, Answer]) -> Callable[Parameters, Answer | None]:
    """Answers null where `handler` fails: an editor shows errors of what nobody asked for."""
    if inspect.iscoroutinefunction(handler):
        return cast("Callable[Parameters, Answer | None]", _quietly_async(handler))

    @functools.wraps(handler)
    def answer(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer | None:
        try:
            return handler(*args, **kwargs)
        except Exception:  # the request rim
            log.exception("%s failed", handler.__name__)
            return None

    return answer


def _quietly_async(
    handler: Callable[Parameters, Coroutine[Any, Any, Answer]],
) -> Callable[Parameters, Coroutine[Any, Any, Answer | None]]:
    @functools.wraps(handler)
    async def answer(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer | None:
        try:
            return await handler(*args, **kwargs)
        except Exception:  # the request rim
            log.exception("%s failed", handler.__name__)
            return None

    return answer
