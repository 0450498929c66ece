"""Each architecture in a process of its own, so that none sees what another left or hangs."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict

from rows import REFUSED, Row

LIMIT_S = 120.0


def measure(names: list[str], row_of: Callable[[str], Row], n_processes: int) -> Iterator[Row]:
    """A row for each name as it comes, from a forked child for each."""
    waiting, running = list(reversed(names)), dict[int, tuple[str, int, float]]()
    while waiting or running:
        while waiting and len(running) < n_processes:
            name = waiting.pop()
            pid, pipe = _forked(name, row_of)
            running[pipe] = (name, pid, time.monotonic())
        ready, _, _ = select.select(list(running), [], [], 0.5)
        for pipe in ready:
            name, pid, begin = running.pop(pipe)
            yield _answer(name, pid, pipe, time.monotonic() - begin)
        for _, pid, begin in running.values():
            if time.monotonic() - begin > LIMIT_S:
                os.kill(pid, signal.SIGKILL)


def _forked(name: str, row_of: Callable[[str], Row]) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    try:
        os.close(read)
        warnings.simplefilter("ignore")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(write, json.dumps(asdict(row_of(name))).encode())
    finally:
        os._exit(0)


def _answer(name: str, pid: int, pipe: int, seconds: float) -> Row:
    with os.fdopen(pipe, "rb") as stream:
        data = stream.read()
    os.waitpid(pid, 0)
    if not data:
        reason = f"no answer within {LIMIT_S:.0f} s" if seconds > LIMIT_S else "the process died"
        return Row(name, REFUSED, reason=reason, seconds=seconds)
    return Row(**json.loads(data))
