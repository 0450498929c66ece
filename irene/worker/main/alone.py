"""Serving where a process cannot be forked: one request, then the process ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TextIO

from irene.errors import ProtocolError
from irene.worker import endings, protocol
from irene.worker.main import serving

_log = logging.getLogger(__name__)


def serve(requests_fd: int, answers_fd: int) -> None:
    """Answer the first request; its cancellation, or the end of input, ends the process."""
    with os.fdopen(requests_fd, encoding="utf-8") as requests:
        call = _next(requests)
        if not isinstance(call, protocol.Call):
            return
        outlet = serving.Outlet(
            call.request_id, lambda line, _: serving.write_line(answers_fd, line)
        )
        watch = threading.Thread(target=_watch, args=(requests, call.request_id, outlet))
        watch.daemon = True
        watch.start()
        serving.serve(call, outlet)
        serving.leave()


def _watch(requests: TextIO, request_id: int, outlet: serving.Outlet) -> None:
    while (order := _next(requests)) is not None:
        if order == protocol.Cancel(request_id):
            outlet.end(endings.cancelled())
            break
    _end_group()
    serving.leave()


def _end_group() -> None:
    """End also what the user's code started, where the runner made a group for us."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)


def _next(requests: TextIO) -> protocol.Call | protocol.Cancel | None:
    """The next order, None at the end of input."""
    for line in requests:
        try:
            return protocol.decode_request(line)
        except ProtocolError:
            _log.exception("a line that is no request")
    return None
