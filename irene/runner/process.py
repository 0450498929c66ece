"""One started worker process: how it begins, what it says, how it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from irene.errors import IreneError, WorkerError
from irene.worker import protocol

ROOT = Path(__file__).resolve().parent.parent.parent
"""The folder that holds the package `irene`, which the worker imports from there."""

# The working folder is not searched, and our folder only for this one import: user code
# finds its own `irene.py`, and never ours by accident.
_BOOTSTRAP = """
import sys
if sys.version_info < (3, 10):
    sys.exit("irene needs Python 3.10 or newer, this is Python " + sys.version.split()[0])
if sys.path and sys.path[0] == "":
    del sys.path[0]
root = sys.argv[1]
sys.path.insert(0, root)
from irene.worker import main
sys.path.remove(root)
main.main()
"""

_START_LIMIT_S = 60.0
_END_GRACE_S = 1.0
_TAIL_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 28


class WorkerProcess:
    """A process that said it is ready; `start` makes one, `end` leaves nothing of it."""

    def __init__(
        self, transport: asyncio.SubprocessTransport, pipes: _Pipes, ready: protocol.Ready
    ) -> None:
        self._transport = transport
        self._pipes = pipes
        self.forks = ready.forks

    @property
    def is_alive(self) -> bool:
        return not self._pipes.ended.done()

    @property
    def last_words(self) -> str:
        """The end of what was written to standard error since the last request."""
        return self._pipes.tail()

    def send(self, line: str) -> None:
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        if not stdin.is_closing():
            stdin.write(line.encode() + b"\n")

    def forget_words(self) -> None:
        self._pipes.words.clear()

    async def next_line(self) -> str | None:
        """What it says next, None once it has ended."""
        return await self._pipes.lines.get()

    async def status(self) -> int:
        """Exit code of the ended process, negative for a signal."""
        return await asyncio.shield(self._pipes.ended)

    async def end(self) -> None:
        """Ask it to end by closing its input, then kill its group."""
        await _end(self._transport, self._pipes)


async def start(interpreter: str, root: Path, variables: Mapping[str, str]) -> WorkerProcess:
    """Start a worker in a Python, with `variables` added to its environment.

    Raises:
        WorkerError: no such file, not a Python, too old, or it ended at once.
    """
    program = _program(interpreter)
    loop = asyncio.get_running_loop()
    try:
        transport, pipes = await loop.subprocess_exec(
            _Pipes,
            program,
            "-c",
            _BOOTSTRAP,
            str(root),
            cwd=tempfile.gettempdir(),
            env=_environment() | dict(variables),
            start_new_session=sys.platform != "win32",
            creationflags=_CREATION_FLAGS,
        )
    except OSError as err:
        raise WorkerError(f"{program} cannot be started ({err}): {_CHOOSE}") from err
    try:
        ready = await asyncio.wait_for(_ready(pipes), _START_LIMIT_S)
    except BaseException as err:
        await _end(transport, pipes)
        if isinstance(err, asyncio.TimeoutError | IreneError):
            raise WorkerError(_why_not(program, pipes)) from err
        raise
    return WorkerProcess(transport, pipes, ready)


# A group of its own on each system, so that the process is ended with all that it started.
if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
else:
    _CREATION_FLAGS = 0

_CHOOSE = (
    "choose the Python that your models run in (irene.interpreter in the editor, --python on the "
    "command line)"
)


class _Pipes(asyncio.SubprocessProtocol):
    """Lines of standard output in a queue, the end of standard error in a bounded buffer."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.words = bytearray()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._splitter = protocol.LineSplitter()
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.words += data
            del self.words[:-_TAIL_BYTES]
            return
        for line in self._splitter.feed(data):
            self.lines.put_nowait(line)
        if self._splitter.n_waiting_bytes > _LONGEST_LINE_BYTES and self._transport is not None:
            self._transport.kill()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self.lines.put_nowait(None)

    def process_exited(self) -> None:
        assert self._transport is not None
        status = self._transport.get_returncode()
        self.ended.set_result(0 if status is None else status)
        # A process that it left behind may hold the pipe open.
        asyncio.get_running_loop().call_later(_END_GRACE_S, self.lines.put_nowait, None)

    def tail(self) -> str:
        return self.words.decode(errors="replace").strip()


async def _ready(pipes: _Pipes) -> protocol.Ready:
    """The worker's first message; what start-up files of the interpreter print comes before."""
    n_bytes = 0
    while (line := await pipes.lines.get()) is not None:
        n_bytes += len(line)
        if n_bytes > _TAIL_BYTES:
            raise WorkerError("it prints and prints")
        if line.startswith("{"):
            _, message = protocol.decode_answer(line)
            if isinstance(message, protocol.Ready):
                return message
        pipes.pipe_data_received(2, f"{line}\n".encode())
    raise WorkerError("it ended")


async def _end(transport: asyncio.SubprocessTransport, pipes: _Pipes) -> None:
    stdin = transport.get_pipe_transport(0)
    if stdin is not None:
        stdin.close()
    try:
        await asyncio.wait_for(asyncio.shield(pipes.ended), _END_GRACE_S)
    except asyncio.TimeoutError:
        with suppress(ProcessLookupError):
            transport.kill()
        await pipes.ended
    finally:
        _kill_group(transport.get_pid())  # also what the process started and left behind
        transport.close()


def _program(interpreter: str) -> str:
    path = Path(interpreter).expanduser()
    if path.is_dir():
        raise WorkerError(f"{path} is a folder, not an interpreter: {_CHOOSE}")
    found = shutil.which(path)
    if found is None:
        raise WorkerError(f"there is no interpreter {interpreter}: {_CHOOSE}")
    return os.path.abspath(found)  # noqa: PTH100 - a link into a virtual environment stays one


def _why_not(program: str, pipes: _Pipes) -> str:
    words = pipes.tail()
    if "irene needs Python" in words:
        return f"{program} is too old ({words.splitlines()[-1]}): {_CHOOSE}"
    said = f"it said: {words[-500:]}" if words else "it said nothing"
    return f"{program} did not start as a Python; {said}\n{_CHOOSE}"


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # whatever is printed, no error
    environment.pop("__PYVENV_LAUNCHER__", None)  # macOS: would make it our own interpreter
    return environment


def _kill_group(pid: int) -> None:
    if sys.platform == "win32":
        command = ["taskkill", "/T", "/F", "/PID", str(pid)]
        subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - of the system
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
