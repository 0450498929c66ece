"""Thermal design power of a CPU by its name, from codecarbon's table (MIT, see data/)."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Tdp:
    """A row of the table, and whether its name is the processor's or only near it."""

    name: str
    tdp_w: float
    is_exact: bool


def find_tdp(name: str) -> Tdp | None:
    """The TDP of the processor that calls itself `name`; None where no row fits.

    A near match must have every word with a digit in common: "Xeon Gold 6342" and "6348"
    are one letter apart and two products.
    """
    key = _plain(name)
    if not re.search(r"\d", key):
        return None  # "AMD EPYC": a family, as virtual machines report it
    exact = _table().get(key)
    return _near(key) if exact is None else Tdp(*exact, is_exact=True)


def _near(key: str) -> Tdp | None:
    models = _models(key)
    candidates = [it for it in _table() if _models(it) == models]
    nearest = difflib.get_close_matches(key, candidates, n=1, cutoff=0.6)
    return Tdp(*_table()[nearest[0]], is_exact=False) if nearest else None


@cache
def _table() -> Mapping[str, tuple[str, float]]:
    text = resources.files("irene.energy").joinpath("data/cpu_power.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return {
        _plain(it["Name"]): (it["Name"], float(it["TDP"])) for it in rows if _is_power(it["TDP"])
    }


def _is_power(text: str) -> bool:
    """Four old Celerons have a TDP such as "27.29.5", one microcontroller 0.0."""
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None and float(text) > 0.0


def _models(key: str) -> frozenset[str]:
    """Words with a digit, core counts left out: they name the product."""
    return frozenset(it for it in key.split() if re.search(r"\d", it) and "core" not in it)


def _plain(name: str) -> str:
    """`Intel(R) Core(TM) i7-7700K CPU @ 4.20GHz -> intel core i7-7700k`."""
    name = re.sub(r"\((r|tm|c)\)|@.*|\bwith radeon.*", " ", name.lower())
    name = re.sub(r"\b\d+(th|rd|nd|st) gen\b|\b\d+-core\b|\b(cpu|processor)\b", " ", name)
    return " ".join(name.split())
