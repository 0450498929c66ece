"""The worker process: answers, limits, crashes; whatever happens, the next request is answered."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
import venv
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from irene.errors import WorkerError
from irene.runner import Worker
from irene.tree import Trace
from irene.worker.protocol import (
    BuildSpec,
    Environment,
    EnvironmentRequest,
    InputExpression,
    Profile,
    ProfileRequest,
    Progress,
    Refusal,
    TraceRequest,
)

LIMIT_S = 60.0
GOOD = "self.fc = nn.Linear(4, 2)"


def build(constructor: str, forward: str = "return x", top: str = "") -> BuildSpec:
    text = f"{top}\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
    text += f"        super().__init__()\n{textwrap.indent(constructor, ' ' * 8)}\n"
    text += f"    def forward(self, x):\n        {forward}\n"
    return BuildSpec(
        path="/work/user/net.py", text=text, class_name="Net", search_paths=("/work/user",),
        arguments=None, inputs=(InputExpression("x", "float32[8, 4]"),), config_dir=None,
        batch_size=8, sequence_length=128, dtype=None, attention=None,
    )  # fmt: skip


@pytest.fixture(params=["fork", "spare"])
async def worker(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Worker]:
    """A worker as on POSIX, and one as where a process cannot be forked."""
    if request.param == "spare":
        monkeypatch.setenv("IRENE_WORKER_FORK", "0")
    made = Worker(sys.executable)
    yield made
    await made.close()


async def answers(worker: Worker) -> None:
    answer = await worker.run(TraceRequest(build(GOOD, "return self.fc(x)")), limit_s=LIMIT_S)
    assert isinstance(answer, Trace)
    assert answer.root.flops >= 2 * 8 * 4 * 2


@pytest.mark.parametrize(
    ("constructor", "kind", "words"),
    [
        ("raise ValueError('too wide')", "constructor", "too wide"),
        ("import os; os._exit(0)", "crash", "exit code 0"),
        ("import sys; sys.exit(3)", "crash", "exit"),
        ("import ctypes; ctypes.string_at(0)", "crash", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "memory", ""),
    ],
)
async def test_what_a_constructor_does_is_an_answer(
    worker: Worker, constructor: str, kind: str, words: str
) -> None:
    answer = await worker.run(TraceRequest(build(constructor)), limit_s=LIMIT_S)
    assert isinstance(answer, Refusal)
    assert answer.kind in (kind, "crash")
    assert words in answer.message
    assert answer.advice
    await answers(worker)


async def test_an_endless_constructor_is_ended_at_its_limit(worker: Worker) -> None:
    """The refusal says after how long, and the line that it was at."""
    await answers(worker)
    answer = await worker.run(TraceRequest(build("while True: pass")), limit_s=1.5)
    assert isinstance(answer, Refusal)
    assert (answer.kind, answer.line) == ("timeout", 6)
    assert "1.5 s" in answer.message
    await answers(worker)


async def test_what_user_code_prints_does_not_reach_the_protocol(worker: Worker) -> None:
    noisy = "import os, sys\nprint('{}' * 2_000_000)\nsys.stderr.write('y' * 2_000_000)\n"
    noisy += "os.write(1, b'{\"id\": 1}\\n')\n" + GOOD
    answer = await worker.run(TraceRequest(build(noisy)), limit_s=LIMIT_S)
    assert isinstance(answer, Trace)


async def test_a_cancelled_request_ends_its_work(worker: Worker) -> None:
    await answers(worker)
    endless = TraceRequest(build("import time; time.sleep(1000)"))
    task = asyncio.create_task(worker.run(endless, limit_s=LIMIT_S))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await answers(worker)


async def test_a_worker_that_is_killed_is_started_again(worker: Worker) -> None:
    await answers(worker)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    answer = await worker.run(TraceRequest(build(GOOD)), limit_s=LIMIT_S)
    assert isinstance(answer, Trace | Refusal)
    await answers(worker)


async def test_closing_leaves_no_process(worker: Worker) -> None:
    before = set(psutil.Process().children(recursive=True))
    await answers(worker)
    started = set(psutil.Process().children(recursive=True)) - before
    assert started
    await worker.close()
    psutil.wait_procs(list(started), timeout=10)
    assert [it for it in started if it.is_running() and it.status() != psutil.STATUS_ZOMBIE] == []


async def test_a_profile_times_every_module_and_adds_up(worker: Worker) -> None:
    """A parent's time is never below that of its children; progress is reported."""
    said: list[Progress] = []
    request = ProfileRequest(build(GOOD, "return self.fc(x).relu()"), "cpu", 0.3)
    answer = await worker.run(request, limit_s=LIMIT_S, on_progress=said.append)
    assert isinstance(answer, Profile)
    times = {it.path: it for it in answer.times}
    assert set(times) == {(), ("fc",)}
    assert 0.0 < times[("fc",)].time_s <= times[()].time_s
    assert answer.n_runs >= 3
    assert any("run" in it.message for it in said)
    assert [it.fraction for it in said if it.fraction is not None] == sorted(
        it.fraction for it in said if it.fraction is not None
    )


async def test_an_environment_says_what_is_here_and_what_is_missing(worker: Worker) -> None:
    answer = await worker.run(EnvironmentRequest(), limit_s=LIMIT_S)
    assert isinstance(answer, Environment)
    assert answer.executable == sys.executable
    assert answer.torch is not None
    assert len(answer.meters) == 2 or answer.reasons


async def test_an_interpreter_without_torch_is_a_refusal(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=os.name != "nt")
    python = next(it for it in (tmp_path / "bare").glob("*/python*") if it.stem == "python")
    worker = Worker(str(python))
    answer = await worker.run(TraceRequest(build(GOOD)), limit_s=LIMIT_S)
    await worker.close()
    assert isinstance(answer, Refusal)
    assert answer.kind == "no-torch"
    assert str(python) in answer.message


@pytest.mark.parametrize("program", ["gone", "no-python"])
async def test_what_is_no_interpreter_is_an_error_that_names_it(
    tmp_path: Path, program: str
) -> None:
    path = tmp_path / program
    if program == "no-python":
        path.write_text("#!/bin/sh\nexit 3\n")
        path.chmod(0o755)
    worker = Worker(str(path))
    with pytest.raises(WorkerError, match=program):
        await worker.run(TraceRequest(build(GOOD)), limit_s=LIMIT_S)
    await worker.close()


def test_a_runner_that_is_killed_leaves_no_worker(tmp_path: Path) -> None:
    """The worker sees the end of its input."""
    script = tmp_path / "runs.py"
    script.write_text(
        "import asyncio, sys\nfrom irene.runner import Worker\n"
        "from irene.worker.protocol import EnvironmentRequest\n"
        "async def main():\n    worker = Worker(sys.executable)\n"
        "    await worker.run(EnvironmentRequest(), limit_s=60)\n"
        "    print('up', flush=True)\n    await asyncio.sleep(1000)\nasyncio.run(main())\n"
    )
    process = psutil.Popen([sys.executable, str(script)], stdout=-1)
    assert process.stdout.readline().strip() == b"up"
    workers = process.children(recursive=True)
    assert workers
    process.kill()
    process.wait()
    process.stdout.close()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert [it.pid for it in alive] == []
    assert gone
