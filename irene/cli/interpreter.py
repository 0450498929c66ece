"""Which Python builds the user's models, and why that one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from irene.cli.arguments import UsageError

_PROBE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
_PROBE_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python executable, and who chose it."""

    path: str
    source: str


def choose(asked: str | None, start: Path, environ: Mapping[str, str]) -> Interpreter:
    """The interpreter for a file in folder `start`; `asked` is the option.

    Raises:
        UsageError: the interpreter that was asked for is not there, or there is none at all.
    """
    if asked is not None:
        return _asked(asked)
    first = next(_environments(start, environ), None)
    return first if first is not None else _of_the_system(environ)


def _asked(text: str) -> Interpreter:
    found = shutil.which(text)
    if found is None:
        raise UsageError(f"--python {text}: there is no such executable; give the path of a Python")
    return Interpreter(str(Path(found).absolute()), "--python")


def _environments(start: Path, environ: Mapping[str, str]) -> Iterator[Interpreter]:
    active = environ.get("VIRTUAL_ENV")
    if active and (python := _python_of(Path(active))):
        yield Interpreter(str(python), "VIRTUAL_ENV")
    for folder in (start, *start.parents):
        if python := _python_of(folder / ".venv"):
            yield Interpreter(str(python), f"{folder / '.venv'}")


def _python_of(environment: Path) -> Path | None:
    for relative in ("bin/python", "Scripts/python.exe"):
        if (environment / relative).is_file():
            return environment / relative
    return None


def _of_the_system(environ: Mapping[str, str]) -> Interpreter:
    path = environ.get("PATH")
    on_path = shutil.which("python3", path=path) or shutil.which("python", path=path)
    candidates = [Interpreter(on_path, "python3 on the PATH")] if on_path else []
    if sys.executable:
        candidates.append(Interpreter(sys.executable, "the Python that runs irene"))
    if not candidates:
        raise UsageError("no Python interpreter was found: give one with --python PATH")
    return next((it for it in candidates if _has_torch(it.path)), candidates[0])


def _has_torch(python: str) -> bool:
    try:
        probe = subprocess.run(  # noqa: S603 - a Python that the system names
            [python, "-I", "-c", _PROBE], capture_output=True, timeout=_PROBE_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0
