"""What a data sheet lets expect of a device, in the coefficients that measured rows move.

The physics of `irene.energy.physics`, written as a predictor's: time passes in whole waves
over the multiprocessors, a FLOP's own energy is spent where there is work. Nothing is
learned beside it; its intervals are those of the data sheet.
"""

from __future__ import annotations

import math

from irene.energy.coefficients import Z_90
from irene.energy.device import Device, choose_rate
from irene.energy.physics import capped_s
from irene.energy.predicted.formula import (
    ABSENT,
    BYTE_SCALE,
    FLOP_SCALE,
    KERNEL_SCALE,
    MATRIX_UNITS,
    UNIT_KINDS,
    ModuleLaw,
    UnitLaw,
)
from irene.energy.predicted.predictor import Interval, Level, ModuleModel, Predictor, UnitModel
from irene.energy.predicted.units import UnitKind
from irene.tree import Primitive

_PRIMITIVES: dict[UnitKind, Primitive] = {
    "linear": "linear",
    "matmul": "matmul",
    "softmax": "softmax",
    "layer_norm": "layer_norm",
    "embedding": "embedding",
    "tanh": "elementwise",
}
_SHARPNESS = math.log(2.0)
"""A soft maximum of the third power, as the machines of IrEne have it."""
_LEVELS: tuple[Level, ...] = ("ml", "module", "model")


def prior(device: Device, n_multiprocessors: int) -> Predictor:
    """The predictor that a device's data sheet stands for, in float32."""
    units = {
        kind: UnitModel(_unit_law(device, kind), _unit_time_law(device, kind), None)
        for kind in UNIT_KINDS
    }
    interval = Interval(Z_90, math.log(device.spread))
    return Predictor(
        n_multiprocessors,
        units,
        ModuleModel(_module_law(device), _module_time_law(device), None),
        dict.fromkeys(_LEVELS, interval),
    )


def _unit_law(device: Device, kind: UnitKind) -> UnitLaw:
    launch_j = device.launch_s * _waiting_w(device)
    streamed = math.log(_byte_j(device, _PRIMITIVES[kind]) / BYTE_SCALE)
    if kind not in MATRIX_UNITS:
        return UnitLaw(math.log(launch_j), _SHARPNESS, (streamed, ABSENT, ABSENT, ABSENT))
    rate = choose_rate(device, "float32", _PRIMITIVES[kind]).rate
    waves = math.log(device.busy_w * _flop_s(device, kind) / FLOP_SCALE)
    tiles = _log(rate.energy_j_flop / FLOP_SCALE)
    moved = _log(device.energy_j_byte / BYTE_SCALE)  # while the products run
    bias = math.log(_byte_j(device, "elementwise") / BYTE_SCALE)
    return UnitLaw(math.log(launch_j), _SHARPNESS, (waves, tiles, moved, bias))


def _unit_time_law(device: Device, kind: UnitKind) -> UnitLaw:
    launch = math.log(device.launch_s)
    streamed = math.log(_byte_s(device, _PRIMITIVES[kind]) / BYTE_SCALE)
    if kind not in MATRIX_UNITS:
        return UnitLaw(launch, _SHARPNESS, (streamed, ABSENT, ABSENT, ABSENT))
    waves = math.log(_flop_s(device, kind) / FLOP_SCALE)
    bias = math.log(_byte_s(device, "elementwise") / BYTE_SCALE)
    return UnitLaw(launch, _SHARPNESS, (waves, ABSENT, ABSENT, bias))


def _module_law(device: Device) -> ModuleLaw:
    byte = math.log(_byte_j(device, "elementwise") / BYTE_SCALE)
    launch = math.log(device.launch_s * _waiting_w(device) / KERNEL_SCALE)
    return ModuleLaw(byte, byte, ABSENT, launch, launch, _SHARPNESS, 0.0)


def _module_time_law(device: Device) -> ModuleLaw:
    byte = math.log(_byte_s(device, "elementwise") / BYTE_SCALE)
    launch = math.log(device.launch_s / KERNEL_SCALE)
    return ModuleLaw(byte, byte, ABSENT, launch, launch, _SHARPNESS, 0.0)


def _flop_s(device: Device, kind: UnitKind) -> float:
    primitive = _PRIMITIVES[kind]
    rate = choose_rate(device, "float32", primitive).rate
    reached = 1.0 / (device.efficiency(primitive).of_peak * rate.peak_flop_s)
    return max(reached, capped_s(rate.energy_j_flop, device))


def _byte_s(device: Device, primitive: Primitive) -> float:
    reached = 1.0 / (device.efficiency(primitive).of_bandwidth * device.bandwidth_b_s)
    return max(reached, capped_s(device.energy_j_byte, device))


def _byte_j(device: Device, primitive: Primitive) -> float:
    return device.energy_j_byte + device.busy_w * _byte_s(device, primitive)


def _waiting_w(device: Device) -> float:
    """A GPU idles while it waits for launches; a CPU's core issues them."""
    return device.idle_w if device.kind == "gpu" else device.busy_w


def _log(value: float) -> float:
    return math.log(value) if value > 0.0 else ABSENT
