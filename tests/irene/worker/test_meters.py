"""Meters on faithful fakes of NVML and powercap, and the replay of a recorded run."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from irene.errors import MeterError
from irene.worker.meters import nvml, rapl
from irene.worker.meters.meter import Reading
from irene.worker.meters.replay import read, write

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
        self.now_s = 0.0

    def clock(self) -> float:
        self.now_s += 0.05
        return self.now_s

    def nvmlInit(self) -> None:  # noqa: N802
        return

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> object:  # noqa: N802
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802
        if self.counter_scale is None:
            raise NvmlFailureError("not supported")
        return round(1e3 * self.counter_scale * self.power_w * self.now_s)

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802
        return round(1e3 * self.power_w)

    def nvmlDeviceGetFieldValues(self, handle: object, fieldIds: list[int]) -> list[_Field]:  # noqa: N802, N803
        status = 0 if self.has_instant else 3
        return [_Field(status, _Value(round(1e3 * self.power_w))) for _ in fieldIds]


@pytest.mark.parametrize("has_instant", [True, False])
def test_a_board_s_energy_is_its_power_times_the_time(has_instant: bool) -> None:
    board = Board(250.0, has_instant=has_instant)
    meter = nvml.NvmlMeter(board, 0, board.clock)
    meter.start()
    for _ in range(40):
        meter._poller._samples.append(meter._sample())  # type: ignore[union-attr] # a poll each
    reading = meter.stop()
    assert reading.covers == "GPU board"
    assert reading.energy_j == pytest.approx(250.0 * board.now_s, rel=0.15)


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
    meter = rapl.find(tmp_path)
    meter._clock = lambda: next(times)
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


def test_counters_that_only_root_may_read_come_with_the_fix(tmp_path: Path) -> None:
    path = zone(tmp_path, "0", "package-0", 0)
    (path / "energy_uj").unlink()
    (path / "energy_uj").mkdir()  # root reads any file; a folder nobody can
    with pytest.raises(MeterError, match="cannot be read"):
        rapl.find(tmp_path)
    if os.geteuid() != 0:
        (path / "energy_uj").rmdir()
        (path / "energy_uj").write_text("1")
        (path / "energy_uj").chmod(0)
        with pytest.raises(MeterError, match="chmod a\\+r"):
            rapl.find(tmp_path)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="stays modelled"):
        rapl.find(tmp_path)


def test_a_recorded_run_is_replayed_as_it_was(tmp_path: Path) -> None:
    readings = [Reading(5.0, 0.1, "GPU board", 0.1), Reading(6.0, 0.2, "GPU board", 0.1)]
    write(tmp_path / "run.json", "nvml", readings)
    meter = read(tmp_path / "run.json")
    found = []
    for _ in readings:
        meter.start()
        found.append(meter.stop())
    assert found == readings
