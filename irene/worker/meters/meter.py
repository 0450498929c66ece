"""What a meter is: a window opens, it closes, and says how much energy went through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reading:
    """Energy of one window, and how far to trust it."""

    energy_j: float
    std_j: float  # one standard deviation, of the meter alone
    covers: str  # "GPU board", "CPU package + DRAM"
    update_period_s: float  # how often the meter's value changes


class Meter(Protocol):
    """A source of readings; both methods raise `MeterError` where none can be trusted."""

    @property
    def name(self) -> str:
        """Short, for messages and files: "nvml", "rapl"."""

    def start(self) -> None:
        """Open a window."""

    def stop(self) -> Reading:
        """Close it."""


def edge_std_j(power_w: float, update_period_s: float) -> float:
    """What two edges cost, each off by up to one update: two uniform errors, independent."""
    return power_w * update_period_s * math.sqrt(2.0 / 12.0)
