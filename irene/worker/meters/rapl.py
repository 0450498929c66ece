"""RAPL through Linux's powercap: energy counters of CPU packages and DRAM, Intel and AMD.

A package's own subzones (core, uncore) are inside it and not added; `dram` lies beside it;
`psys` covers both and more, and is left out. It is the processor, not the wall.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from irene.errors import MeterError
from irene.worker.meters.meter import Reading, edge_std_j

POWERCAP = Path("/sys/class/powercap")

_UPDATE_PERIOD_S = 1e-3  # Intel SDM, volume 3, 16.10: about every millisecond

_MOST_W = 1_000.0
"""More than a socket draws: a counter that says so has jumped, not wrapped."""

FIX = f"sudo chmod a+r {POWERCAP}/intel-rapl:*/energy_uj"


@dataclass(frozen=True, slots=True)
class Zone:
    """One counter: micro-joules, starting again at `max_range_uj`."""

    path: Path
    name: str  # "package-0", "dram"
    max_range_uj: int


class RaplMeter:
    """The sum of all zones; between start and stop each counter may wrap once."""

    name = "rapl"

    def __init__(self, zones: tuple[Zone, ...], clock: Callable[[], float]) -> None:
        self._zones = zones
        self._clock = clock
        self._before: tuple[int, ...] = ()
        self._started_s = 0.0

    def start(self) -> None:
        self._before = tuple(_read_uj(zone) for zone in self._zones)
        self._started_s = self._clock()

    def stop(self) -> Reading:
        time_s = self._clock() - self._started_s
        after = tuple(_read_uj(zone) for zone in self._zones)
        energy_j = sum(
            _used_j(zone, before_uj, after_uj, time_s)
            for zone, before_uj, after_uj in zip(self._zones, self._before, after, strict=True)
        )
        power_w = energy_j / time_s if time_s > 0.0 else 0.0
        std_j = edge_std_j(power_w, _UPDATE_PERIOD_S)
        return Reading(energy_j, std_j, covers(self._zones), _UPDATE_PERIOD_S)


def find(powercap: Path = POWERCAP, clock: Callable[[], float] = time.perf_counter) -> RaplMeter:
    """The meter of this machine.

    Raises:
        MeterError: there is none, or it cannot be read; the message has the fix.
    """
    zones = _zones(powercap)
    if not zones:
        raise MeterError(
            f"no RAPL counters in {powercap}: this system or virtual machine does not show the "
            "processor's energy, which stays modelled"
        )
    for zone in zones:
        _read_uj(zone)
    return RaplMeter(zones, clock)


def covers(zones: tuple[Zone, ...]) -> str:
    """`"2 CPU packages + DRAM"`: for people."""
    n_packages = sum(zone.name.startswith("package") for zone in zones)
    packages = "CPU package" if n_packages == 1 else f"{n_packages} CPU packages"
    return packages + (" + DRAM" if any(zone.name == "dram" for zone in zones) else "")


def _zones(powercap: Path) -> tuple[Zone, ...]:
    """Packages and their DRAM; `intel-rapl-mmio` shows the same packages once more."""
    zones = []
    for path in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (path / "name").read_text(encoding="ascii").strip()
            max_range_uj = int((path / "max_energy_range_uj").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if name.startswith("package") or name == "dram":
            zones.append(Zone(path, name, max_range_uj))
    return tuple(zones)


def _read_uj(zone: Zone) -> int:
    try:
        return int((zone.path / "energy_uj").read_text(encoding="ascii"))
    except PermissionError as err:
        raise MeterError(
            f"RAPL is there but only root may read it; until the next start of the system: {FIX}"
        ) from err
    except (OSError, ValueError) as err:
        raise MeterError(f"RAPL zone {zone.name} cannot be read: {err}") from err


def _used_j(zone: Zone, before_uj: int, after_uj: int, time_s: float) -> float:
    used_uj = after_uj - before_uj
    if used_uj < 0:
        used_uj += zone.max_range_uj
    if used_uj < 0 or used_uj * 1e-6 > _MOST_W * max(time_s, _UPDATE_PERIOD_S):
        raise MeterError(
            f"RAPL zone {zone.name} jumped from {before_uj} to {after_uj} µJ in {time_s:.3g} s; "
            "measure again"
        )
    return used_uj * 1e-6
