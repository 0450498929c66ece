"""Data-sheet facts of a device, and the device that the shared coefficients make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from irene.energy import coefficients
from irene.energy.device import TENSOR_CORES, Device, DeviceKind, Rate

_BROAD_FACTS = frozenset({"bandwidth", "float32", "tdp_w", "sustained clock"})
"""Facts that every price depends on; an unverified tensor rate widens its own prices alone."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is published about one device, before any coefficient of ours."""

    id: str
    name: str
    kind: DeviceKind
    architecture: str  # "" where unknown or meaningless
    memory_technology: str
    memory_bytes: int | None
    bandwidth_b_s: float
    peaks_flop_s: tuple[tuple[str, float], ...]  # by dtype
    tdp_w: float
    idle_w: float | None  # with a context
    busy_w: float | None  # fitted
    aliases: tuple[str, ...]
    unverified: tuple[str, ...]
    provenance: str


@cache
def shipped_facts() -> tuple[Facts, ...]:
    """The rows of data/devices.json."""
    text = resources.files("irene.energy").joinpath("data/devices.json").read_text("utf-8")
    shipped = json.loads(text)
    return tuple(_parse(row, shipped["idle_source"]) for row in shipped["devices"])


def assemble(facts: Facts) -> Device:
    """Facts and shared coefficients as one device."""
    family = coefficients.family(facts.architecture, facts.memory_technology)
    architecture = coefficients.ARCHITECTURES.get(family, coefficients.UNKNOWN_ARCHITECTURE)
    idle_w, busy_w = _powers(facts)
    return Device(
        id=facts.id,
        name=facts.name,
        kind=facts.kind,
        architecture=facts.architecture,
        memory_technology=facts.memory_technology,
        memory_bytes=facts.memory_bytes,
        bandwidth_b_s=facts.bandwidth_b_s,
        energy_j_byte=_byte_energy_j(facts),
        rates=_rates(facts, architecture),
        efficiencies=coefficients.efficiencies(architecture),
        tdp_w=facts.tdp_w,
        idle_w=idle_w,
        busy_w=busy_w,
        launch_s=coefficients.CPU_LAUNCH_S if facts.kind == "cpu" else coefficients.LAUNCH_S,
        step_s=coefficients.STEP_S if facts.kind == "gpu" else coefficients.CPU_STEP_S,
        spread=_spread(facts, architecture),
        aliases=facts.aliases,
        unverified=facts.unverified,
        provenance=facts.provenance,
    )


def has_flat_power(facts: Facts) -> bool:
    """One package power for all work: CPUs, and Apple's chips, of which no more is published."""
    return facts.kind in ("cpu", "soc")


def _powers(facts: Facts) -> tuple[float, float]:
    if has_flat_power(facts):
        idle_w = coefficients.PACKAGE_IDLE_SHARE * facts.tdp_w
        return (idle_w if facts.idle_w is None else facts.idle_w), facts.tdp_w
    memory = coefficients.memory_family(facts.memory_technology)
    idle_w = facts.idle_w or coefficients.IDLE_SHARE_OF_TDP[memory] * facts.tdp_w
    if facts.busy_w is not None:
        return min(idle_w, facts.busy_w), facts.busy_w
    return idle_w, max(idle_w, coefficients.BUSY_SHARE_OF_TDP[memory] * facts.tdp_w)


def _byte_energy_j(facts: Facts) -> float:
    if has_flat_power(facts):
        return 0.0
    return coefficients.BYTE_ENERGY_J.get(
        facts.memory_technology, coefficients.UNKNOWN_BYTE_ENERGY_J
    )


def _rates(facts: Facts, architecture: coefficients.Architecture) -> tuple[Rate, ...]:
    peaks = dict(facts.peaks_flop_s)
    rates = [_rate(facts, architecture, dtype, peak) for dtype, peak in peaks.items()]
    if facts.kind == "gpu":
        share = coefficients.float64_share(facts.architecture, facts.memory_technology)
        energy_j = 2 * architecture.float32_j
        unit = "vector units"
        rates.append(Rate("float64", share * peaks["float32"], energy_j, unit, is_verified=False))
    return tuple(rates)


def _rate(
    facts: Facts, architecture: coefficients.Architecture, dtype: str, peak_flop_s: float
) -> Rate:
    is_vector = dtype == "float32" or has_flat_power(facts) or facts.architecture == "Pascal"
    matrix_unit = "matrix cores" if facts.architecture.startswith("CDNA") else TENSOR_CORES
    energy_j = _flop_energy_j(architecture, dtype)
    return Rate(
        dtype=dtype,
        peak_flop_s=peak_flop_s,
        energy_j_flop=0.0 if has_flat_power(facts) else energy_j,
        unit="vector units" if is_vector else matrix_unit,
        is_verified=dtype not in facts.unverified,
    )


def _flop_energy_j(architecture: coefficients.Architecture, dtype: str) -> float:
    match dtype:
        case "float32":
            return architecture.float32_j
        case "tf32":
            return coefficients.TF32_ENERGY_RATIO * architecture.float16_j
    return architecture.float16_j


def _spread(facts: Facts, architecture: coefficients.Architecture) -> float:
    is_flat = has_flat_power(facts)
    spreads = [coefficients.SPREAD_CPU if is_flat else coefficients.SPREAD_BASE]
    if _BROAD_FACTS & set(facts.unverified):
        spreads.append(coefficients.SPREAD_UNVERIFIED)
    if "tdp_per_core" in facts.unverified:
        spreads.append(coefficients.SPREAD_TDP_GUESS)
    if not is_flat and architecture.linear is None:
        spreads.append(coefficients.SPREAD_UNMEASURED_ARCHITECTURE)
    return coefficients.combine(*spreads)


def _parse(row: Mapping[str, Any], idle_source: str) -> Facts:
    memory_gb, idle_w = row.get("memory_gb"), row.get("idle_with_context_w")
    unverified = tuple(row.get("unverified", ()))
    sentences = [row["source"]]
    if idle_w is not None:
        sentences.append(idle_source)
    if unverified:
        sentences.append("not confirmed by a second source: " + ", ".join(unverified))
    if "note" in row:
        sentences.append(row["note"])
    return Facts(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        architecture=row.get("architecture", ""),
        memory_technology=row["memory"],
        memory_bytes=None if memory_gb is None else round(memory_gb * 1e9),
        bandwidth_b_s=row["bandwidth_gb_s"] * 1e9,
        peaks_flop_s=tuple((dtype, peak * 1e12) for dtype, peak in row["peak_tflop_s"].items()),
        tdp_w=row["tdp_w"],
        idle_w=idle_w,
        busy_w=row.get("busy_w"),
        aliases=tuple(row.get("aliases", ())),
        unverified=unverified,
        provenance="; ".join(sentences),
    )
