"""The zero-calibration estimate: a trace and a device to time and energy, nothing run.

For each primitive with F FLOPs and B bytes:

    busy = max(F / (eta_F * peak), B / (eta_B * bandwidth), n_steps * step,
               (e_F * F + e_B * B) / (P_tdp - P_busy))             cards at their power cap
    t    = max(busy, n_kernels * launch)
    E    = P_idle * (t - busy) + P_busy * busy + e_F * F + e_B * B

A recurrent layer has dependent steps: time steps x layers x directions. On a GPU each of them
reads its recurrent weights again, which B has once.

A CPU has no other figure than its share of TDP: E = P_tdp * t. The coefficients and the
source of each are in `coefficients`; docs/physics.md has their errors on measurements.

Inner nodes are the sum of their children, count times each, in order: seconds, joules and
both ends of the interval. All primitives share the coefficients, so their errors do not
average out, and the ends of the interval add up like the values.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from irene.energy import coefficients
from irene.energy.device import ChosenRate, Device, choose_rate
from irene.energy.prices import BOUNDS, Bound, Energy, PricedNode, ValueKind
from irene.tree import MATRIX_PRIMITIVES, Node, Operation, Primitive, walk
from irene.units import format_bandwidth, format_flop_rate, format_power, format_spread, format_time


def price(root: Node, device: Device) -> PricedNode:
    """The tree with the modelled price of every node."""
    children = tuple(price(child, device) for child in root.children)
    if root.kind == "primitive":
        cost = primitive_cost(root, device)
        return PricedNode(root, cost.energy, "modelled", cost.bound, ())
    return parent_of(root, children, "modelled")


def parent_of(node: Node, children: tuple[PricedNode, ...], kind: ValueKind) -> PricedNode:
    """A node whose price is the sum over its children: the only place that adds prices."""
    return PricedNode(node, sum_of(children), kind, _dominant_bound(children), children)


def sum_of(children: Sequence[PricedNode]) -> Energy:
    """Count times each child, by plain additions in order: the same floats wherever it is run.

    (The built-in `sum` compensates since Python 3.12, and so differs between versions.)
    """
    joules = low_j = high_j = seconds = 0.0
    for child in children:
        energy, count = child.energy, child.node.count
        joules += count * energy.joules
        low_j += count * energy.low_j
        high_j += count * energy.high_j
        seconds += count * energy.seconds
    return Energy(joules, low_j, high_j, seconds)


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of a primitive and what it is made of."""

    energy: Energy
    bound: Bound
    busy_s: float
    work_j: float  # of its FLOPs and bytes


def primitive_cost(node: Node, device: Device) -> Cost:
    """Time, energy and interval of one call of a primitive."""
    primitive = node.primitive or "other"
    operation = node.operation
    chosen = choose_rate(device, operation.dtype if operation else "float32", primitive)
    efficiency = device.efficiency(primitive)
    compute_s = node.flops / (efficiency.of_peak * chosen.rate.peak_flop_s)
    n_bytes = node.n_bytes + _reread_bytes(node, device)
    memory_s = n_bytes / (efficiency.of_bandwidth * device.bandwidth_b_s)
    steps_s = operation.n_steps * _step_s(operation, device) if operation else 0.0
    launch_s = (operation.n_kernels if operation else 1) * device.launch_s
    work_j = chosen.rate.energy_j_flop * node.flops + device.energy_j_byte * n_bytes
    working_s = max(compute_s, memory_s, capped_s(work_j, device))
    busy_s = max(working_s, steps_s)
    seconds = max(busy_s, launch_s)
    bound: Bound = "memory" if memory_s >= compute_s else "compute"
    if launch_s > busy_s:
        bound = "launch"
    elif steps_s > working_s:
        bound = "step"
    joules = energy_of_time_j(device, seconds, busy_s, work_j)
    factor = coefficients.band(_spread(device, primitive, chosen, bound))
    return Cost(Energy(joules, joules / factor, joules * factor, seconds), bound, busy_s, work_j)


def _step_s(operation: Operation, device: Device) -> float:
    ratio = 1.0 if device.kind == "gpu" else coefficients.CPU_STEP_RATIO.get(operation.name, 1.0)
    return ratio * device.step_s


def _reread_bytes(node: Node, device: Device) -> int:
    """Recurrent weights that a GPU's steps read beyond the first time; a CPU's caches hold them.

    Half of a layer's matrices are recurrent, and each time step of a layer reads that half: over
    all layers and time steps, `n_steps` times the mean matrix.
    """
    operation = node.operation
    if operation is None or not operation.n_steps or device.kind == "cpu":
        return 0
    matrices = operation.input_shapes[1:]  # (gates, input), (gates, hidden) of each layer
    n_bytes = _ITEM_BYTES.get(operation.dtype, 4) * sum(math.prod(it) for it in matrices)
    return operation.n_steps * n_bytes // max(1, len(matrices))


_ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
"""Of the dtypes that torch's recurrent layers run in."""


def energy_of_time_j(device: Device, seconds: float, busy_s: float, work_j: float) -> float:
    """Energy of `seconds`, of which the device works `busy_s` on FLOPs and bytes of `work_j`."""
    if device.kind != "gpu":  # the waiting is a core's own work
        return device.busy_w * seconds
    return device.idle_w * (seconds - busy_s) + device.busy_w * busy_s + work_j


def capped_s(work_j: float, device: Device) -> float:
    """The time that the power cap allows for work beside the busy power."""
    headroom_w = device.tdp_w - device.busy_w
    return work_j / headroom_w if headroom_w > 0.0 else 0.0


def _spread(device: Device, primitive: Primitive, chosen: ChosenRate, bound: Bound) -> float:
    spreads = [device.spread]
    if bound in ("launch", "step"):
        is_step = bound == "step"
        spreads.append(coefficients.SPREAD_STEP if is_step else coefficients.SPREAD_LAUNCH)
    else:
        spreads.append(coefficients.SPREAD_SHAPE.get(primitive, 1.0))
        if not device.efficiency(primitive).is_measured:
            spreads.append(coefficients.SPREAD_UNMEASURED_PRIMITIVE)
    if chosen.reason is not None:
        spreads.append(coefficients.SPREAD_DTYPE)
    if not chosen.rate.is_verified:
        spreads.append(coefficients.SPREAD_UNVERIFIED)
    return coefficients.combine(*spreads)


def _dominant_bound(children: Sequence[PricedNode]) -> Bound:
    """What bounds the largest share of the time."""
    seconds: dict[Bound, float] = dict.fromkeys(BOUNDS, 0.0)
    for calls, leaf in _leaves(children):
        seconds[leaf.bound] += calls * leaf.energy.seconds
    return max(seconds, key=lambda bound: seconds[bound])


def _leaves(children: Sequence[PricedNode], calls: int = 1) -> Iterator[tuple[int, PricedNode]]:
    for child in children:
        if child.children:
            yield from _leaves(child.children, calls * child.node.count)
        else:
            yield calls * child.node.count, child


def pricing_notes(root: Node, device: Device) -> tuple[str, ...]:
    """What was assumed to price `root` on `device`, most important first."""
    return (
        *_rate_notes(root, device),
        f"memory moves {format_bandwidth(device.bandwidth_b_s)}{_doubt(device, 'bandwidth')}",
        _launch_note(device),
        *_step_note(root, device),
        _power_note(device),
        f"{device.name}: {device.provenance}",
        f"90 % interval: {format_spread(1.0, coefficients.band(device.spread))} or wider, one error for all "
        "operations, so that it does not average out",
    )


def _rate_notes(root: Node, device: Device) -> tuple[str, ...]:
    """A sentence for each rate that products run at, with the share of it that they reach."""
    products: dict[tuple[str, ChosenRate], set[Primitive]] = {}
    for node, _ in walk(root):
        if node.operation is not None and node.primitive in MATRIX_PRIMITIVES:
            dtype = node.operation.dtype
            chosen = choose_rate(device, dtype, node.primitive)
            products.setdefault((dtype, chosen), set()).add(node.primitive)
    found = sorted(products, key=lambda it: (it[0], it[1].reason or ""))
    return tuple(_rate_note(device, *key, products[key]) for key in found)


def _rate_note(
    device: Device, dtype: str, chosen: ChosenRate, primitives: Collection[Primitive]
) -> str:
    rate = chosen.rate
    source = "data sheet" if rate.is_verified else "not confirmed by a second source"
    where = f"runs on {rate.unit} at {format_flop_rate(rate.peak_flop_s)} ({source})"
    named = sorted({it if it in _LARGE else "linear" for it in primitives})
    reached = {_LARGE[it]: device.efficiency(it).of_peak for it in named}
    shares = ", ".join(f"{name} reaches {100 * share:.0f} %" for name, share in reached.items())
    return f"{dtype if chosen.reason is None else chosen.reason + ':'} {where}, of which {shares}"


_LARGE: dict[Primitive, str] = {
    "linear": "a large linear layer",
    "conv1d": "a large convolution",
    "conv2d": "a large convolution",
    "conv3d": "a large convolution",
    "recurrent": "a large recurrent layer",
}
"""How a note names a product; the others are told by the linear layer."""


def _launch_note(device: Device) -> str:
    what = "operation" if device.kind == "cpu" else "kernel in eager mode"
    return f"launch floor {format_time(device.launch_s)} per {what}"


def _step_note(root: Node, device: Device) -> tuple[str, ...]:
    layers = [
        (calls * node.operation.n_steps, _step_s(node.operation, device))
        for node, calls in walk(root)
        if node.operation is not None and node.operation.n_steps
    ]
    if not layers:
        return ()
    slowest_s = max(step_s for _, step_s in layers)
    return (
        f"recurrent layers have {sum(n_steps for n_steps, _ in layers):,} steps that wait for one "
        f"another, at least {format_time(slowest_s)} each: it varies with layer, library and "
        "threads, and is more where other processes want the cores",
    )


def _power_note(device: Device) -> str:
    if device.kind != "gpu":
        doubt = _doubt(device, "tdp_w") or _doubt(device, "tdp_per_core")
        return f"package power {format_power(device.tdp_w)} while it works{doubt}"
    return (
        f"power {format_power(device.idle_w)} waiting, {format_power(device.busy_w)} busy, plus "
        f"{1e12 * device.energy_j_byte:.0f} pJ per byte and the energy of each FLOP, "
        f"at most {format_power(device.tdp_w)}"
    )


def _doubt(device: Device, fact: str) -> str:
    return " (unverified)" if fact in device.unverified else ""
