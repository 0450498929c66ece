"""A profile to the price of every node: times as measured, energy metered or modelled.

`measured`: a meter gave the energy of a forward pass; it is split by the time of each node.
`profiled`: only the time was measured. A CPU's power is then idle + load * (TDP - idle), a
GPU's that of the physics, for the FLOPs and bytes of each primitive over its measured time.

Modules have measured times, primitives do not: what a module spends beside its measured
children is split among its own operations by their modelled seconds. Nothing is scaled to
fit; time of a module without own operations is a row of its own, "unattributed".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from irene.energy import coefficients
from irene.energy.device import Device
from irene.energy.physics import energy_of_time_j, price, primitive_cost, sum_of
from irene.energy.prices import Energy, PricedNode, ValueKind
from irene.errors import MeterError
from irene.tree import Node, Operation
from irene.units import format_energy, format_power, format_spread
from irene.worker.protocol import CallTime, Profile

SPREAD_METER = 1.05
"""Board and package meters agree with external ones within some 5 % when they work."""
SPREAD_SPLIT_BY_TIME = 1.15
"""Parts of one model differ that much in power (IrEne's machines: 160 to 210 W on device_1)."""
SPREAD_SPLIT_BY_MODEL = 1.3
"""Own operations of a module, divided by modelled seconds."""
SPREAD_POWER = {"gpu": 1.2, "cpu": 1.35, "soc": 1.35}
"""Modelled power over measured time: no error of the modelled time, only that of power."""

UNATTRIBUTED = "unattributed"


def price_profile(profile: Profile, device: Device) -> PricedNode:
    """The profiled tree with times and energies; children times counts add up to each node.

    Raises:
        MeterError: no time of the whole model, or a meter that did not count.
    """
    times = {it.path: it for it in profile.times}
    whole = times.get(())
    if whole is None:
        raise MeterError("the profile has no time for the whole model: profile it again")
    if profile.energy_j is not None and profile.energy_j <= 0.0:
        raise MeterError(f"{profile.meter} read {profile.energy_j} J: profile the model again")
    modelled = price(profile.trace.root, device)
    return _Pricing(profile, device, times, whole).node(modelled, (), whole.time_s)


def profile_notes(profile: Profile, device: Device) -> tuple[str, ...]:
    """How the values of a profile were made, as sentences."""
    runs = f"mean of {profile.n_runs} runs on {profile.device_name} at {profile.measured_at}"
    if profile.n_runs_disturbed:
        runs += f", {profile.n_runs_disturbed} disturbed runs left out"
    return (
        runs,
        _power_note(profile, device),
        "times of modules are measured; a module's time beside its child modules is divided "
        "among its own operations in proportion to their modelled time",
    )


@dataclass(frozen=True, slots=True)
class _Pricing:
    """One profile on one device."""

    profile: Profile
    device: Device
    times: Mapping[tuple[str, ...], CallTime]
    whole: CallTime

    def node(self, modelled: PricedNode, path: tuple[str, ...], seconds: float) -> PricedNode:
        """A node that takes `seconds`: its children divide them."""
        if modelled.node.kind == "primitive":
            return self._primitive(modelled.node, seconds)
        children = tuple(
            self.node(child, (*path, child.node.scope), child_s)
            for child, child_s in self._divide(modelled, path, seconds)
        )
        total = sum_of(children)
        spread = coefficients.combine(self._shared_spread(total), self._run_spread(path))
        return PricedNode(
            node=replace(modelled.node, children=tuple(it.node for it in children)),
            energy=_with_band(total.joules, total.seconds, spread),
            kind=self._kind(),
            bound=modelled.bound,
            children=children,
        )

    def _divide(
        self, modelled: PricedNode, path: tuple[str, ...], seconds: float
    ) -> Sequence[tuple[PricedNode, float]]:
        """Each child with its seconds per call: measured, or its share of what is left."""
        measured_s = [self._measured_s(child.node, path) for child in modelled.children]
        left_s, weight_s = seconds, 0.0
        for child, each_s in zip(modelled.children, measured_s, strict=True):
            if each_s is None:
                weight_s += child.node.count * child.energy.seconds
            else:
                left_s -= child.node.count * each_s
        left_s = max(0.0, left_s)
        scale = left_s / weight_s if weight_s > 0.0 else 0.0
        divided = [
            (child, scale * child.energy.seconds if each_s is None else each_s)
            for child, each_s in zip(modelled.children, measured_s, strict=True)
        ]
        if weight_s <= 0.0 < left_s:
            divided.append((price(_unattributed(modelled.node), self.device), left_s))
        return divided

    def _measured_s(self, node: Node, path: tuple[str, ...]) -> float | None:
        time = None if node.kind == "primitive" else self.times.get((*path, node.scope))
        return None if time is None else time.time_s

    def _primitive(self, node: Node, seconds: float) -> PricedNode:
        cost = primitive_cost(node, self.device)
        joules = self._joules(node, seconds)
        bare = Energy(joules, joules, joules, seconds)
        spread = coefficients.combine(
            self._shared_spread(bare), self._run_spread(()), SPREAD_SPLIT_BY_MODEL
        )
        # Python between operations moves no bytes: its time is that of starting them.
        bound = "launch" if node.class_name == UNATTRIBUTED else cost.bound
        return PricedNode(node, _with_band(joules, seconds, spread), self._kind(), bound, ())

    def _joules(self, node: Node, seconds: float) -> float:
        if self.profile.energy_j is not None:
            return self.profile.energy_j / self.whole.time_s * seconds
        if self.device.kind != "gpu":
            return loaded_power_w(self.profile, self.device) * seconds
        cost = primitive_cost(node, self.device)
        joules = energy_of_time_j(self.device, seconds, min(cost.busy_s, seconds), cost.work_j)
        return min(joules, self.device.tdp_w * seconds)

    def _kind(self) -> ValueKind:
        return "profiled" if self.profile.energy_j is None else "measured"

    def _shared_spread(self, energy: Energy) -> float:
        """Of power; a metered total is sure, its division into parts is not."""
        if self.profile.energy_j is None:
            return _power_spread(self.device)
        share = min(1.0, energy.seconds / self.whole.time_s) if self.whole.time_s else 1.0
        deviation = (self.profile.energy_std_j or 0.0) / self.profile.energy_j
        return coefficients.combine(
            SPREAD_METER, 1.0 + deviation, SPREAD_SPLIT_BY_TIME ** (1.0 - share)
        )

    def _run_spread(self, path: tuple[str, ...]) -> float:
        time = self.times.get(path, self.whole)
        return 1.0 + time.time_std_s / time.time_s if time.time_s > 0.0 else 1.0


def loaded_power_w(profile: Profile, device: Device) -> float:
    """Idle + load * (TDP - idle), for a processor without a meter.

    The device's TDP is that of the cores which the process may use, and so is the load.
    """
    return device.idle_w + profile.load * (device.tdp_w - device.idle_w)


def _power_spread(device: Device) -> float:
    guessed = coefficients.SPREAD_TDP_GUESS if "tdp_per_core" in device.unverified else 1.0
    unverified = coefficients.SPREAD_UNVERIFIED if "tdp_w" in device.unverified else 1.0
    return coefficients.combine(SPREAD_POWER[device.kind], guessed, unverified)


def _with_band(joules: float, seconds: float, spread: float) -> Energy:
    factor = coefficients.band(spread)
    return Energy(joules, joules / factor, joules * factor, seconds)


def _unattributed(node: Node) -> Node:
    """Time of a module that no operation of its own explains: its Python."""
    return Node(
        scope=node.scope,
        class_name=UNATTRIBUTED,
        kind="primitive",
        primitive="other",
        count=1,
        flops=0,
        n_bytes=0,
        n_parameters=0,
        created_at=None,
        called_at=node.called_at,
        origin=None,
        operation=Operation(UNATTRIBUTED, "float32", (), (), 0),
        children=(),
    )


def _power_note(profile: Profile, device: Device) -> str:
    if profile.energy_j is not None:
        deviation_j = profile.energy_std_j or 0.0
        return (
            f"{profile.meter} measured {format_energy(profile.energy_j)} per forward pass "
            f"({format_spread(profile.energy_j, profile.energy_j + deviation_j)} between runs; "
            f"{profile.meter_covers}), divided by the time of each node"
        )
    if device.kind != "gpu":
        return (
            f"no meter here: power modelled as idle {format_power(device.idle_w)} + "
            f"load {100 * profile.load:.0f} % x ({format_power(device.tdp_w)} - "
            f"{format_power(device.idle_w)}) = {format_power(loaded_power_w(profile, device))}; "
            f"{device.provenance}"
        )
    return (
        f"no meter here: power modelled from FLOPs and bytes over the measured time; {device.name}"
    )
