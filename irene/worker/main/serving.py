"""One request to its answer, in a process that may be lost: dispatch, time limit, faults."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from irene.worker import (
    endings,
    environment,
    loading,
    profiling,
    protocol,
    tracing,
    watching,
)
from irene.worker.refusals import Refused

Report = Callable[[protocol.Progress], None]

_log = logging.getLogger(__name__)

_STDERR_FD = 2
_LAST_RESORT_S = 2.0
"""After the limit, for code that gives no other thread a turn: then C ends the process."""


class Outlet:
    """The way out of one request: in whole lines, with nothing after the final answer.

    `write` gets a line and whether it is the final one.
    """

    def __init__(self, request_id: int, write: Callable[[str, bool], None]) -> None:
        self._request_id = request_id
        self._write = write
        self._lock = threading.Lock()
        self._ended = False

    def progress(self, progress: protocol.Progress) -> None:
        self._put(protocol.encode_answer(self._request_id, progress), is_final=False)

    def end(self, answer: protocol.Answer) -> None:
        """The first final answer counts, from whichever thread it comes."""
        self._put(protocol.encode_answer(self._request_id, answer), is_final=True)

    def _put(self, line: str, *, is_final: bool) -> None:
        with self._lock:
            if not self._ended:
                self._ended = is_final
                self._write(line, is_final)


def write_line(fd: int, line: str) -> None:
    """The whole line, however long: a pipe takes only what fits."""
    rest = memoryview(line.encode() + b"\n")
    while rest:
        rest = rest[os.write(fd, rest) :]


def import_torch() -> protocol.Refusal | None:
    """Import torch, or say why this interpreter cannot."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as err:
        if err.name == "torch":
            return endings.no_torch("torch is not installed")
        return endings.no_torch(f"torch fails to import ({err})")
    except Exception as err:  # noqa: BLE001 - the worker's rim: a broken installation raises anything
        return endings.no_torch(f"torch fails to import ({type(err).__name__}: {err})")
    return None


def warm_up() -> None:
    """Load what every request needs, before there is one; requests say what fails."""
    if import_torch() is not None:
        return
    watching.watch_often()
    try:
        tracing.trace_sample()
        loading.our_modules()
    except Exception:  # noqa: BLE001 - the worker's rim: only warmth is lost
        _log.warning("torch does not trace a small model", exc_info=True)


def warm_up_child() -> None:
    """Make the pages that every request writes to this process's own, before there is one."""
    if "torch" in sys.modules:
        with suppress(Exception):  # the parent has said what fails
            tracing.trace_sample()


def serve(call: protocol.Call, outlet: Outlet) -> None:
    """Answer one request through `outlet`, within its limit, whatever the user's code does."""
    faulthandler.enable(_STDERR_FD)
    if call.limit_s is not None:
        _start_timer(call.request, call.limit_s, outlet)
    answer = _answer(call.request, outlet.progress)
    try:
        outlet.end(answer)
    except (RecursionError, TypeError, ValueError) as err:
        outlet.end(_fault(err))


def leave() -> NoReturn:
    """End the process now: the user's threads and exit handlers have no say in it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # user code closed it
    os._exit(0)


def _answer(request: protocol.Request, report: Report) -> protocol.Answer:
    try:
        return _dispatch(request, report)
    except Refused as refused:
        return refused.refusal
    except MemoryError:
        return endings.out_of_memory(request)
    except SystemExit as err:
        return endings.asked_to_exit(err.code)
    except BaseException as err:  # noqa: BLE001 - the worker's rim: a fault of ours is an answer too
        return _fault(err)


def _dispatch(request: protocol.Request, report: Report) -> protocol.Answer:
    if isinstance(request, protocol.EnvironmentRequest):
        return environment.describe()
    if (refusal := import_torch()) is not None:
        return refusal
    sys.dont_write_bytecode = True  # the user's folders stay as they are
    if isinstance(request, protocol.TraceRequest):
        return tracing.trace(request.build)
    return profiling.profile(request, report)


def _fault(err: BaseException) -> protocol.Refusal:
    _log.error("fault of IrEne", exc_info=err)
    return endings.internal(traceback.format_exception_only(type(err), err)[-1].strip())


def _start_timer(request: protocol.Request, limit_s: float, outlet: Outlet) -> None:
    path = "" if isinstance(request, protocol.EnvironmentRequest) else request.build.path
    caller = threading.get_ident()

    def stop() -> None:
        where, line = _place(sys._current_frames().get(caller), path)
        outlet.end(endings.timed_out(limit_s, where, line))
        leave()

    timer = threading.Timer(limit_s, stop)
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(limit_s + _LAST_RESORT_S, exit=True, file=_STDERR_FD)


def _place(frame: FrameType | None, path: str) -> tuple[str, int | None]:
    """Where a stack is: innermost in the document, else in the user's other files."""
    others = ""
    while frame is not None:
        code = frame.f_code
        if code.co_filename == path:
            return f"; it was at line {frame.f_lineno}, in {code.co_name}", frame.f_lineno
        if not others and not code.co_filename.startswith((sys.prefix, sys.base_prefix, "<")):
            others = f"; it was at {code.co_filename}, line {frame.f_lineno}, in {code.co_name}"
        frame = frame.f_back
    return others, None
