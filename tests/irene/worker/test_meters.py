"""Meters on faithful fakes of NVML and powercap, and the replay of a recorded run."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from irene.errors import MeterError
from irene.worker.meters import available, nvml, rapl
from irene.worker.meters.meter import Reading
from irene.worker.meters.replay import ReplayMeter, read, write

READING = Reading(5.0, 0.1, "GPU board", 0.1)
MAX_UJ = 262_143_328_850  # as an Intel package has it


class NvmlFailureError(Exception):
    """What `pynvml.NVMLError` is."""


@dataclass
class _Value:
    uiVal: int  # noqa: N815 - NVML's name


@dataclass
class _Field:
    nvmlReturn: int  # noqa: N815 - NVML's name
    value: _Value


class Board:
    """A GPU of constant power, as NVML shows it; `counter_scale` is what its counter is off by."""

    NVMLError = NvmlFailureError

    def __init__(
        self, power_w: float, counter_scale: float | None = 1.0, has_instant: bool = True
    ) -> None:
        self.power_w, self.counter_scale, self.has_instant = power_w, counter_scale, has_instant
        self.is_lost = False
        self.handles: list[object] = []
        self.counted_mj: list[int] = []

    def nvmlInit(self) -> None:  # noqa: N802
        if self.is_lost:
            raise NvmlFailureError("Driver Not Loaded")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        self.handles.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> object:  # noqa: N802
        self.handles.append(uuid)
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802
        self._answer(handle)
        if self.counter_scale is None:
            raise NvmlFailureError("Not Supported")
        energy_mj = round(1e3 * self.counter_scale * self.power_w * time.perf_counter())
        self.counted_mj.append(energy_mj)
        return energy_mj

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802
        self._answer(handle)
        return round(1e3 * self.power_w)

    def nvmlDeviceGetFieldValues(self, handle: object, fieldIds: list[int]) -> list[_Field]:  # noqa: N802, N803
        self._answer(handle)
        assert fieldIds == [186]
        status = 0 if self.has_instant else 3
        return [_Field(status, _Value(round(1e3 * self.power_w)))]

    def _answer(self, handle: object) -> None:
        assert handle in self.handles
        if self.is_lost:
            raise NvmlFailureError("GPU is lost")


@pytest.mark.parametrize("has_instant", [True, False])
def test_a_board_s_energy_is_what_its_counter_advanced(has_instant: bool) -> None:
    """Also where it has no instant power, and the plain reading is the check."""
    meter = nvml.find(nvml=(board := Board(250.0, has_instant=has_instant)))
    meter.start()
    wait_for_polls()
    reading = meter.stop()
    before_mj, after_mj = board.counted_mj
    assert reading.energy_j == pytest.approx(1e-3 * (after_mj - before_mj))
    assert (reading.covers, meter.name) == ("GPU board", "nvml")
    assert reading.update_period_s == nvml.UNKNOWN_UPDATE_PERIOD_S
    assert reading.std_j == pytest.approx(250.0 * 0.1 / math.sqrt(6.0), rel=1e-6)


@pytest.mark.parametrize("counter_scale", [None, 0.2, 3.0])
def test_a_board_s_energy_is_polled_where_its_counter_is_missing_or_wrong(
    counter_scale: float | None,
) -> None:
    meter = nvml.find(nvml=Board(250.0, counter_scale))
    started_s = time.perf_counter()
    meter.start()
    wait_for_polls()
    reading = meter.stop()
    longest_s = time.perf_counter() - started_s
    assert 250.0 * POLLS_S <= reading.energy_j <= 250.0 * longest_s


def test_a_board_is_found_by_what_names_it_surely() -> None:
    """CUDA's number of a board is not NVML's where CUDA_VISIBLE_DEVICES reorders them."""
    board = Board(100.0)
    nvml.find(uuid="GPU-1", index=0, nvml=board)
    nvml.find(index=2, nvml=board)
    assert board.handles == ["GPU-1", 2]


def test_a_board_that_vanishes_half_way_is_an_error() -> None:
    meter = nvml.find(nvml=(board := Board(250.0)))
    meter.start()
    board.is_lost = True
    wait_for_polls()
    with pytest.raises(MeterError, match="GPU is lost"):
        meter.stop()
    with pytest.raises(MeterError, match="Driver Not Loaded"):
        nvml.find(nvml=board)


def test_a_window_that_was_not_opened_cannot_be_closed() -> None:
    with pytest.raises(MeterError, match="no open window"):
        nvml.find(nvml=Board(100.0)).stop()
    with pytest.raises(MeterError, match="no open window"):
        ReplayMeter("nvml", [READING]).stop()


POLLS_S = 0.5


def wait_for_polls() -> None:
    """Real time, as a thread of the meter polls in it."""
    time.sleep(POLLS_S)


@pytest.mark.parametrize(
    ("counter_j", "expected_j"),
    [(1000.0, 1000.0), (1050.0, 1050.0), (130.0, 1000.0), (math.nan, 1000.0), (-5.0, 1000.0)],
)
def test_a_counter_counts_only_where_it_agrees_with_polled_power(
    counter_j: float, expected_j: float
) -> None:
    """One board's counter was seen at 3 to 26 % of the truth."""
    samples = [(0.1 * i, 100.0) for i in range(101)]
    assert nvml.reading_of(samples, counter_j).energy_j == pytest.approx(expected_j)


@pytest.mark.parametrize("bad_w", [0.0, math.nan, -3.0, math.inf])
def test_readings_that_are_no_power_are_not_measured(bad_w: float) -> None:
    with pytest.raises(MeterError, match="usable power readings"):
        nvml.reading_of([(0.1 * i, bad_w) for i in range(20)], 5.0)


def test_the_update_period_is_that_of_the_board() -> None:
    samples = [(0.01 * i, 100.0 + (i // 10)) for i in range(200)]
    assert nvml.update_period_s(samples) == pytest.approx(0.1)


def zone(folder: Path, number: str, name: str, energy_uj: int) -> Path:
    path = folder / f"intel-rapl:{number}"
    path.mkdir()
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{MAX_UJ}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    return path


def test_packages_and_dram_are_added_and_a_counter_may_wrap(tmp_path: Path) -> None:
    """Core and uncore are inside the package; psys covers both."""
    first = zone(tmp_path, "0", "package-0", MAX_UJ - 1_000_000)
    second = zone(tmp_path, "1", "package-1", 0)
    dram = zone(tmp_path, "0:1", "dram", 0)
    for number, name in (("0:0", "core"), ("2", "psys")):
        zone(tmp_path, number, name, 0)
    times = iter([0.0, 1.0])
    meter = rapl.find(tmp_path, clock=lambda: next(times))
    meter.start()
    (first / "energy_uj").write_text("9000000")  # 1 J before the wrap, 9 J after it
    (second / "energy_uj").write_text("20000000")
    (dram / "energy_uj").write_text("3000000")
    reading = meter.stop()
    assert reading.energy_j == pytest.approx(33.0)
    assert reading.covers == "2 CPU packages + DRAM"


def test_a_counter_that_jumps_back_is_an_error(tmp_path: Path) -> None:
    path = zone(tmp_path, "0", "package-0", 500_000_000_0)
    meter = rapl.find(tmp_path)
    meter.start()
    (path / "energy_uj").write_text("100")
    with pytest.raises(MeterError, match="jumped"):
        meter.stop()


def test_counters_that_only_root_may_read_come_with_the_fix() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        path = zone(Path(name), "0", "package-0", 0)
        (path / "energy_uj").chmod(0o400)
        with unprivileged(), pytest.raises(MeterError, match=r"sudo chmod a\+r .*energy_uj"):
            rapl.find(Path(name))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Another user than the one who owns the files: `nobody` for root, root for nobody."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("content", ["", "not a number", None])
def test_a_counter_that_cannot_be_read_is_an_error(tmp_path: Path, content: str | None) -> None:
    path = zone(tmp_path, "0", "package-0", 7)
    meter = rapl.find(tmp_path)
    meter.start()
    (path / "energy_uj").unlink()
    if content is not None:
        (path / "energy_uj").write_text(content)
    with pytest.raises(MeterError, match="package-0 cannot be read"):
        meter.stop()


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="stays modelled"):
        rapl.find(tmp_path)


def test_a_recorded_run_is_replayed_as_it_was(tmp_path: Path) -> None:
    readings = [READING, Reading(6.0, 0.2, "GPU board", 0.1)]
    write(tmp_path / "run.json", "nvml", readings)
    meter = read(tmp_path / "run.json")
    found = []
    for _ in readings:
        meter.start()
        found.append(meter.stop())
    assert found == readings
    meter.start()
    with pytest.raises(MeterError, match="at its end"):
        meter.stop()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"meter": "x"}', '{"meter": "x", "readings": [{}]}']
)
def test_a_file_that_is_no_recording_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(MeterError, match=r"run\.json is not a recorded run"):
        read(tmp_path / "run.json")


def test_what_a_machine_lacks_has_a_sentence() -> None:
    """Every device has its meter or a reason; those of the other devices are not asked."""
    for device, meter in (("cpu", "rapl"), ("cuda:0", "nvml")):
        found = available(device)
        assert len(found.meters) + len(found.reasons) == 1
        assert [it.name for it in found.meters] in ([], [meter])
    every = available()
    assert len(every.meters) + len(every.reasons) == 2
