"""What NVML says about this machine's card, replayed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from irene.energy.gpu import GpuFacts, Handle, MemoryInfo, first_gpu


class NvmlError(Exception):
    """As `pynvml.NVMLError`."""


@dataclass
class Memory:
    """As `nvmlMemory_t`."""

    total: int


@dataclass
class ReplayedNvml:
    """The functions of pynvml, with the units and errors of the real ones."""

    names: list[str | bytes]
    has_driver: bool = True
    open_sessions: int = 0
    bus_is_supported: bool = True
    NVMLError: type[Exception] = field(default=NvmlError)
    NVML_CLOCK_SM: int = 1
    NVML_CLOCK_MEM: int = 2

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        if not self.has_driver:
            raise NvmlError("Driver Not Loaded")
        self.open_sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open_sessions -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index >= len(self.names):
            raise NvmlError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return int(uuid[-1])

    def nvmlDeviceGetName(self, handle: Handle) -> str | bytes:  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: Handle) -> MemoryInfo:  # noqa: N802
        return Memory(total=6_442_450_944)

    def nvmlDeviceGetMemoryBusWidth(self, handle: Handle) -> int:  # noqa: N802
        if not self.bus_is_supported:
            raise NvmlError("Not Supported")
        return 192

    def nvmlDeviceGetNumGpuCores(self, handle: Handle) -> int:  # noqa: N802
        return 1408

    def nvmlDeviceGetMaxClockInfo(self, handle: Handle, kind: int) -> int:  # noqa: N802
        return {self.NVML_CLOCK_SM: 2100, self.NVML_CLOCK_MEM: 7001}[kind]

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle: Handle) -> int:  # noqa: N802
        return 125_000

    def nvmlDeviceGetCudaComputeCapability(self, handle: Handle) -> tuple[int, int]:  # noqa: N802
        return 7, 5


def facts_of(name: str) -> GpuFacts:
    return GpuFacts(name, 6_442_450_944, 192, 7.001e9, 1408, 2.1e9, 125.0, (7, 5))


@pytest.mark.parametrize(
    ("names", "environ", "expected"),
    [
        (["Tesla T4"], {}, "Tesla T4"),
        ([b"Tesla T4"], {}, "Tesla T4"),
        (["A", "B"], {"CUDA_VISIBLE_DEVICES": "1,0"}, "B"),
        (["A", "B"], {"CUDA_VISIBLE_DEVICES": "GPU-1"}, "B"),
        (["A"], {"CUDA_VISIBLE_DEVICES": ""}, None),
        (["A"], {"CUDA_VISIBLE_DEVICES": "-1"}, None),
        (["A"], {"CUDA_VISIBLE_DEVICES": "3"}, None),
        ([], {}, None),
    ],
)
def test_the_first_visible_card_is_the_one(
    names: list[str | bytes], environ: Mapping[str, str], expected: str | None
) -> None:
    nvml = ReplayedNvml(names)
    assert first_gpu(nvml, environ) == (None if expected is None else facts_of(expected))
    assert nvml.open_sessions == 0


@pytest.mark.parametrize(
    "nvml", [ReplayedNvml(["A"], has_driver=False), ReplayedNvml(["A"], bus_is_supported=False)]
)
def test_a_driver_that_fails_means_no_card(nvml: ReplayedNvml) -> None:
    assert first_gpu(nvml, {}) is None
    assert nvml.open_sessions == 0
