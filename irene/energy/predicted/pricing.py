"""A predictor's price of a tree: children times counts add up to each node.

The whole model is predicted as models are measured. Its parts are predicted as they would
stand alone, then scaled together, parent by parent, so that they add up to it: measured
levels are not one another's sums, the parts of a model differ from it by 1 to 3 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from irene.energy.coefficients import Z_90
from irene.energy.physics import sum_of
from irene.energy.predicted.formula import (
    BYTE_SCALE,
    KERNEL_SCALE,
    MATRIX_UNITS,
    ModuleLaw,
    module_log,
    module_rows,
)
from irene.energy.predicted.predictor import (
    Level,
    Predictor,
    module_log_prices,
    unit_log_prices,
    unit_seconds,
    units_in,
    unseen_kinds,
)
from irene.energy.predicted.storing import StoredPredictor
from irene.energy.predicted.units import COPIES, Description, Unit, describe, unit_of
from irene.energy.prices import Bound, Energy, PricedNode
from irene.errors import PredictorError
from irene.tree import MATRIX_PRIMITIVES, Node, walk

OTHER_DTYPE_DEVIATION = 0.4
"""Of the logarithm: the predictor was fitted to float32."""


def price_predicted(root: Node, stored: StoredPredictor) -> PricedNode:
    """The tree with a predicted price at every node.

    Raises:
        PredictorError: the predictor was fitted without times.
    """
    pricing = _Pricing.of(root, stored.predictor)
    return pricing.scaled(root, pricing.modules[id(root)], 1.0, 1.0)


def prediction_notes(root: Node, stored: StoredPredictor) -> tuple[str, ...]:
    """How a predicted price was made, as sentences."""
    description = describe(root)[id(root)]
    errors = stored.provenance.get("errors_percent", {}).get("model")
    rows = f"{stored.provenance.get('n_rows', '?')} measured rows of its machine"
    origin = stored.provenance.get("calibrated_from")
    made = f"{origin} calibrated by {rows}" if origin else f"fitted to {rows}"
    notes = [
        f"{stored.name}: {made}, nothing run here",
        "energies are of the whole machine, as its meter read them, in float32 and with eager "
        "attention",
    ]
    others = _other_dtypes(root)
    if others:
        notes.append(
            f"{', '.join(others)} was not measured there: priced as float32, with a wide interval"
        )
    unseen = unseen_kinds(stored.predictor, [unit for unit, _ in description.units])
    if errors and not others and not unseen:
        notes.append(
            "mean error where a model like those measured, of hidden size 768, was left out: "
            + ", ".join(f"{level} {error:.2g} %" for level, error in errors.items())
        )
    if unseen:
        notes.append(
            f"kinds that were not measured there ({', '.join(unseen)}) are priced by the physics "
            "of their next of kin, with a wide interval"
        )
    return tuple(notes)


@dataclass(frozen=True, slots=True)
class _Alone:
    """The price of a node as it stands alone."""

    joules: float
    seconds: float
    half_width: float  # of the logarithm
    bound: Bound  # of a primitive


@dataclass(frozen=True, slots=True)
class _Pricing:
    """One tree under one predictor."""

    modules: Mapping[int, _Alone]  # by `id` of the node
    units: Mapping[Unit, _Alone]
    kernels: _KernelPrices
    extra_width: float  # of the logarithm, for a dtype that was not measured

    @classmethod
    def of(cls, root: Node, predictor: Predictor) -> _Pricing:
        kernels = _kernel_prices(predictor)
        by_id = describe(root)
        distinct = list(dict.fromkeys(by_id.values()))
        units = _units_alone(predictor, units_in(distinct))
        of_model = _modules_alone(predictor, [by_id[id(root)]], "model", units)
        of_modules = _modules_alone(predictor, distinct, "module", units)
        alone = {node: of_modules[description] for node, description in by_id.items()}
        alone.update(
            (node, units[description.units[0][0]])
            for node, description in by_id.items()
            if _is_unit(description)
        )
        alone[id(root)] = of_model[by_id[id(root)]]
        return cls(alone, units, kernels, _extra_width(root))

    def scaled(self, node: Node, alone: _Alone, scale: float, time_scale: float) -> PricedNode:
        """The node with its own price times the scales; its parts are scaled to add up to it."""
        if node.kind == "primitive":
            joules, seconds = scale * alone.joules, time_scale * alone.seconds
            energy = self._energy(joules, seconds, alone)
            return PricedNode(node, energy, "predicted", alone.bound, ())
        parts = [self._part(child, node.class_name) for child in node.children]
        own_j = own_s = 0.0
        for child, part in zip(node.children, parts, strict=True):
            own_j += child.count * part.joules
            own_s += child.count * part.seconds
        inner = scale * alone.joules / own_j if own_j > 0.0 else 0.0
        inner_s = time_scale * alone.seconds / own_s if own_s > 0.0 else 0.0
        children = tuple(
            self.scaled(child, part, inner, inner_s)
            for child, part in zip(node.children, parts, strict=True)
        )
        total = sum_of(children)
        energy = self._energy(total.joules, total.seconds, alone)
        return PricedNode(node, energy, "predicted", _dominant(children), children)

    def _energy(self, joules: float, seconds: float, alone: _Alone) -> Energy:
        factor = math.exp(alone.half_width + self.extra_width)
        return Energy(joules, joules / factor, joules * factor, seconds)

    def _part(self, node: Node, owner: str) -> _Alone:
        if node.kind != "primitive":
            return self.modules[id(node)]
        unit = unit_of(node, owner)
        return self.kernels.of(node) if unit is None else self.units[unit]


@dataclass(frozen=True, slots=True)
class _KernelPrices:
    """Joules and seconds of a kernel that is no unit: per byte that it streams or copies, each."""

    streamed: tuple[float, float]
    copied: tuple[float, float]
    each: tuple[float, float]
    half_width: float

    def of(self, node: Node) -> _Alone:
        n_kernels = node.operation.n_kernels if node.operation else 1
        if not n_kernels:  # in another's kernel: its bytes are that unit's
            return _Alone(0.0, 0.0, self.half_width, "memory")
        byte_j, byte_s = self.copied if node.class_name in COPIES else self.streamed
        each_j, each_s = self.each
        return _Alone(
            byte_j * node.n_bytes + each_j * n_kernels,
            byte_s * node.n_bytes + each_s * n_kernels,
            self.half_width,
            "memory",
        )


def _other_dtypes(root: Node) -> tuple[str, ...]:
    """Dtypes of matrix products that no measurement had."""
    found = {
        node.operation.dtype
        for node, _ in walk(root)
        if node.operation is not None and node.primitive in MATRIX_PRIMITIVES
    }
    return tuple(sorted(found - {"float32"}))


def _extra_width(root: Node) -> float:
    return Z_90 * OTHER_DTYPE_DEVIATION if _other_dtypes(root) else 0.0


_WIDE = np.array([0.15])
"""Deviation of a kernel's price alone: such kernels were measured in modules only."""


def _is_unit(description: Description) -> bool:
    """A module that is one measured primitive, as `nn.Linear` is, costs what that costs."""
    calls = [n_calls for _, n_calls in description.units]
    return calls == [1] and not description.kernels.n_kernels


def _kernel_prices(predictor: Predictor) -> _KernelPrices:
    laws = (predictor.modules.law, _time_law(predictor))
    streamed, copied, each = (
        (math.exp(first) * scale, math.exp(second) * scale)
        for scale, first, second in (
            (BYTE_SCALE, laws[0].streamed, laws[1].streamed),
            (BYTE_SCALE, laws[0].copied, laws[1].copied),
            (KERNEL_SCALE, laws[0].kernel, laws[1].kernel),
        )
    )
    width = float(predictor.intervals["module"].half_width(_WIDE)[0])
    return _KernelPrices(streamed, copied, each, width)


def _time_law(predictor: Predictor) -> ModuleLaw:
    law = predictor.modules.time_law
    if law is None:
        raise PredictorError("the predictor was fitted without times: train it again")
    return law


def _units_alone(predictor: Predictor, units: Sequence[Unit]) -> dict[Unit, _Alone]:
    found = unit_log_prices(predictor, units)
    widths = predictor.intervals["ml"].half_width(found.deviation)
    seconds = unit_seconds(predictor, units)
    return {
        unit: _Alone(float(joules), seconds[unit], float(width), _bound(unit))
        for unit, joules, width in zip(units, np.exp(found.mean), widths, strict=True)
    }


def _modules_alone(
    predictor: Predictor,
    descriptions: Sequence[Description],
    level: Level,
    units: Mapping[Unit, _Alone],
) -> dict[Description, _Alone]:
    prices = {unit: it.joules for unit, it in units.items()}
    found = module_log_prices(predictor, descriptions, prices, [level] * len(descriptions))
    widths = predictor.intervals[level].half_width(found.deviation)
    times = module_rows(descriptions, {unit: it.seconds for unit, it in units.items()})
    seconds = np.exp(module_log(_time_law(predictor), times))
    return {
        it: _Alone(float(joules), float(second), float(width), "compute")
        for it, joules, second, width in zip(
            descriptions, np.exp(found.mean), seconds, widths, strict=True
        )
    }


def _dominant(children: Sequence[PricedNode]) -> Bound:
    """What bounds the child that takes the longest."""
    if not children:
        return "launch"
    return max(children, key=lambda it: it.node.count * it.energy.seconds).bound


def _bound(unit: Unit) -> Bound:
    return "compute" if unit.kind in MATRIX_UNITS else "memory"
