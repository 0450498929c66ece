"""A predictor's price of a tree: children times counts add up to each node.

The whole model is predicted as models are measured. Its parts are predicted as they would
stand alone, then scaled together, parent by parent, so that they add up to it: measured
levels are not one another's sums, the parts of a model differ from it by 1 to 3 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from irene.energy.physics import sum_of
from irene.energy.predicted.formula import (
    BYTE_SCALE,
    KERNEL_SCALE,
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
from irene.tree import Node

_OTHER_DTYPE_DEVIATION = 0.4
"""Of the logarithm: the predictor was fitted to float32."""


def price_predicted(root: Node, stored: StoredPredictor) -> PricedNode:
    """The tree with a predicted price at every node.

    Raises:
        PredictorError: the predictor was fitted without times, or the tree has no operation.
    """
    pricing = _Pricing.of(root, stored.predictor)
    whole = pricing.alone(root)
    if whole.joules <= 0.0:
        raise PredictorError(f"{root.class_name} issues no operation that has a price")
    return pricing.scaled(root, "", 1.0, 1.0)


def prediction_notes(root: Node, stored: StoredPredictor) -> tuple[str, ...]:
    """How a predicted price was made, as sentences."""
    description = describe(root)[id(root)]
    errors = stored.provenance.get("errors_percent", {}).get("model")
    notes = [
        f"{stored.name}: fitted to {stored.provenance.get('n_rows', '?')} measured rows of that "
        "machine at the wall, nothing run here",
        "energies are of the whole machine at the wall, in float32 and eager mode",
    ]
    if errors:
        notes.append(
            "mean error with a model left out: "
            + ", ".join(f"{level} {error:.2g} %" for level, error in errors.items())
        )
    unseen = unseen_kinds(stored.predictor, [unit for unit, _ in description.units])
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


@dataclass(frozen=True, slots=True)
class _Pricing:
    """One tree under one predictor."""

    predictor: Predictor
    modules: Mapping[int, _Alone]  # by `id` of the node
    units: Mapping[Unit, _Alone]
    kernel_widths: float

    @classmethod
    def of(cls, root: Node, predictor: Predictor) -> _Pricing:
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
        return cls(predictor, alone, units, predictor.intervals["module"].half_width(_WIDE)[0])

    def alone(self, node: Node) -> _Alone:
        return self.modules[id(node)]

    def scaled(self, node: Node, owner: str, scale: float, time_scale: float) -> PricedNode:
        """The node with its own price times the scales; its parts are scaled to add up to it."""
        if node.kind == "primitive":
            return self._primitive(node, owner, scale, time_scale)
        alone = self.alone(node)
        parts = [self._part(child, node.class_name) for child in node.children]
        counts = [child.count for child in node.children]
        own_j = sum(n * part.joules for n, part in zip(counts, parts, strict=True))
        own_s = sum(n * part.seconds for n, part in zip(counts, parts, strict=True))
        inner = scale * alone.joules / own_j if own_j > 0.0 else 0.0
        inner_s = time_scale * alone.seconds / own_s if own_s > 0.0 else 0.0
        children = tuple(
            self.scaled(child, node.class_name, inner, inner_s) for child in node.children
        )
        total = sum_of(children)
        energy = _energy(total.joules, total.seconds, alone.half_width)
        bound = max(children, key=lambda it: it.node.count * it.energy.seconds, default=None)
        return PricedNode(node, energy, "predicted", bound.bound if bound else "launch", children)

    def _part(self, node: Node, owner: str) -> _Alone:
        if node.kind != "primitive":
            return self.alone(node)
        unit = unit_of(node, owner)
        return self._kernel(node) if unit is None else self.units[unit]

    def _kernel(self, node: Node) -> _Alone:
        n_kernels = node.operation.n_kernels if node.operation else 1
        if not n_kernels:  # in another's kernel: its bytes are that unit's
            return _Alone(0.0, 0.0, self.kernel_widths)
        is_copy = node.class_name in COPIES
        modules = self.predictor.modules
        joules = _kernel_price(modules.law, node.n_bytes, n_kernels, is_copy=is_copy)
        law = modules.time_law or modules.law
        seconds = _kernel_price(law, node.n_bytes, n_kernels, is_copy=is_copy)
        return _Alone(joules, seconds, self.kernel_widths)

    def _primitive(self, node: Node, owner: str, scale: float, time_scale: float) -> PricedNode:
        part = self._part(node, owner)
        energy = _energy(part.joules * scale, part.seconds * time_scale, part.half_width)
        return PricedNode(node, energy, "predicted", _bound(unit_of(node, owner)), ())


_WIDE = np.array([0.15])
"""Deviation of a kernel's price alone: such kernels were measured in modules only."""


def _is_unit(description: Description) -> bool:
    """A module that is one measured primitive, as `nn.Linear` is, costs what that costs."""
    calls = [n_calls for _, n_calls in description.units]
    return calls == [1] and not description.kernels.n_kernels


def _kernel_price(law: ModuleLaw, n_bytes: int, n_kernels: int, *, is_copy: bool) -> float:
    per_byte = np.exp(law.copied if is_copy else law.streamed) * BYTE_SCALE
    return float(per_byte * n_bytes + np.exp(law.kernel) * KERNEL_SCALE * n_kernels)


def _units_alone(predictor: Predictor, units: Sequence[Unit]) -> dict[Unit, _Alone]:
    found = unit_log_prices(predictor, units)
    widths = predictor.intervals["ml"].half_width(found.deviation)
    seconds = unit_seconds(predictor, units)
    if units and not seconds:
        raise PredictorError("the predictor was fitted without times: train it again")
    return {
        unit: _Alone(float(joules), seconds[unit], float(width))
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
    law = predictor.modules.time_law
    if law is None:
        raise PredictorError("the predictor was fitted without times: train it again")
    seconds = np.exp(module_log(law, times))
    return {
        it: _Alone(float(joules), float(second), float(width))
        for it, joules, second, width in zip(
            descriptions, np.exp(found.mean), seconds, widths, strict=True
        )
    }


def _energy(joules: float, seconds: float, half_width: float) -> Energy:
    factor = float(np.exp(half_width))
    return Energy(joules, joules / factor, joules * factor, seconds)


def _bound(unit: Unit | None) -> Bound:
    if unit is None:
        return "memory"
    return "compute" if unit.kind in ("linear", "matmul", "unfamiliar") else "memory"
