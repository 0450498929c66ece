"""This machine's NVIDIA GPU as NVML describes it, for cards that the catalogue does not list."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from irene.energy.datasheet import Facts, assemble
from irene.energy.device import Device

Handle = Any
"""A card as NVML hands it out: opaque."""


class MemoryInfo(Protocol):
    """`nvmlMemory_t`."""

    total: int  # bytes


class Nvml(Protocol):
    """The functions of the module `pynvml` that are used here; a replay in tests."""

    NVMLError: type[Exception]
    NVML_CLOCK_SM: int
    NVML_CLOCK_MEM: int

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's own names, in this class
    def nvmlShutdown(self) -> None: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle: ...  # noqa: N802
    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Handle: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: Handle) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: Handle) -> MemoryInfo: ...  # noqa: N802
    def nvmlDeviceGetMemoryBusWidth(self, handle: Handle) -> int: ...  # noqa: N802
    def nvmlDeviceGetNumGpuCores(self, handle: Handle) -> int: ...  # noqa: N802
    def nvmlDeviceGetMaxClockInfo(self, handle: Handle, kind: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle: Handle) -> int: ...  # noqa: N802
    def nvmlDeviceGetCudaComputeCapability(self, handle: Handle) -> tuple[int, int]: ...  # noqa: N802


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What NVML says about one card."""

    name: str
    memory_bytes: int
    memory_bus_bits: int
    memory_clock_hz: float
    n_cores: int
    core_clock_hz: float
    power_limit_w: float
    compute_capability: tuple[int, int]


def local_gpu() -> GpuFacts | None:
    """The GPU that torch calls cuda:0; None without a card, a driver or nvidia-ml-py."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    return first_gpu(nvml, os.environ)


def first_gpu(nvml: Nvml, environ: Mapping[str, str]) -> GpuFacts | None:
    """The first visible card, or None."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        handle = _visible_handle(nvml, environ.get("CUDA_VISIBLE_DEVICES"))
        return None if handle is None else _facts(nvml, handle)
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def device(facts: GpuFacts) -> Device:
    """A device made of NVML's facts alone."""
    architecture = _ARCHITECTURES.get(
        facts.compute_capability, _ARCHITECTURES.get((facts.compute_capability[0], -1), "")
    )
    # Two transfers per clock; no GDDR card has a bus of 1,024 bits, every HBM card more.
    bandwidth_b_s = 2 * facts.memory_clock_hz * facts.memory_bus_bits / 8
    return assemble(
        Facts(
            id=_short(facts.name),
            name=facts.name,
            kind="gpu",
            architecture=architecture,
            memory_technology="HBM2e" if facts.memory_bus_bits >= 1024 else "GDDR6",
            memory_bytes=facts.memory_bytes,
            bandwidth_b_s=bandwidth_b_s,
            peaks_flop_s=(("float32", 2.0 * facts.n_cores * facts.core_clock_hz),),
            tdp_w=facts.power_limit_w,
            idle_w=None,
            busy_w=None,
            aliases=(),
            unverified=("float32", "bandwidth", "tdp_w", "memory technology"),
            provenance=(
                "not in the catalogue: cores, maximum clocks, memory bus and default power limit "
                "as NVML reports them; the rate of its tensor cores is not known"
            ),
        )
    )


_ARCHITECTURES: dict[tuple[int, int], str] = {
    (6, -1): "Pascal",
    (7, 0): "Volta",
    (7, 5): "Turing",
    (8, 9): "Ada Lovelace",
    (8, -1): "Ampere",
    (9, -1): "Hopper",
    (10, -1): "Blackwell",
    (12, -1): "Blackwell 2.0",
}
"""By compute capability, -1 for any minor number (CUDA C++ Programming Guide)."""


def _visible_handle(nvml: Nvml, visible: str | None) -> Handle | None:
    """NVML ignores CUDA_VISIBLE_DEVICES, torch obeys it."""
    first = "0" if visible is None else visible.split(",")[0].strip()
    if first.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    if not first.isdigit() or int(first) >= nvml.nvmlDeviceGetCount():
        return None
    return nvml.nvmlDeviceGetHandleByIndex(int(first))


def _facts(nvml: Nvml, handle: Handle) -> GpuFacts:
    name = nvml.nvmlDeviceGetName(handle)
    return GpuFacts(
        name=name.decode() if isinstance(name, bytes) else name,
        memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        memory_bus_bits=nvml.nvmlDeviceGetMemoryBusWidth(handle),
        memory_clock_hz=1e6 * nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM),
        n_cores=nvml.nvmlDeviceGetNumGpuCores(handle),
        core_clock_hz=1e6 * nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
        power_limit_w=1e-3 * nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle),
        compute_capability=nvml.nvmlDeviceGetCudaComputeCapability(handle),
    )


def _short(name: str) -> str:
    words = [it for it in name.split() if it not in ("NVIDIA", "GeForce", "Tesla", "GPU")]
    return "-".join(words)
