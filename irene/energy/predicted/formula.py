"""The physics of a predictor: soft maximum of launch floor and work, in few coefficients.

A unit:   E = smax(launch, sum of coefficient * work)
A module: E = smax(launches, units + streamed and copied bytes + kernels)

The work of a matrix product is its FLOPs in tiles of 128 x 128, once as whole waves over
the card's multiprocessors (time passes also where tiles are missing) and once as they are,
beside its bytes and those of its bias. Coefficients are logarithms; the same formula gives
seconds with its own coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irene.energy.predicted.units import Description, Unit, UnitKind

Floats = NDArray[np.float64]

UNIT_KINDS: tuple[UnitKind, ...] = (
    "linear",
    "matmul",
    "softmax",
    "layer_norm",
    "embedding",
    "tanh",
)
MATRIX_UNITS = frozenset({"linear", "matmul", "attention", "unfamiliar"})
GROUPS = ("batched", "flat", "matmul", "softmax", "layer_norm", "embedding", "tanh")
"""Units as a module counts them: linear layers by layout."""

TILE = 128
_SMALL_TILE = 32
FLOP_SCALE, BYTE_SCALE, KERNEL_SCALE = 1e-10, 3e-10, 1e-3
"""So that coefficients are near 1: J per FLOP, J per byte and J per kernel of a desktop card."""


ABSENT = math.log(1e-9)
"""A coefficient, as a logarithm, of work that does not count."""


@dataclass(frozen=True, slots=True)
class UnitLaw:
    """Coefficients of one kind of unit, as logarithms.

    `work`, of products: waves, tiles, bytes, bytes of the bias; of units that move bytes alone:
    bytes, rows (of softmax), and nothing.
    """

    launch: float
    sharpness: float
    work: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ModuleLaw:
    """Coefficients of modules, as logarithms."""

    streamed: float  # per byte
    copied: float
    kernel: float  # each kernel that is no unit
    kernel_launch: float
    unit_launch: float
    sharpness: float
    units: float  # units inside a module against units alone


def tiles_of(unit: Unit) -> tuple[float, int]:
    """Tiles of a matrix product, and the rows of one: fewer where there are few rows."""
    rows = TILE
    if unit.kind == "linear" and unit.m < TILE:
        rows = _SMALL_TILE * -(-unit.m // _SMALL_TILE)
    return unit.n_batch * -(-unit.m // rows) * -(-unit.n // TILE), rows


def waves_of(unit: Unit, n_multiprocessors: int) -> float:
    """Rounds over the multiprocessors; a product of few rows is divided among all of them."""
    tiles, rows = tiles_of(unit)
    if rows < TILE:
        return tiles / n_multiprocessors
    return float(math.ceil(tiles / n_multiprocessors))


def unit_work(unit: Unit, n_multiprocessors: int) -> tuple[float, float, float, float]:
    """Waves, tiles, bytes and bytes of the bias, scaled."""
    if unit.kind in MATRIX_UNITS:
        tiles, rows = tiles_of(unit)
        flops = FLOP_SCALE * 2 * rows * TILE * unit.k
        waves = waves_of(unit, n_multiprocessors) * n_multiprocessors
        m, k, n = unit.m, unit.k, unit.n
        n_bytes = 4 * unit.n_batch * (m * k + k * n + m * n)
        bias = 8 * m * n if unit.kind == "linear" else 0  # a pass over the output, in and out
        return waves * flops, tiles * flops, BYTE_SCALE * n_bytes, BYTE_SCALE * bias
    streamed = BYTE_SCALE * 8 * unit.m * unit.k
    if unit.kind == "softmax":  # rows shorter than a block cost by the row
        return streamed, 1e-7 * unit.m, 0.0, 0.0
    return streamed, 0.0, 0.0, 0.0


def smooth_max(first: Floats, second: Floats, sharpness: float) -> Floats:
    """A soft maximum: the larger of two that are apart, above both where they are near."""
    power = 1.0 + math.exp(sharpness)
    larger = np.maximum(first, second)
    smaller = np.minimum(first, second)
    result: Floats = larger * (1.0 + (smaller / larger) ** power) ** (1.0 / power)
    return result


def unit_log(law: UnitLaw, work: Floats) -> Floats:
    """Logarithm of the price of units of one kind; `work` has a row for each."""
    busy = work @ np.exp(np.array(law.work))
    launch = np.full(len(work), math.exp(law.launch))
    return np.log(smooth_max(launch, busy, law.sharpness))


def group_of(unit: Unit) -> int:
    """The place of a unit in `GROUPS`."""
    if unit.kind in ("attention", "unfamiliar"):
        return GROUPS.index("matmul")
    return GROUPS.index(unit.layout or unit.kind)


def module_rows(descriptions: Sequence[Description], unit_prices: Mapping[Unit, float]) -> Floats:
    """A row per module: its units' prices by group, then bytes, kernels and launches, scaled."""
    rows = np.zeros((len(descriptions), len(GROUPS) + 4))
    for row, description in zip(rows, descriptions, strict=True):
        for unit, calls in description.units:
            row[group_of(unit)] += calls * unit_prices[unit]
            row[-1] += KERNEL_SCALE * calls * (2 if unit.kind == "linear" else 1)
        kernels = description.kernels
        row[-4] = BYTE_SCALE * kernels.streamed_bytes
        row[-3] = BYTE_SCALE * kernels.copied_bytes
        row[-2] = KERNEL_SCALE * kernels.n_kernels
    return rows


def module_parts(law: ModuleLaw, rows: Floats) -> Floats:
    """What a module's price is made of: units by group, streams, copies, kernels, launches."""
    n_groups = len(GROUPS)
    parts = np.empty((len(rows), n_groups + 4))
    parts[:, :n_groups] = math.exp(law.units) * rows[:, :n_groups]
    parts[:, n_groups] = math.exp(law.streamed) * rows[:, -4]
    parts[:, n_groups + 1] = math.exp(law.copied) * rows[:, -3]
    parts[:, n_groups + 2] = math.exp(law.kernel) * rows[:, -2]
    launches = math.exp(law.kernel_launch) * rows[:, -2] + math.exp(law.unit_launch) * rows[:, -1]
    parts[:, n_groups + 3] = launches
    return parts


def module_log(law: ModuleLaw, rows: Floats) -> Floats:
    """Logarithm of the price of modules."""
    parts = module_parts(law, rows)
    work = np.maximum(parts[:, :-1].sum(axis=1), 1e-12)
    return np.log(smooth_max(np.maximum(parts[:, -1], 1e-12), work, law.sharpness))


def unit_features(unit: Unit, n_multiprocessors: int) -> tuple[float, ...]:
    """Where a unit stands among others of its kind, for the correction: sizes, layout, fit."""
    sizes = (
        math.log2(max(1, unit.n_batch * unit.m)),
        math.log2(max(1, unit.k)),
        math.log2(max(1, unit.n)),
        4.0 * (unit.layout == "flat"),
    )
    if unit.kind not in MATRIX_UNITS:
        return (*sizes, 0.0, 0.0, 0.0)
    tiles, rows = tiles_of(unit)
    filled = waves_of(unit, n_multiprocessors) * n_multiprocessors / tiles
    padding = tiles * rows * TILE / (unit.n_batch * unit.m * unit.n)
    rows_log = math.log2(unit.m) if unit.kind == "matmul" else 0.0
    return (*sizes, 4.0 * math.log2(filled), 2.0 * math.log2(padding), rows_log)


UNIT_FEATURE_GROUPS = (0, 0, 0, 1, 2, 2, 2)
"""Which length scale a feature has: sizes, layout, fit of the tiles."""


def module_features(law: ModuleLaw, rows: Floats) -> Floats:
    """Where modules stand among others: what they are made of, and how large they are."""
    parts = module_parts(law, rows)
    work = np.maximum(parts[:, :-1].sum(axis=1, keepdims=True), 1e-12)
    shares = parts / work
    shares[:, -1] = np.minimum(shares[:, -1], 1.5)
    return np.hstack([5.0 * np.sqrt(shares), np.log2(work) / 2.0])


MODULE_FEATURE_GROUPS = (0,) * (len(GROUPS) + 4) + (1,)
