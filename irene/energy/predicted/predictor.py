"""A predictor of one machine, and what it says about units and modules.

Everything is in logarithms until a price is asked for: the physics' logarithm, plus the
correction's mean, with the standard deviation of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from irene.energy.predicted.correction import Correction
from irene.energy.predicted.formula import (
    ABSENT,
    MATRIX_UNITS,
    UNIT_FEATURE_GROUPS,
    Floats,
    ModuleLaw,
    UnitLaw,
    module_features,
    module_log,
    module_rows,
    unit_features,
    unit_log,
    unit_work,
)
from irene.energy.predicted.units import Description, Unit, UnitKind
from irene.errors import PredictorError

Level = Literal["ml", "module", "model"]
UNSEEN_DEVIATION = 0.4
"""Of the logarithm, for a kind of unit that the training data did not have: physics alone."""


@dataclass(frozen=True, slots=True)
class UnitModel:
    """One kind of unit: joules, seconds, and the correction of the joules."""

    law: UnitLaw
    time_law: UnitLaw | None  # None: times were not measured
    correction: Correction | None


@dataclass(frozen=True, slots=True)
class ModuleModel:
    """Modules and whole models."""

    law: ModuleLaw
    time_law: ModuleLaw | None
    correction: Correction | None


@dataclass(frozen=True, slots=True)
class Interval:
    """A 90 % interval: `factor` deviations of the logarithm, at least `floor` of them wide."""

    factor: float
    floor: float

    def half_width(self, deviation: Floats) -> Floats:
        """Of the logarithm, to both sides."""
        width: Floats = self.factor * np.maximum(deviation, self.floor)
        return width


@dataclass(frozen=True, slots=True)
class Predictor:
    """All that was fitted to one machine."""

    n_multiprocessors: int
    units: Mapping[UnitKind, UnitModel]
    modules: ModuleModel
    intervals: Mapping[Level, Interval]


@dataclass(frozen=True, slots=True)
class LogPrices:
    """Logarithms of joules and their standard deviations, in the order that was asked for."""

    mean: Floats
    deviation: Floats


def unit_log_prices(predictor: Predictor, units: Sequence[Unit]) -> LogPrices:
    """Joules of units that run alone.

    Raises:
        PredictorError: a product, where none was measured.
    """
    mean, deviation = np.zeros(len(units)), np.zeros(len(units))
    laws = {kind: model.law for kind, model in predictor.units.items()}
    for kind in sorted({unit.kind for unit in units}):
        places = [place for place, unit in enumerate(units) if unit.kind == kind]
        own = [units[place] for place in places]
        model = predictor.units.get(kind)
        law = _law_of(kind, laws)
        mean[places] = unit_log(law, unit_works(own, predictor.n_multiprocessors))
        if model is None:
            deviation[places] = UNSEEN_DEVIATION
        elif model.correction is not None:
            features = unit_feature_rows(own, predictor.n_multiprocessors)
            shift, spread = model.correction.correct(features, own)
            mean[places] += shift
            deviation[places] = spread
    return LogPrices(mean, deviation)


def unit_prices(predictor: Predictor, units: Sequence[Unit]) -> Mapping[Unit, float]:
    """Joules of units that run alone, by unit."""
    joules = np.exp(unit_log_prices(predictor, units).mean).tolist()
    return dict(zip(units, joules, strict=True))


def units_in(descriptions: Iterable[Description]) -> tuple[Unit, ...]:
    """The distinct units of some modules."""
    return tuple(dict.fromkeys(unit for it in descriptions for unit, _ in it.units))


def unit_seconds(predictor: Predictor, units: Sequence[Unit]) -> Mapping[Unit, float]:
    """Seconds of units that run alone.

    Raises:
        PredictorError: no times were measured.
    """
    laws = {kind: it.time_law for kind, it in predictor.units.items() if it.time_law is not None}
    seconds = {}
    for unit in units:
        law = _law_of(unit.kind, laws)
        work = unit_works([unit], predictor.n_multiprocessors)
        seconds[unit] = float(np.exp(unit_log(law, work)[0]))
    return seconds


def module_log_prices(
    predictor: Predictor,
    descriptions: Sequence[Description],
    unit_prices_j: Mapping[Unit, float],
    levels: Sequence[Level],
) -> LogPrices:
    """Joules of modules from the prices of their units."""
    rows = module_rows(descriptions, unit_prices_j)
    law, correction = predictor.modules.law, predictor.modules.correction
    mean = module_log(law, rows)
    if correction is None:
        return LogPrices(mean, np.zeros(len(mean)))
    signatures = [(level, it) for level, it in zip(levels, descriptions, strict=True)]
    shift, deviation = correction.correct(module_features(law, rows), signatures)
    return LogPrices(
        mean + shift, np.hypot(deviation, _unseen_share(predictor, descriptions, unit_prices_j))
    )


def unit_works(units: Sequence[Unit], n_multiprocessors: int) -> Floats:
    """The work of units, a row each."""
    return np.array([unit_work(unit, n_multiprocessors) for unit in units])


def unit_feature_rows(units: Sequence[Unit], n_multiprocessors: int) -> Floats:
    """The correction's features of units, a row each."""
    rows = [unit_features(unit, n_multiprocessors) for unit in units]
    return np.array(rows, dtype=float).reshape(-1, len(UNIT_FEATURE_GROUPS))


def unseen_kinds(predictor: Predictor, units: Sequence[Unit]) -> tuple[str, ...]:
    """Kinds of units that the training data did not have, in words."""
    unseen = {unit.kind for unit in units if unit.kind not in predictor.units}
    return tuple(sorted(_IN_WORDS.get(kind, kind) for kind in unseen))


_IN_WORDS: dict[UnitKind, str] = {
    "layer_norm": "layer normalisation",
    "attention": "fused attention",
    "unfamiliar": "convolutions and other products",
}


def _unseen_share(
    predictor: Predictor, descriptions: Sequence[Description], unit_prices_j: Mapping[Unit, float]
) -> Floats:
    """Deviation that units of unseen kinds bring, by their share of the units' energy."""
    shares = np.zeros(len(descriptions))
    for place, description in enumerate(descriptions):
        parts = [(unit.kind, calls * unit_prices_j[unit]) for unit, calls in description.units]
        unseen_j = sum(part for kind, part in parts if kind not in predictor.units)
        if unseen_j > 0.0:
            shares[place] = UNSEEN_DEVIATION * unseen_j / sum(part for _, part in parts)
    return shares


def _law_of(kind: UnitKind, laws: Mapping[UnitKind, UnitLaw]) -> UnitLaw:
    """Of `laws` that of a kind, else of its next of kin, else of another that does as it does.

    Where no kind moves bytes alone, they cost what those of a product do.

    Raises:
        PredictorError: no kind has a law, or no product has and one is asked for.
    """
    is_product = kind in MATRIX_UNITS
    alike = [it for it in laws if (it in MATRIX_UNITS) == is_product]
    found = next((laws[it] for it in (kind, _KIN[kind], *alike) if it in laws), None)
    if found is not None:
        return _without_bias(found) if kind == "unfamiliar" else found
    if is_product or not laws:
        raise PredictorError(
            f"the predictor was fitted to no {_IN_WORDS.get(kind, kind)} nor anything like it: "
            "train it on data that have linear layers or matrix products"
        )
    product = next(iter(laws.values()))
    return replace(product, work=(product.work[2], ABSENT, ABSENT, ABSENT))


def _without_bias(law: UnitLaw) -> UnitLaw:
    """Bytes of a bias cost what those of the operands do."""
    waves, tiles, n_bytes, _ = law.work
    return replace(law, work=(waves, tiles, n_bytes, n_bytes))


_KIN: dict[UnitKind, UnitKind] = {
    "attention": "matmul",
    "unfamiliar": "linear",
    "linear": "matmul",
    "matmul": "linear",
    "tanh": "softmax",
    "softmax": "tanh",
    "layer_norm": "embedding",
    "embedding": "layer_norm",
}
