"""Serving where a process can be forked: a warm parent, and a child for each request.

The next child is forked before its request comes: a process as large as torch takes longer to
fork than a small model takes to trace. The child is its own session, so that it can be ended with all that it started. It writes
to a pipe of its own and the parent hands on whole lines: a child that dies half-way leaves
no half line, and the parent says how it died. Each line of that pipe begins with a mark.
"""

from __future__ import annotations

import base64
import gc
import importlib
import json
import logging
import os
import select
import signal
import sys
import sysconfig
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from irene.errors import ProtocolError
from irene.worker import endings, protocol
from irene.worker.main import serving
from irene.worker.meta import sharing

_PROGRESS, _FINAL, _LIBRARIES, _MEMORY = ">", "=", "+", "*"

_WARM = ("torch", "transformers", "diffusers", "timm", "einops", "numpy")
"""Libraries whose modules the parent imports too once a child needed them."""

_log = logging.getLogger(__name__)


def serve(requests_fd: int, answers_fd: int) -> None:
    """Answer requests one after another until their input ends; then nothing is left."""
    _Parent(requests_fd, answers_fd).run()


@dataclass(frozen=True, slots=True)
class _Process:
    """A child, and the parent's ends of its pipes."""

    pid: int
    orders_fd: int
    answers_fd: int
    life_fd: int  # closed when the parent is gone, which ends the child


@dataclass(slots=True)
class _Child:
    """A request on its way, in a process of its own."""

    call: protocol.Call
    process: _Process
    started_s: float
    lines: protocol.LineSplitter = field(default_factory=protocol.LineSplitter)
    answered: bool = False
    is_open: bool = True  # its end of the pipe
    libraries: tuple[str, ...] = ()
    memory: str = ""


class _Parent:
    """At most one child runs, else one is spare; the requests behind it wait in their order."""

    def __init__(self, requests_fd: int, answers_fd: int) -> None:
        self._requests_fd = requests_fd
        self._answers_fd = answers_fd
        self._lines = protocol.LineSplitter()
        self._waiting: deque[protocol.Call] = deque()
        self._child: _Child | None = None
        self._spare: _Process | None = None
        self._wake_fd, self._waker_fd = _wake_when_a_child_ends()

    def run(self) -> None:
        while True:
            while self._child is None and self._waiting:
                self._child = self._started(self._waiting.popleft())
            if self._child is None and self._spare is None:
                with suppress(OSError):  # the next request says what the system lacks
                    self._spare = self._forked()
            ready = self._select()
            if self._requests_fd in ready and not self._read_requests():
                self._end_child()
                return
            if self._wake_fd in ready:
                os.read(self._wake_fd, 4096)
            if self._child is not None:
                self._attend(self._child)

    def _select(self) -> list[int]:
        fds = [self._requests_fd, self._wake_fd]
        if self._child is not None and self._child.is_open:
            fds.append(self._child.process.answers_fd)
        return select.select(fds, [], [])[0]

    def _read_requests(self) -> bool:
        piece = os.read(self._requests_fd, 1 << 16)
        for line in self._lines.feed(piece):
            try:
                order = protocol.decode_request(line)
            except ProtocolError:
                _log.exception("a line that is no request")
                continue
            if isinstance(order, protocol.Call):
                self._waiting.append(order)
            else:
                self._cancel(order.request_id)
        return bool(piece)

    def _cancel(self, request_id: int) -> None:
        if self._child is not None and self._child.call.request_id == request_id:
            self._end_child()
        elif request_id in [it.request_id for it in self._waiting]:
            self._waiting = deque(it for it in self._waiting if it.request_id != request_id)
        else:
            return  # it was answered meanwhile
        self._say(request_id, endings.cancelled())

    def _attend(self, child: _Child) -> None:
        """Hand on what the child wrote; once it has ended, say so and clean up after it."""
        ended, status = os.waitpid(child.process.pid, os.WNOHANG)
        self._hand_on(child)
        if not ended:
            return
        if not child.answered:
            elapsed_s = time.monotonic() - child.started_s
            code = os.waitstatus_to_exitcode(status)
            call = child.call
            self._say(call.request_id, endings.died(call.request, code, elapsed_s, call.limit_s))
        self._forget(child)
        _import_all(child.libraries)
        _learn(child.memory)

    def _hand_on(self, child: _Child) -> None:
        with suppress(BlockingIOError):
            while child.is_open:
                piece = os.read(child.process.answers_fd, 1 << 20)
                child.is_open = bool(piece)
                for line in child.lines.feed(piece):
                    self._hand_on_line(child, line)

    def _hand_on_line(self, child: _Child, line: str) -> None:
        mark, rest = line[:1], line[1:]
        if mark == _LIBRARIES:
            child.libraries = tuple(json.loads(rest))
        elif mark == _MEMORY:
            child.memory = rest
        else:
            child.answered = child.answered or mark == _FINAL
            serving.write_line(self._answers_fd, rest)

    def _end_child(self) -> None:
        child = self._child
        if child is None:
            return
        with suppress(ProcessLookupError):
            os.kill(child.process.pid, signal.SIGKILL)  # also where its session has not begun yet
        self._forget(child)
        os.waitpid(child.process.pid, 0)

    def _forget(self, child: _Child) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        _close(child.process.answers_fd, child.process.life_fd)
        self._child = None

    def _say(self, request_id: int, answer: protocol.Answer) -> None:
        serving.write_line(self._answers_fd, protocol.encode_answer(request_id, answer))

    def _started(self, call: protocol.Call) -> _Child | None:
        try:
            return self._start(call)
        except OSError as err:
            self._say(call.request_id, endings.internal(f"the system starts no process: {err}"))
            return None

    def _start(self, call: protocol.Call) -> _Child:
        order = protocol.encode_request(call.request_id, call.request, call.limit_s)
        while True:
            process, self._spare = self._spare or self._forked(), None
            try:
                started_s = time.monotonic()
                serving.write_line(process.orders_fd, order)
            except BrokenPipeError:  # something ended it while it waited
                _close(process.answers_fd, process.life_fd)
                os.waitpid(process.pid, 0)
            else:
                return _Child(call, process, started_s)
            finally:
                _close(process.orders_fd)

    def _forked(self) -> _Process:
        orders_end_fd, orders_fd = os.pipe()
        answers_fd, answers_end_fd = os.pipe()
        life_end_fd, life_fd = os.pipe()
        os.set_blocking(answers_fd, False)
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # the collector of the child need not touch, and so copy, the parent's pages
        try:
            pid = _fork()
        except OSError:
            _close(orders_fd, answers_fd, life_fd, orders_end_fd, answers_end_fd, life_end_fd)
            raise
        if pid == 0:
            _close(orders_fd, answers_fd, life_fd, self._requests_fd, self._answers_fd)
            self._become_child(orders_end_fd, answers_end_fd, life_end_fd)
        _close(orders_end_fd, answers_end_fd, life_end_fd)
        return _Process(pid, orders_fd, answers_fd, life_fd)

    def _become_child(self, orders_fd: int, answers_fd: int, life_fd: int) -> NoReturn:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _close(self._wake_fd, self._waker_fd)
            threading.Thread(target=_end_with_parent, args=(life_fd,), daemon=True).start()
            begin = sharing.moment()
            if not select.select([orders_fd], [], [], 0)[0]:
                serving.warm_up_child()
            with os.fdopen(orders_fd, encoding="utf-8") as orders:
                order = orders.readline()
            if order:
                _serve_in_child(order, answers_fd, begin)
        except BaseException:  # noqa: BLE001 - the worker's rim: the parent's code ends here
            _log.exception("fault of IrEne in a child")
            os._exit(1)
        serving.leave()


def _serve_in_child(order: str, answers_fd: int, begin: sharing.Since) -> None:
    call = protocol.decode_request(order)
    assert isinstance(call, protocol.Call)
    before = frozenset(sys.modules)

    def write(line: str, is_final: bool) -> None:
        serving.write_line(answers_fd, (_FINAL if is_final else _PROGRESS) + line)
        if is_final:
            serving.write_line(answers_fd, _LIBRARIES + json.dumps(_new_libraries(before)))
            memory = base64.b64encode(sharing.encoded(begin)).decode()
            serving.write_line(answers_fd, _MEMORY + memory)

    serving.serve(call, serving.Outlet(call.request_id, write))


def _end_with_parent(life_fd: int) -> None:
    os.read(life_fd, 1)  # nobody writes: it returns when the other end is closed
    os.killpg(0, signal.SIGKILL)


def _wake_when_a_child_ends() -> tuple[int, int]:
    wake_fd, waker_fd = os.pipe()
    os.set_blocking(waker_fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker_fd)
    return wake_fd, waker_fd


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _fork() -> int:
    with warnings.catch_warnings():
        # Libraries of linear algebra start threads when imported; they handle a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _new_libraries(before: frozenset[str]) -> list[str]:
    """Modules of warm libraries that this process imported, from the installed packages alone."""
    folders = (sysconfig.get_path(name) for name in ("purelib", "platlib"))
    installed = tuple(os.path.realpath(it) + os.sep for it in folders)
    return [
        name
        for name, module in list(sys.modules.items())
        if name not in before
        and name.partition(".")[0] in _WARM
        and os.path.realpath(getattr(module, "__file__", None) or "").startswith(installed)
    ]


def _learn(memory: str) -> None:
    """What the child's operations gave, so that the next child need not run them."""
    try:
        if memory:
            sharing.learn(base64.b64decode(memory))
    except Exception:  # noqa: BLE001 - the worker's rim: only warmth is lost
        _log.warning("could not learn from a child", exc_info=True)


def _import_all(names: Iterable[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 - the worker's rim: only warmth is lost
            _log.warning("could not import %s ahead of time", name)
