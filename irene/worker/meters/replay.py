"""A recorded run, read again: the meter of tests, and of measurements that were kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from irene.errors import MeterError
from irene.worker.meters.meter import Reading


class ReplayMeter:
    """The readings of a recording, one for each window, in their order."""

    def __init__(self, name: str, readings: Iterable[Reading]) -> None:
        self._name = name
        self._readings = iter(tuple(readings))
        self._is_open = False

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> None:
        self._is_open = True

    def stop(self) -> Reading:
        if not self._is_open:
            raise MeterError(f"the recording of {self._name} has no open window to close")
        self._is_open = False
        try:
            return next(self._readings)
        except StopIteration:
            raise MeterError(f"the recording of {self._name} is at its end") from None


def write(path: Path, name: str, readings: Iterable[Reading]) -> None:
    """Keep a run: one JSON object."""
    rows = [asdict(it) for it in readings]
    path.write_text(json.dumps({"meter": name, "readings": rows}), encoding="utf-8")


def read(path: Path) -> ReplayMeter:
    """The inverse of `write`.

    Raises:
        MeterError: the file is not a recording.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return ReplayMeter(str(data["meter"]), [Reading(**row) for row in data["readings"]])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise MeterError(f"{path} is not a recorded run of a meter: {err}") from err
