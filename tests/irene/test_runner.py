"""The worker process: answers, limits, crashes; whatever happens, the next request is answered."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
import venv
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

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

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNNER = Path(__file__).parent.parent / "fixtures" / "process_runner.py"
LIMIT_S = 120.0
ALONE = {"IRENE_WORKER_FORK": "0"}
GOOD = "self.fc = nn.Linear(4, 2)"
FLOPS_OF_GOOD = 2 * 8 * 4 * 2


def build(
    constructor: str, forward: str = "return self.fc(x)", top: str = "", folder: str = "/work/user"
) -> BuildSpec:
    text = f"{top}\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
    text += f"        super().__init__()\n{textwrap.indent(constructor, ' ' * 8)}\n"
    text += f"        {GOOD}\n    def forward(self, x):\n        {forward}\n"
    return BuildSpec(
        path=f"{folder}/net.py", text=text, class_name="Net", search_paths=(folder,),
        arguments=None, inputs=(InputExpression("x", "float32[8, 4]"),), config_dir=None,
        batch_size=8, sequence_length=128, dtype=None, attention=None,
    )  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker() -> AsyncIterator[Worker]:
    """As on POSIX: a warm process that forks; one for all tests, as an editor has it."""
    made = Worker(sys.executable)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["fork", "spare"])
async def either(request: pytest.FixtureRequest, worker: Worker) -> AsyncIterator[Worker]:
    """That worker, and one as where a process cannot be forked."""
    if request.param == "fork":
        yield worker
        return
    made = Worker(sys.executable, environment=ALONE)
    yield made
    await made.close()


async def refusal_of(worker: Worker, spec: BuildSpec, limit_s: float = LIMIT_S) -> Refusal:
    answer = await worker.run(TraceRequest(spec), limit_s=limit_s)
    assert isinstance(answer, Refusal), answer
    assert answer.advice
    return answer


async def answers(worker: Worker) -> None:
    answer = await worker.run(TraceRequest(build("")), limit_s=LIMIT_S)
    assert isinstance(answer, Trace), answer
    assert answer.root.flops >= FLOPS_OF_GOOD


@pytest.mark.parametrize(
    ("constructor", "kind", "words", "line"),
    [
        ("raise ValueError('too wide')", "constructor", "too wide", 6),
        ("import nowhere_at_all", "missing-import", "nowhere_at_all", 6),
        ("import os; os._exit(0)", "crash", "exit code 0", None),
        ("import os; os._exit(7)", "crash", "exit code 7", None),
        ("import sys; sys.exit(3)", "crash", "sys.exit(3)", None),
        ("import ctypes; ctypes.string_at(0)", "crash", "SIGSEGV", None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "crash", "SIGKILL", None),
        ("import os; os.closerange(3, 100); os._exit(0)", "crash", "exit code 0", None),
        ("def f(): f()\nf()", "constructor", "RecursionError", 6),
    ],
)
async def test_what_a_constructor_does_is_an_answer(
    worker: Worker, constructor: str, kind: str, words: str, line: int | None
) -> None:
    refusal = await refusal_of(worker, build(constructor))
    assert (refusal.kind, refusal.line) == (kind, line)
    assert words in refusal.message
    await answers(worker)


async def test_the_end_of_the_process_is_an_answer_and_not_the_end(either: Worker) -> None:
    for _ in range(2):
        refusal = await refusal_of(either, build("import os; os._exit(3)"))
        assert (refusal.kind, "exit code 3" in refusal.message) == ("crash", True)
    await answers(either)


async def test_an_endless_constructor_is_ended_at_its_limit(either: Worker) -> None:
    """The refusal says after how long, and the line that it was at."""
    refusal = await refusal_of(either, build("while True: pass"), limit_s=2.0)
    assert (refusal.kind, refusal.line) == ("timeout", 6)
    assert "2 s" in refusal.message
    assert "__init__" in refusal.message
    await answers(either)


async def test_code_that_gives_no_other_thread_a_turn_is_ended_too(worker: Worker) -> None:
    refusal = await refusal_of(worker, build("sum(range(10**13))"), limit_s=0.5)
    assert refusal.kind == "timeout"
    await answers(worker)


async def test_what_user_code_prints_does_not_reach_the_protocol(either: Worker) -> None:
    """Nor what it writes to the descriptors, however much; what it reads is at its end."""
    noisy = "import os, sys\nprint('{}' * 4_000_000)\nsys.stderr.write('y' * 4_000_000)\n"
    noisy += 'os.write(1, b\'{"protocol": 1, "id": 1, "cancel": true}\\n\')\n'
    noisy += "print('\\udcff', sys.stdin.read() == '')"
    assert isinstance(await either.run(TraceRequest(build(noisy)), limit_s=LIMIT_S), Trace)
    await answers(either)


async def test_long_requests_and_answers_arrive_whole(worker: Worker) -> None:
    many = "self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(400)])"
    forward = "return [layer(x) for layer in self.layers]"
    spec = build(many, forward, top="#" + "x" * 1_000_000)
    answer = await worker.run(TraceRequest(spec), limit_s=LIMIT_S)
    assert isinstance(answer, Trace)
    assert sum(child.kind == "module" for child in answer.root.children) == 400


async def test_requests_wait_for_their_turn_and_get_their_own_answers(worker: Worker) -> None:
    specs = [build(f"self.other = nn.Linear({n}, 1)") for n in range(1, 6)]
    found = await asyncio.gather(
        *(worker.run(TraceRequest(spec), limit_s=LIMIT_S) for spec in specs)
    )
    n_parameters = [it.root.n_parameters for it in found if isinstance(it, Trace)]
    assert n_parameters == [4 * 2 + 2 + n + 1 for n in range(1, 6)]


async def test_an_estimate_answers_while_a_profile_runs(worker: Worker) -> None:
    """A profile takes a minute: it has a process of its own."""
    measuring = asyncio.Event()

    def note(progress: Progress) -> None:
        if progress.message.startswith("measuring"):
            measuring.set()

    request = ProfileRequest(build(""), "cpu", 3600.0)
    profile = asyncio.create_task(worker.run(request, limit_s=3600.0, on_progress=note))
    await asyncio.wait_for(measuring.wait(), LIMIT_S)
    await answers(worker)
    assert not profile.done()
    profile.cancel()
    with pytest.raises(asyncio.CancelledError):
        await profile


async def test_a_cancelled_request_ends_with_all_that_it_started(
    either: Worker, tmp_path: Path
) -> None:
    note = tmp_path / "processes"
    endless = build(
        "import os, pathlib, subprocess, sys\n"
        "other = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        f"note = pathlib.Path({str(note)!r})\n"
        "note.with_suffix('.part').write_text(f'{os.getpid()} {other.pid}')\n"
        "note.with_suffix('.part').rename(note)\n"
        "while True: pass"
    )
    task = asyncio.create_task(either.run(TraceRequest(endless), limit_s=LIMIT_S))
    await until(note.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await answers(either)
    processes = [int(it) for it in note.read_text().split()]
    await until(lambda: not any(is_running(it) for it in processes))


async def test_processes_that_a_model_leaves_behind_are_ended(
    either: Worker, tmp_path: Path
) -> None:
    note = tmp_path / "process"
    leaving = build(
        "import pathlib, subprocess, sys\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(other.pid))"
    )
    assert isinstance(await either.run(TraceRequest(leaving), limit_s=LIMIT_S), Trace)
    await until(lambda: not is_running(int(note.read_text())))


async def test_a_worker_that_is_killed_from_outside_is_started_again(tmp_path: Path) -> None:
    """What it was doing ends; after a second death in a row it says that it waits a little."""
    worker = Worker(sys.executable)
    said: list[str] = []
    for n in range(3):
        note = tmp_path / f"process-{n}"
        endless = build(
            "import os, pathlib\n"
            f"pathlib.Path({str(note)!r}).write_text(str(os.getpid()))\n"
            "import time; time.sleep(3600)"
        )
        task = asyncio.create_task(
            worker.run(
                TraceRequest(endless),
                limit_s=LIMIT_S,
                on_progress=lambda it: said.append(it.message),
            )
        )
        await until(lambda note=note: note.exists() and note.read_text() != "")
        child = psutil.Process(int(note.read_text()))
        parent = child.parent()
        assert parent is not None
        assert parent != psutil.Process()
        parent.kill()
        refusal = await task
        assert isinstance(refusal, Refusal)
        assert (refusal.kind, "SIGKILL" in refusal.message) == ("crash", True)
        await until(lambda child=child: not is_running(child.pid))
    assert said == ["Python died; starting it in 1 s"]
    await answers(worker)
    await worker.close()


async def test_a_worker_that_died_while_idle_is_replaced_without_a_word(
    either: Worker, tmp_path: Path
) -> None:
    before = set(psutil.Process().children(recursive=True))
    worker = Worker(sys.executable, environment=either.environment)
    await answers(worker)
    started = set(psutil.Process().children(recursive=True)) - before
    for it in started:
        it.kill()
    await until(lambda: not any(is_running(it.pid) for it in started))
    await asyncio.sleep(0.1)  # until the runner has heard of it
    await answers(worker)
    await worker.close()


async def test_a_child_that_is_ended_while_it_waits_is_replaced_without_a_word() -> None:
    """One is forked ahead of each request."""
    before = set(psutil.Process().children())
    worker = Worker(sys.executable)
    await answers(worker)
    (parent,) = set(psutil.Process().children()) - before

    await asyncio.sleep(1.0)  # until the child that answered has gone
    for child in parent.children():
        child.kill()
    await asyncio.sleep(1.0)  # until all of its threads have gone
    await answers(worker)
    await worker.close()


async def test_closing_leaves_no_process(either: Worker) -> None:
    """Not in the middle of a request either, which is then answered."""
    before = set(psutil.Process().children(recursive=True))
    worker = Worker(sys.executable, environment=either.environment)
    await answers(worker)
    started = set(psutil.Process().children(recursive=True)) - before
    task = asyncio.create_task(worker.run(TraceRequest(build("while True: pass")), limit_s=LIMIT_S))
    await asyncio.sleep(0)
    await worker.close()
    assert isinstance(await task, Refusal)
    assert started
    await until(lambda: not any(is_running(it.pid) for it in started))


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 1.0])
async def test_closing_answers_what_waits_and_starts_nothing_more(
    either: Worker, delay_s: float
) -> None:
    """Whether a process is still starting, or the first request is under way, or none comes."""
    before = set(psutil.Process().children(recursive=True))
    worker = Worker(sys.executable, environment=either.environment)
    endless = TraceRequest(build("while True: pass"))
    tasks = [asyncio.create_task(worker.run(endless, limit_s=LIMIT_S)) for _ in range(3)]
    await asyncio.sleep(delay_s)
    await worker.close()
    tasks.append(asyncio.create_task(worker.run(endless, limit_s=LIMIT_S)))
    answers = await asyncio.wait_for(asyncio.gather(*tasks), 10.0)
    assert [it.kind for it in answers if isinstance(it, Refusal)] == ["cancelled"] * 4
    await asyncio.sleep(0.5)  # a process that would be started now is there then
    started = set(psutil.Process().children(recursive=True)) - before
    assert not [it for it in started if is_running(it.pid)]


@pytest.mark.parametrize("variables", [{}, ALONE])
async def test_a_runner_that_is_killed_leaves_no_process(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    """The worker sees the end of its input, also where a model keeps it busy."""
    note = tmp_path / "process"
    runner = subprocess.Popen([sys.executable, RUNNER, note], env={**os.environ, **variables})
    await until(lambda: note.exists() and note.read_text() != "")
    started = psutil.Process(runner.pid).children(recursive=True)
    assert int(note.read_text()) in [it.pid for it in started]
    runner.kill()
    runner.wait()
    await until(lambda: not any(is_running(it.pid) for it in started))


async def test_a_user_s_own_modules_of_our_names_are_theirs(either: Worker, tmp_path: Path) -> None:
    (tmp_path / "irene.py").write_text("who = 'the user'")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("who = 'the user'")
    (tmp_path / "profile.py").write_text("who = 'the user'")
    check = "assert {irene.who, server.who, profile.who} == {'the user'}"
    spec = build(check, top="import irene, server, profile", folder=str(tmp_path))
    assert isinstance(await either.run(TraceRequest(spec), limit_s=LIMIT_S), Trace)
    request = ProfileRequest(spec, "cpu", 0.01)
    assert isinstance(await either.run(request, limit_s=LIMIT_S), Profile)


async def test_the_working_folder_is_not_searched_for_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ours nor the user's imports find what lies where the editor was started."""
    for name in ("irene", "json", "logging", "torch", "planted"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a planted module ran')")
    monkeypatch.chdir(tmp_path)
    worker = Worker(sys.executable)
    await answers(worker)
    spec = build("", top="import planted")
    assert (await refusal_of(worker, spec)).kind == "missing-import"
    await worker.close()


async def test_libraries_stay_warm_and_nothing_of_the_user_s_stays(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text("width = 4")
    worker = Worker(sys.executable)
    imports = "import sys, layers, transformers.pytorch_utils"
    first = build("", top=imports, folder=str(tmp_path))
    assert isinstance(await worker.run(TraceRequest(first), limit_s=LIMIT_S), Trace)
    check = "import sys; was = {*sys.modules} & {'layers', 'transformers.pytorch_utils'}"
    second = build("assert was == {'transformers.pytorch_utils'}", top=check, folder=str(tmp_path))
    assert isinstance(await worker.run(TraceRequest(second), limit_s=LIMIT_S), Trace)
    await worker.close()


async def test_nothing_is_written_into_the_user_s_folder(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text("width = 4")
    spec = build("assert layers.width == 4", top="import layers", folder=str(tmp_path))
    assert isinstance(await worker.run(TraceRequest(spec), limit_s=LIMIT_S), Trace)
    assert [it.name for it in tmp_path.iterdir()] == ["layers.py"]


async def test_a_profile_times_every_module_and_adds_up(either: Worker) -> None:
    """A parent's time is never below that of its children; progress is reported."""
    said: list[Progress] = []
    request = ProfileRequest(build("", "return self.fc(x).relu()"), "cpu", 0.3)
    answer = await either.run(request, limit_s=LIMIT_S, on_progress=said.append)
    assert isinstance(answer, Profile)
    times = {it.path: it for it in answer.times}
    assert set(times) == {(), ("fc",)}
    assert 0.0 < times[("fc",)].time_s <= times[()].time_s
    assert answer.n_runs >= 3
    fractions = [it.fraction for it in said if it.fraction is not None]
    assert fractions == sorted(fractions)


async def test_an_environment_says_what_is_here(worker: Worker) -> None:
    answer = await worker.run(EnvironmentRequest(), limit_s=LIMIT_S)
    assert isinstance(answer, Environment)
    assert answer.executable == sys.executable
    assert answer.torch is not None


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter without torch."""
    folder = tmp_path_factory.mktemp("bare") / "environment"
    venv.create(folder, symlinks=os.name != "nt")
    return str(next(it for it in folder.glob("*/python*") if it.stem == "python"))


async def test_an_interpreter_without_torch_is_a_refusal_that_names_it(bare_python: str) -> None:
    worker = Worker(bare_python)
    for request in (TraceRequest(build("")), ProfileRequest(build(""), "cpu", 1.0)):
        answer = await worker.run(request, limit_s=LIMIT_S)
        assert isinstance(answer, Refusal)
        assert (answer.kind, bare_python in answer.message) == ("no-torch", True)
        assert "irene.interpreter" in answer.advice
    environment = await worker.run(EnvironmentRequest(), limit_s=LIMIT_S)
    await worker.close()
    assert isinstance(environment, Environment)
    assert (environment.torch, environment.cuda, environment.transformers) == (None, None, None)
    assert any(bare_python in it and it.startswith("torch") for it in environment.reasons)


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        ("raise OSError('libcudart.so.99: cannot open')", "libcudart.so.99"),
        ("import numpy_that_is_gone", "numpy_that_is_gone"),
    ],
)
async def test_a_torch_that_fails_to_import_is_a_refusal_with_the_reason(
    bare_python: str, tmp_path: Path, torch: str, words: str
) -> None:
    (tmp_path / "torch.py").write_text(torch)
    worker = Worker(bare_python, environment={"PYTHONPATH": str(tmp_path)})
    refusal = await refusal_of(worker, build(""))
    await worker.close()
    assert (refusal.kind, words in refusal.message) == ("no-torch", True)


@pytest.mark.parametrize("variables", [{}, ALONE])
async def test_what_is_installed_later_is_found_without_a_restart(
    bare_python: str, tmp_path: Path, variables: dict[str, str]
) -> None:
    worker = Worker(bare_python, environment={"PYTHONPATH": str(tmp_path), **variables})
    assert "not installed" in (await refusal_of(worker, build(""))).message
    (tmp_path / "torch.py").write_text("raise OSError('half of it is there')")
    assert "half of it" in (await refusal_of(worker, build(""))).message
    await worker.close()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "there is no interpreter"),
        ("#!/bin/sh\nexit 3\n", "did not start as a Python"),
        ("#!/bin/sh\necho I am a shell >&2\n", "I am a shell"),
        ("#!/bin/sh\nexec yes\n", "did not start as a Python"),
        ("not a program at all", "did not start as a Python|cannot be started"),
    ],
)
async def test_what_is_no_interpreter_is_an_error_that_names_it(
    tmp_path: Path, script: str | None, words: str
) -> None:
    path = tmp_path / "interpreter"
    if script is not None:
        path.write_text(script)
        path.chmod(0o755)
    worker = Worker(str(path))
    for _ in range(2):
        with pytest.raises(WorkerError, match=words) as caught:
            await worker.run(EnvironmentRequest(), limit_s=LIMIT_S)
        assert str(path) in str(caught.value)
        assert "irene.interpreter" in str(caught.value)
    await worker.close()


async def test_a_folder_is_no_interpreter(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="is a folder"):
        await Worker(str(tmp_path)).run(EnvironmentRequest(), limit_s=LIMIT_S)


@pytest.mark.parametrize("variables", [{}, ALONE])
async def test_start_up_files_of_an_interpreter_may_print_and_an_old_one_is_named(
    bare_python: str, tmp_path: Path, variables: dict[str, str]
) -> None:
    """`sitecustomize` stands in for both."""
    custom = tmp_path / "sitecustomize.py"
    custom.write_text("print('Welcome to the cluster', flush=True)")
    worker = Worker(bare_python, environment={"PYTHONPATH": str(tmp_path), **variables})
    answer = await worker.run(EnvironmentRequest(), limit_s=LIMIT_S)
    await worker.close()
    assert isinstance(answer, Environment)
    custom.write_text("import sys; sys.version_info = (3, 8, 1); sys.version = '3.8.1 (old)'")
    worker = Worker(bare_python, environment=worker.environment)
    with pytest.raises(WorkerError, match=r"3\.10 or newer, this is Python 3\.8\.1"):
        await worker.run(EnvironmentRequest(), limit_s=LIMIT_S)
    await worker.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
