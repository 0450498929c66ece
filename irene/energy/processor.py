"""This machine's CPU as a device: cores, clock, vector width, bandwidth and share of TDP.

Reading the system is at the end; what it says is made into a `Processor` by pure functions.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from irene.energy.coefficients import CORE_STEP_S
from irene.energy.datasheet import Facts, assemble
from irene.energy.device import Device
from irene.energy.tdp import Tdp, find_tdp

FLOP_PER_CYCLE = {"avx512": 64, "avx2": 32, "avx": 16, "sve": 32, "neon": 16, "scalar": 4}
"""float32, two fused multiply-add units of the vector's width; SVE as 256 bits wide."""

SERVER_CORE_W, CLIENT_CORE_W, APPLE_CORE_W = 5.5, 12.0, 4.0
"""TDP per core where the package is not known: medians of the catalogue's server (3.8 to 9.6 W)
and desktop processors (5 to 23 W); Apple publishes none."""

CORE_BANDWIDTH_B_S = 20e9
SERVER_BANDWIDTH_B_S, CLIENT_BANDWIDTH_B_S = 200e9, 60e9
"""Between the memory's share of a core (some 6 to 15 GB/s) and its cache's (above 100): tensors of
a few MB lie in either. A socket's channels end it. An estimate, stated and with a wide band."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What the system says about its CPU; cores are physical ones."""

    name: str
    n_cores: int  # that this process may use
    n_cores_package: int  # of one socket, as far as the system shows them
    clock_hz: float
    vector: str
    is_virtual: bool


@cache
def device() -> Device:
    """This machine's CPU, by the id `cpu`."""
    return device_of(this_processor())


def device_of(processor: Processor) -> Device:
    """A processor with its share of the package's TDP."""
    tdp = find_tdp(processor.name)
    tdp_w, reason = share_of_tdp(processor, tdp)
    is_guessed = tdp is None or processor.is_virtual
    cores = "core" if processor.n_cores == 1 else "cores"
    peak_flop_s = processor.n_cores * processor.clock_hz * FLOP_PER_CYCLE[processor.vector]
    assembled = assemble(
        Facts(
            id="cpu",
            name=f"{processor.name} ({processor.n_cores} {cores})",
            kind="cpu",
            architecture="",
            memory_technology="DDR",
            memory_bytes=None,
            bandwidth_b_s=_bandwidth_b_s(processor),
            peaks_flop_s=(("float32", peak_flop_s),),
            tdp_w=tdp_w,
            idle_w=None,
            busy_w=None,
            aliases=(processor.name,),
            unverified=("float32", "bandwidth", *(("tdp_per_core",) if is_guessed else ())),
            provenance=f"{_peak_reason(processor)}; bandwidth estimated per core; {reason}",
        )
    )
    step_s = CORE_STEP_S if processor.n_cores == 1 else assembled.step_s  # no thread to wait for
    return replace(assembled, step_s=step_s)


def share_of_tdp(processor: Processor, tdp: Tdp | None) -> tuple[float, str]:
    """Power at full load of the usable cores, and how it was found.

    Energy follows the cores that work: a process confined to 2 of 64 cores is not charged
    with the package. Inside a virtual machine the package's core count is hidden, so that
    TDP / cores would charge 2 visible cores with all of it: a typical core stands in.
    """
    n_cores = processor.n_cores
    if tdp is not None and not processor.is_virtual:
        return tdp.tdp_w * n_cores / processor.n_cores_package, _tdp_reason(processor, tdp)
    core_w = _core_w(processor.name)
    if tdp is None:
        reason = f"{processor.name!r} has no row in codecarbon's cpu_power.csv"
        return n_cores * core_w, f"{reason}: {core_w:g} W for each of {n_cores} cores assumed"
    reason = "a virtual machine hides how many cores the package has"
    guess_w = min(tdp.tdp_w, n_cores * core_w)
    return guess_w, f"{reason}: {core_w:g} W for each of {n_cores} cores assumed"


def processor_of_cpuinfo(
    cpuinfo: str, usable: frozenset[int], quota: float | None, max_clock_hz: float | None
) -> Processor:
    """A Linux machine, from /proc/cpuinfo, the affinity mask and the cgroup's quota."""
    blocks = [dict(_fields(block)) for block in cpuinfo.strip().split("\n\n")]
    first = blocks[0]
    flags = set((first.get("flags") or first.get("Features") or "").split())
    cores = {_core(it) for it in blocks}
    n_sockets = len({it.get("physical id", "0") for it in blocks})
    mine = {_core(it) for it in blocks if int(it["processor"]) in usable} or cores
    n_cores = len(mine) if quota is None else min(len(mine), max(1, round(quota)))
    clock_hz = max_clock_hz or 1e6 * max(float(it.get("cpu MHz", 0)) for it in blocks) or 2.5e9
    return Processor(
        name=first.get("model name") or first.get("Hardware") or platform.machine(),
        n_cores=n_cores,
        n_cores_package=max(1, len(cores) // n_sockets),
        clock_hz=clock_hz,
        vector=vector_of(flags),
        is_virtual="hypervisor" in flags,
    )


def vector_of(flags: set[str]) -> str:
    """The widest vector unit that torch's libraries use."""
    if "avx512f" in flags:
        return "avx512"
    if "avx2" in flags and "fma" in flags:
        return "avx2"
    if "sve" in flags:
        return "sve"
    if {"asimd", "neon"} & flags:
        return "neon"
    return "avx" if "avx" in flags else "scalar"


def quota_of(cpu_max: str) -> float | None:
    """Cores that a cgroup allows, from `cpu.max`: `150000 100000 -> 1.5`."""
    limit, period = cpu_max.split()
    return None if limit in ("max", "-1") else int(limit) / int(period)


def _tdp_reason(processor: Processor, tdp: Tdp) -> str:
    reason = f"TDP {tdp.tdp_w:g} W of {tdp.name} (codecarbon's cpu_power.csv)"
    if not tdp.is_exact:
        reason += f", the nearest name to {processor.name}"
    if processor.n_cores < processor.n_cores_package:
        reason += f", {processor.n_cores} of {processor.n_cores_package} cores"
    if processor.n_cores > processor.n_cores_package:
        reason += f", {processor.n_cores / processor.n_cores_package:.2g} sockets"
    return reason


def _fields(block: str) -> list[tuple[str, str]]:
    pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
    return [(name.strip(), value.strip()) for name, value in pairs]


def _core(fields: dict[str, str]) -> tuple[str, str]:
    return fields.get("physical id", "0"), fields.get("core id", fields.get("processor", "0"))


def _core_w(name: str) -> float:
    if name.startswith("Apple"):
        return APPLE_CORE_W
    return SERVER_CORE_W if _is_server(name) else CLIENT_CORE_W


def _is_server(name: str) -> bool:
    return bool(re.search(r"epyc|xeon|opteron|neoverse|graviton|altra|aarch64", name.lower()))


def _bandwidth_b_s(processor: Processor) -> float:
    limit = SERVER_BANDWIDTH_B_S if _is_server(processor.name) else CLIENT_BANDWIDTH_B_S
    return min(limit, processor.n_cores * CORE_BANDWIDTH_B_S)


def _peak_reason(processor: Processor) -> str:
    return (
        f"peak: {processor.n_cores} cores x {processor.clock_hz / 1e9:.2f} GHz x "
        f"{FLOP_PER_CYCLE[processor.vector]} FLOP per cycle ({processor.vector})"
    )


def this_processor() -> Processor:
    """Ask this machine."""
    return _READERS.get(platform.system(), _windows)()


def _linux() -> Processor:
    usable = frozenset(os.sched_getaffinity(0))
    max_khz = _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    return processor_of_cpuinfo(
        _read("/proc/cpuinfo") or "processor: 0",
        usable,
        _cgroup_quota(),
        1e3 * float(max_khz) if max_khz else None,
    )


def _cgroup_quota() -> float | None:
    version_2 = _read("/sys/fs/cgroup/cpu.max")
    if version_2:
        return quota_of(version_2)
    limit = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return quota_of(f"{limit} {period}") if limit and period else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _sysctl(key: str) -> str:
    command = ["/usr/sbin/sysctl", "-n", key]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def _darwin() -> Processor:
    name = _sysctl("machdep.cpu.brand_string") or platform.machine()
    n_cores = int(_sysctl("hw.physicalcpu") or os.cpu_count() or 1)
    clock_hz = float(_sysctl("hw.cpufrequency_max") or 3.2e9)  # Apple silicon does not tell
    vector = "neon" if platform.machine() == "arm64" else "avx2"
    return Processor(name, n_cores, n_cores, clock_hz, vector, is_virtual=False)


def _windows() -> Processor:
    n_cores = max(1, (os.cpu_count() or 1) // 2)  # two threads per core, as most have
    name, clock_hz = _registry()
    return Processor(name, n_cores, n_cores, clock_hz, "avx2", is_virtual=False)


def _registry() -> tuple[str, float]:
    """Name and clock from the Windows registry; a fallback where it is not Windows."""
    try:
        winreg = importlib.import_module("winreg")
    except ImportError:
        return platform.processor() or platform.machine(), 2.5e9
    path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
        name = str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
        return name, 1e6 * float(winreg.QueryValueEx(key, "~MHz")[0])


_READERS: dict[str, Callable[[], Processor]] = {"Linux": _linux, "Darwin": _darwin}
