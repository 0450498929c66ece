"""`irene doctor`: what is here, what is missing, and what each missing part would bring."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from irene import __version__
from irene.cache import default_folder
from irene.cli import asking, console
from irene.cli.arguments import Asked, UsageError
from irene.cli.interpreter import Interpreter
from irene.energy.catalogue import auto
from irene.errors import WorkerError
from irene.runner import Worker
from irene.worker.protocol import Environment, EnvironmentRequest, Refusal

_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A part of the installation: there or not, and in words."""

    name: str
    is_here: bool
    text: str


def run(asked: Asked) -> bool:
    """Whether an estimate is possible; the findings have been printed."""
    try:
        interpreter = asking.worker_interpreter(asked)
    except UsageError as err:
        worker = [Finding("your Python", False, str(err))]
        is_possible = False
    else:
        environment = asyncio.run(_environment(interpreter))
        worker = list(_worker(interpreter, environment))
        is_possible = isinstance(environment, Environment) and environment.torch is not None
    findings = [*_irene(), *worker, *_machine(), *_editor()]
    verdict = "Estimates are possible." if is_possible else "No estimate is possible yet."
    console.show(Group(table(findings), Text(), Text(verdict, style="bold")))
    return is_possible


def table(findings: list[Finding]) -> Table:
    """One line for each part."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for is_long in (False, False, True):
        drawn.add_column(no_wrap=not is_long, overflow="fold")
    for it in findings:
        mark = Text("ok", style="green") if it.is_here else Text("--", style="yellow")
        drawn.add_row(mark, Text(it.name, style="bold"), it.text)
    return drawn


async def _environment(interpreter: Interpreter) -> Environment | Refusal:
    worker = Worker(interpreter.path)
    try:
        answer = await worker.run(EnvironmentRequest(), limit_s=_LIMIT_S)
    except WorkerError as err:
        return Refusal("no-interpreter", str(err), None, "choose another with --python PATH")
    finally:
        await worker.close()
    assert isinstance(answer, Environment | Refusal)
    return answer


def _irene() -> Iterator[Finding]:
    yield Finding("irene", True, f"{__version__}, run by {sys.executable} {_python_version()}")
    missing = [it for it in ("irene_server", "pygls") if importlib.util.find_spec(it) is None]
    yield Finding(
        "language server",
        not missing,
        "values in any editor that speaks the language server protocol"
        if not missing
        else f"{missing[0]} is not installed here. It brings values into editors: "
        f"{sys.executable} -m pip install 'irene-energy[server]'",
    )


def _python_version() -> str:
    return f"(Python {platform.python_version()})"


def _worker(interpreter: Interpreter, answer: Environment | Refusal) -> Iterator[Finding]:
    """The interpreter that builds models, and what it has."""
    if isinstance(answer, Refusal):
        sentence = f"{interpreter.path} ({interpreter.source}): {answer.message}; {answer.advice}"
        yield Finding("your Python", False, sentence)
        return
    yield Finding(
        "your Python", True, f"{answer.python}, {answer.executable} (from {interpreter.source})"
    )
    for name, version in (("torch", answer.torch), ("transformers", answer.transformers)):
        if version is not None:
            yield Finding(name, True, version)
    for meter in answer.meters:
        yield Finding(_subject(meter), True, f"{meter}: profiles measure energy with it")
    missing: dict[str, str] = {}
    for reason in answer.reasons:
        missing.setdefault(_subject(reason), reason)
    for name, reason in missing.items():
        yield Finding(name, False, reason)


_SUBJECTS = (
    ("transformers", "transformers"),
    ("rapl", "CPU meter"),
    ("nvml", "GPU meter"),
    ("nvidia-ml-py", "GPU meter"),
    ("cuda", "GPU in torch"),
    ("torch", "torch"),
)


def _subject(sentence: str) -> str:
    """What a sentence of the worker is about."""
    text = sentence.lower()
    return next((subject for word, subject in _SUBJECTS if word in text), "other")


def _machine() -> Iterator[Finding]:
    device = auto()
    yield Finding("device", True, f"auto is {device.id}: {device.name}. {device.provenance}")
    folder = default_folder()
    existing = next(it for it in (folder, *folder.parents) if it.exists())
    is_writable = existing.is_dir() and os.access(existing, os.W_OK)
    yield Finding(
        "cache",
        is_writable,
        f"{folder}: keeps profiles"
        if is_writable
        else f"{folder} cannot be written: profiles are measured again each time; "
        "make it writable, or name another folder in IRENE_CACHE_DIR",
    )


def _editor() -> Iterator[Finding]:
    code = shutil.which("code")
    yield Finding(
        "VS Code",
        code is not None,
        code
        or "no `code` command on the PATH. It brings values into the editor: install VS Code, then "
        "run \"Shell Command: Install 'code' command in PATH\" from its command palette",
    )
