"""Which meters this machine has for a device, and why others are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from irene.errors import MeterError
from irene.worker.meters import nvml, rapl
from irene.worker.meters.meter import Meter


@dataclass(frozen=True, slots=True)
class Found:
    """Meters that can be read now, and a sentence for each that cannot."""

    meters: tuple[Meter, ...]
    reasons: tuple[str, ...]


def available(device: str | None = None) -> Found:
    """Meters for `device` ("cpu", "cuda:0"), or all; the best one is first."""
    searches: list[Callable[[], Meter]] = []
    if device is None or device.startswith("cuda"):
        searches.append(lambda: _nvml_of(device or "cuda:0"))
    if device is None or device == "cpu":
        searches.append(rapl.find)
    return _search(searches)


def _search(searches: list[Callable[[], Meter]]) -> Found:
    meters: list[Meter] = []
    reasons: list[str] = []
    for search in searches:
        try:
            meters.append(search())
        except MeterError as err:
            reasons.append(f"{err}.")
    return Found(tuple(meters), tuple(reasons))


def _nvml_of(device: str) -> nvml.NvmlMeter:
    index = int(device.partition(":")[2] or 0)
    return nvml.find(_uuid_of(index), index)


def _uuid_of(index: int) -> str | None:
    """CUDA's and NVML's numbers differ where CUDA_VISIBLE_DEVICES hides or reorders boards."""
    try:
        import torch

        uuid = torch.cuda.get_device_properties(index).uuid
    except (ImportError, AttributeError, AssertionError, RuntimeError):
        return None
    return f"GPU-{uuid}"
