"""Runs requests in the user's interpreter: starts, limits, cancels and ends the worker.

Two processes, made when first needed: one builds and traces, one measures. A profile
takes a minute, and meanwhile estimates answer as ever; the measuring process does nothing
else, and may have an environment of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path

from irene.errors import IreneError, WorkerError
from irene.runner import process
from irene.runner.process import ROOT, WorkerProcess
from irene.worker import endings, protocol

OnProgress = Callable[[protocol.Progress], None]

_log = logging.getLogger(__name__)

_OVERTIME_S = 60.0
"""Beyond a request's limit, which the worker keeps itself: for one that cannot any more."""

_LONGEST_PAUSE_S = 10.0

_WORDS_DELAY_S = 0.05
"""Standard error is another pipe: its last lines may come after the answer."""


class Worker:
    """Answers requests in one interpreter; each kind of work has one request at a time."""

    def __init__(
        self,
        interpreter: str,
        *,
        root: Path = ROOT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` holds variables for the worker beside those of this process."""
        self.interpreter = interpreter
        self.environment = environment or {}
        start = partial(process.start, interpreter, root, self.environment)
        self._building = _Lane(start)
        self._measuring = _Lane(start)

    async def run(
        self,
        request: protocol.Request,
        *,
        limit_s: float,
        on_progress: OnProgress | None = None,
    ) -> protocol.Answer:
        """The answer, a refusal included; cancelling the caller ends the work.

        `limit_s` counts from where the worker begins with this request.

        Raises:
            WorkerError: there is no process to ask, and what to do about it.
        """
        is_measurement = isinstance(request, protocol.ProfileRequest)
        lane = self._measuring if is_measurement else self._building
        return await lane.run(request, limit_s, on_progress or _ignore)

    async def close(self) -> None:
        """End all processes; what waits and what comes later is answered as cancelled."""
        await asyncio.gather(self._building.close(), self._measuring.close())


class _Lane:
    """One request at a time, in a process that is there or will be.

    Where a process serves one request only, a spare one is starting meanwhile. Once it is
    closed, no process starts any more.
    """

    def __init__(self, start: Callable[[], Coroutine[None, None, WorkerProcess]]) -> None:
        self._start = start
        self._turn = asyncio.Lock()
        self._ids = itertools.count(1)
        self._process: WorkerProcess | None = None
        self._spare: asyncio.Task[WorkerProcess] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._n_deaths = 0  # in a row, of processes that should have gone on

    async def run(
        self, request: protocol.Request, limit_s: float, on_progress: OnProgress
    ) -> protocol.Answer:
        async with self._turn:
            worker = await self._take(on_progress)
            if worker is None:
                return endings.cancelled()
            worker.forget_words()
            request_id = next(self._ids)
            worker.send(protocol.encode_request(request_id, request, limit_s))
            call = protocol.Call(request_id, request, limit_s)
            try:
                answer = await _answer(worker, call, on_progress)
            except asyncio.CancelledError:
                worker.send(protocol.encode_cancel(request_id))
                raise
            finally:
                self._give_back(worker)
            if self._is_closed:
                return endings.cancelled()
            await _log_words(worker, answer)
            return answer

    async def close(self) -> None:
        self._is_closed = True
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.add_done_callback(self._end_unused)
            spare.cancel()
            await asyncio.gather(spare, return_exceptions=True)
        if self._process is not None:
            self._end(self._process)
            self._process = None
        await asyncio.gather(*self._ending)

    async def _take(self, on_progress: OnProgress) -> WorkerProcess | None:
        """The process for the next request; None once this is closed."""
        if self._process is not None and not self._process.is_alive:
            self._give_back(self._process)  # it died while nobody asked it anything
        if self._process is None and not self._is_closed:
            await self._pause(on_progress)
            self._process = await self._next_process()
            if self._process is not None and not self._process.forks:
                self._spare = asyncio.create_task(self._start())
        return self._process

    async def _pause(self, on_progress: OnProgress) -> None:
        """Wait before another start where the last ones died: longer each time."""
        if self._n_deaths > 1:
            pause_s = min(0.25 * 2.0**self._n_deaths, _LONGEST_PAUSE_S)
            on_progress(protocol.Progress(f"Python died; starting it in {pause_s:g} s", None))
            await asyncio.sleep(pause_s)

    async def _next_process(self) -> WorkerProcess | None:
        worker = await self._started()
        if worker is not None and not worker.is_alive:  # it died while it was the spare one
            self._end(worker)
            worker = await self._started()
        return worker

    async def _started(self) -> WorkerProcess | None:
        """The spare process, or one that starts now; None where this is closed meanwhile."""
        if self._is_closed:
            return None
        spare = self._spare = self._spare or asyncio.create_task(self._start())
        await asyncio.wait([spare])  # goes on where this caller is cancelled
        if self._spare is not spare:  # `close` has taken it, and ends it
            return None
        self._spare = None
        return spare.result()

    def _give_back(self, worker: WorkerProcess) -> None:
        """Keep it for the next request where it is there for several, and alive."""
        if worker.forks:
            self._n_deaths = 0 if worker.is_alive else self._n_deaths + 1
        if self._process is worker and not (worker.forks and worker.is_alive):
            self._process = None
            self._end(worker)

    def _end_unused(self, spare: asyncio.Task[WorkerProcess]) -> None:
        if not spare.cancelled() and spare.exception() is None:
            self._end(spare.result())

    def _end(self, worker: WorkerProcess) -> None:
        task = asyncio.create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _answer(
    worker: WorkerProcess, call: protocol.Call, on_progress: OnProgress
) -> protocol.Answer:
    """Read up to the final answer of a call; answers to cancelled ones are passed over."""
    assert call.limit_s is not None
    started_s = time.monotonic()
    deadline_s = started_s + call.limit_s + _OVERTIME_S
    while True:
        try:
            line = await asyncio.wait_for(worker.next_line(), deadline_s - time.monotonic())
        except asyncio.TimeoutError:
            await worker.end()
            return endings.timed_out(call.limit_s)
        if line is None:
            status = await worker.status()
            if worker.forks:
                return endings.worker_died(status)
            return endings.died(call.request, status, time.monotonic() - started_s, call.limit_s)
        request_id, message = _decode(line)
        if request_id != call.request_id:
            continue
        if not isinstance(message, protocol.Progress | protocol.Ready):
            return message
        if isinstance(message, protocol.Progress):
            on_progress(message)


def _decode(line: str) -> tuple[int, protocol.Answer | protocol.Progress | protocol.Ready]:
    try:
        return protocol.decode_answer(line)
    except IreneError as err:
        raise WorkerError(f"the worker said something else than an answer: {err}") from err


async def _log_words(worker: WorkerProcess, answer: protocol.Answer) -> None:
    """What was printed is of interest where something broke."""
    if isinstance(answer, protocol.Refusal) and answer.kind in ("crash", "internal"):
        await asyncio.sleep(_WORDS_DELAY_S)
        _log.warning("%s Standard error ends with:\n%s", answer.message, worker.last_words)


def _ignore(progress: protocol.Progress) -> None:
    """For callers who show no progress."""
