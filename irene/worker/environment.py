"""What the interpreter and the machine have: packages, CUDA, meters, and what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

from irene.worker import meters, protocol

_BRINGS = {
    "torch": "building and tracing models; without it only the text of a file is read",
    "transformers": "models that are described by a Transformers config",
    "nvidia-ml-py": "the energy that an NVIDIA GPU's own meter reads",
}


def describe() -> protocol.Environment:
    """The answer to an `EnvironmentRequest`."""
    versions = {name: _version(name) for name in _BRINGS}
    missing = [
        f"{name} is not installed in {sys.executable}. It brings {_BRINGS[name]}."
        for name, version in versions.items()
        if version is None
    ]
    torch, cuda, cuda_reason = _torch(versions["torch"])
    found = meters.available()
    reasons = (*missing, *([cuda_reason] if cuda_reason else []), *found.reasons)
    return protocol.Environment(
        python=platform.python_version(),
        executable=sys.executable,
        torch=torch,
        transformers=versions["transformers"],
        cuda=cuda,
        meters=tuple(it.name for it in found.meters),
        reasons=reasons,
    )


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor as the system names it; the architecture where it has no name."""
    if sys.platform == "linux":
        name = _cpu_name_of(cpuinfo)
    elif sys.platform == "darwin":
        name = _output("sysctl", "-n", "machdep.cpu.brand_string")
    else:
        name = platform.processor()
    return name or platform.machine()


def available_memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Memory that a process can take without swapping, None where the system does not say."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kibibytes = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * it for it in kibibytes), None)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch(installed: str | None) -> tuple[str | None, str | None, str | None]:
    """Versions of torch and of the CUDA that it can use, and why there is no CUDA."""
    try:
        import torch
    except Exception as err:  # noqa: BLE001 - the worker's rim: a broken installation raises anything
        reason = f"torch {installed} fails to import: {err}" if installed else None
        return None, None, reason
    built_with = torch.version.cuda
    if built_with is None:
        return torch.__version__, None, "torch is built without CUDA; profiles run on the CPU."
    if not torch.cuda.is_available():
        reason = f"torch is built with CUDA {built_with} but finds no GPU that it can use."
        return torch.__version__, None, reason
    return torch.__version__, built_with, None


def _cpu_name_of(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command of the system
            command, capture_output=True, text=True, check=False, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
