"""NVIDIA boards through NVML (nvidia-ml-py, imported where it is used).

The board's energy counter is wrong on some boards, so its value is taken only where it
agrees with the integral of the power that was polled in the same window; else the
integral is. Both move about every 100 ms, which the samples themselves show. Field 186 is
the instant power: the plain reading is an average over a second on Ampere and newer.
"""

from __future__ import annotations

import logging
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol, cast

from irene.errors import MeterError
from irene.worker.meters.meter import Reading, edge_std_j

Sample = tuple[float, float]  # time in s, power in W

COVERS = "GPU board"
UNKNOWN_UPDATE_PERIOD_S = 0.1
"""What most boards have; for a window in which power changed too seldom to tell."""

_POWER_INSTANT = 186  # NVML_FI_DEV_POWER_INSTANT, which older nvidia-ml-py do not name
_POLL_PERIOD_S = 0.02
_AGREEMENT = (0.9, 1.1)

_log = logging.getLogger(__name__)


class Nvml(Protocol):
    """What is used of the module `pynvml`; a handle is opaque."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's own names
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802
    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> object: ...  # noqa: N802
    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int: ...  # noqa: N802 - mJ
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: N802 - mW
    def nvmlDeviceGetFieldValues(  # noqa: N802
        self,
        handle: object,
        fieldIds: list[int],  # noqa: N803
    ) -> Sequence[Any]: ...


class NvmlMeter:
    """One board; a thread polls its power while a window is open."""

    name = "nvml"

    def __init__(
        self, nvml: Nvml, handle: object, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._nvml = nvml
        self._handle = handle
        self._clock = clock
        self._read_power_w = _power_source(nvml, handle)
        self._counter_j = 0.0
        self._poller: _Poller | None = None

    def start(self) -> None:
        self._poller = _Poller(self._sample)
        self._counter_j = self._read_counter_j()

    def stop(self) -> Reading:
        if self._poller is None:
            raise MeterError("the NVML meter has no open window to close")
        counter_j = self._read_counter_j() - self._counter_j
        samples, self._poller = self._poller.stop(), None
        return reading_of(samples, counter_j)

    def _sample(self) -> Sample:
        return self._clock(), self._read_power_w()

    def _read_counter_j(self) -> float:
        """NaN where the board has no counter."""
        try:
            return 1e-3 * float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError:
            return math.nan


def find(uuid: str | None = None, index: int = 0, nvml: Nvml | None = None) -> NvmlMeter:
    """The meter of a board, by its UUID where that is known, as the order of CUDA may differ.

    Raises:
        MeterError: no NVML, no such board, or a board without a power reading.
    """
    if nvml is None:
        nvml = _pynvml()
    try:
        nvml.nvmlInit()
        handle = (
            nvml.nvmlDeviceGetHandleByUUID(uuid)
            if uuid is not None
            else nvml.nvmlDeviceGetHandleByIndex(index)
        )
    except nvml.NVMLError as err:
        raise MeterError(f"NVML finds no NVIDIA GPU here: {err}") from err
    return NvmlMeter(nvml, handle)


def reading_of(samples: Sequence[Sample], counter_j: float) -> Reading:
    """A window's energy from its samples of power and what its counter advanced (NaN: none).

    Raises:
        MeterError: too few samples are real powers.
    """
    good = [(time_s, power_w) for time_s, power_w in samples if 0.0 < power_w < math.inf]
    if len(good) < 2 or len(good) < len(samples) / 2:
        raise MeterError(
            f"the GPU gave {len(good)} usable power readings of {len(samples)}: nothing is measured"
        )
    polled_j = integral_j(good)
    period_s = update_period_s(good)
    window_s = good[-1][0] - good[0][0]
    edge_j = edge_std_j(polled_j / window_s, period_s)
    low, high = _AGREEMENT
    if low * polled_j <= counter_j <= high * polled_j:
        return Reading(counter_j, edge_j, COVERS, period_s)
    if not math.isnan(counter_j):
        _log.warning("energy counter says %.3g J, polled power %.3g J", counter_j, polled_j)
    spread_w = statistics.pstdev(power_w for _, power_w in good)
    n_updates = max(1.0, window_s / period_s)
    std_j = math.hypot(edge_j, spread_w * window_s / math.sqrt(n_updates))
    return Reading(polled_j, std_j, COVERS, period_s)


def integral_j(samples: Sequence[Sample]) -> float:
    """Energy between the first and the last sample, by the trapezoid rule."""
    return math.fsum((t1 - t0) * (p0 + p1) / 2.0 for (t0, p0), (t1, p1) in pairwise(samples))


def update_period_s(samples: Sequence[Sample]) -> float:
    """Median time between changes of the reading: what the board does, not its data sheet."""
    changes_s = [t1 for (_, p0), (t1, p1) in pairwise(samples) if p0 != p1]
    if len(changes_s) < 3:
        return UNKNOWN_UPDATE_PERIOD_S
    return statistics.median(b - a for a, b in pairwise(changes_s))


class _Poller:
    """A thread that samples until it is stopped; the first and last sample are at the edges."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample
        self._samples = [sample()]
        self._failure: MeterError | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="irene-nvml", daemon=True)
        self._thread.start()

    def stop(self) -> list[Sample]:
        self._stopping.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return [*self._samples, self._sample()]

    def _run(self) -> None:
        while not self._stopping.wait(_POLL_PERIOD_S):
            try:
                self._samples.append(self._sample())
            except MeterError as err:
                self._failure = err
                return


def _power_source(nvml: Nvml, handle: object) -> Callable[[], float]:
    """Instant power where the board has it, else the plain reading; both in mW."""

    def instant_w() -> float:
        try:
            value = nvml.nvmlDeviceGetFieldValues(handle, [_POWER_INSTANT])[0]
        except nvml.NVMLError as err:
            raise MeterError(f"the GPU stopped answering NVML: {err}") from err
        if value.nvmlReturn != 0:
            raise MeterError(f"the GPU has no instant power (NVML error {value.nvmlReturn})")
        return 1e-3 * float(value.value.uiVal)

    def average_w() -> float:
        try:
            return 1e-3 * float(nvml.nvmlDeviceGetPowerUsage(handle))
        except nvml.NVMLError as err:
            raise MeterError(f"the GPU gives no power reading: {err}") from err

    try:
        instant_w()
    except MeterError:
        average_w()
        return average_w
    return instant_w


def _pynvml() -> Nvml:
    try:
        import pynvml
    except ImportError as err:
        raise MeterError(
            "nvidia-ml-py is not installed in this interpreter: with it a GPU's energy is measured"
        ) from err
    return cast("Nvml", pynvml)
