"""Observations to a predictor: physics, then corrections, then calibrated intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from irene.energy.coefficients import Z_90
from irene.energy.predicted.correction import Correction
from irene.energy.predicted.formula import (
    MODULE_FEATURE_GROUPS,
    UNIT_FEATURE_GROUPS,
    UNIT_KINDS,
    Floats,
    ModuleLaw,
    UnitLaw,
    module_features,
    module_log,
    module_rows,
    unit_log,
)
from irene.energy.predicted.predictor import (
    Interval,
    Level,
    ModuleModel,
    Predictor,
    UnitModel,
    unit_feature_rows,
    unit_prices,
    unit_seconds,
    unit_works,
    units_in,
)
from irene.energy.predicted.units import Description, Unit, UnitKind
from irene.errors import DatasetError
from irene.training.measurements import LEVELS
from irene.training.ours.boosting import DEEP, SHALLOW, BlendFit
from irene.training.ours.laws import fit_module_law, fit_unit_law
from irene.training.ours.medians import Medians, medians
from irene.training.ours.observations import Observation

CorrectionFitter = Callable[
    [Floats, Floats, tuple[int, ...], float, Floats, Sequence[object]], Correction
]

TIME_SCALE = 1 / 300.0
"""Seconds per joule of a desktop machine under load: where the search for times starts."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is learned by what, one for all splits and machines."""

    units: CorrectionFitter | None = BlendFit(DEEP, 0.5)  # noqa: RUF009 - frozen
    modules: CorrectionFitter | None = BlendFit(SHALLOW, 0.3)  # noqa: RUF009 - frozen
    with_times: bool = False
    with_intervals: bool = True


SHIPPED = Recipe()
USUAL_INTERVAL = Interval(Z_90, 0.005)
_NO_MODULES = ModuleModel(ModuleLaw(*[0.0] * 7), None, None)


def fit_predictor(
    rows: Sequence[Observation], n_multiprocessors: int, recipe: Recipe = SHIPPED
) -> Predictor:
    """The predictor of a machine, with intervals that are not calibrated yet.

    Raises:
        DatasetError: no measured primitive, or no measured module.
    """
    units = _fit_units([row for row in rows if row.unit], n_multiprocessors, recipe)
    if not units:
        raise DatasetError("no measured primitive to train on: the split is empty")
    laws = {kind: model.law for kind, model in units.items()}
    bare = Predictor(n_multiprocessors, units, _NO_MODULES, dict.fromkeys(LEVELS, USUAL_INTERVAL))
    modules = _fit_modules([row for row in rows if row.description], bare, laws, recipe)
    return replace(bare, modules=modules)


def _unit_of(row: Observation) -> Unit:
    assert row.unit is not None
    return row.unit


def _module_of(row: Observation) -> tuple[Level, Description]:
    assert row.description is not None
    return (row.level, row.description)


def _fit_units(
    rows: Sequence[Observation], n_multiprocessors: int, recipe: Recipe
) -> dict[UnitKind, UnitModel]:
    models: dict[UnitKind, UnitModel] = {}
    laws: dict[UnitKind, UnitLaw] = {}
    time_laws: dict[UnitKind, UnitLaw] = {}
    for kind in sorted(UNIT_KINDS, key=lambda it: it == "linear"):  # its floor needs the others'
        own = [row for row in rows if row.unit and row.unit.kind == kind]
        if not own:
            continue
        found = medians(own, _unit_of, lambda row: row.energy_j)
        work = unit_works(found.subjects, n_multiprocessors)
        laws[kind] = fit_unit_law(kind, work, found.logs, laws, 1.0)
        if recipe.with_times:
            timed = [row for row in own if row.time_s > 0.0]
            if timed:
                times = medians(timed, _unit_of, lambda row: row.time_s)
                work_s = unit_works(times.subjects, n_multiprocessors)
                time_laws[kind] = fit_unit_law(kind, work_s, times.logs, time_laws, TIME_SCALE)
        features = unit_feature_rows(found.subjects, n_multiprocessors)
        residuals = found.logs - unit_log(laws[kind], work)
        correction = _correct(recipe.units, features, residuals, UNIT_FEATURE_GROUPS, found)
        models[kind] = UnitModel(laws[kind], time_laws.get(kind), correction)
    return models


def _fit_modules(
    rows: Sequence[Observation], bare: Predictor, laws: Mapping[UnitKind, UnitLaw], recipe: Recipe
) -> ModuleModel:
    if not rows:
        raise DatasetError("no measured module or model to train on: the split is empty")
    found = medians(rows, _module_of, lambda row: row.energy_j)
    descriptions = [description for _, description in found.subjects]
    prices = unit_prices(bare, units_in(descriptions))
    table = module_rows(descriptions, prices)
    law = fit_module_law(table, found.logs, laws, 1.0)
    time_law = _fit_module_times(rows, bare) if recipe.with_times else None
    residuals = found.logs - module_log(law, table)
    features = module_features(law, table)
    correction = _correct(recipe.modules, features, residuals, MODULE_FEATURE_GROUPS, found)
    return ModuleModel(law, time_law, correction)


def _fit_module_times(rows: Sequence[Observation], bare: Predictor) -> ModuleLaw:
    timed = [row for row in rows if row.time_s > 0.0]
    laws = {kind: it.time_law for kind, it in bare.units.items() if it.time_law}
    if not timed or not laws:
        raise DatasetError(
            "no measured time (times_mean) of primitives and modules: an estimate says how long a "
            "model runs; measure it with times"
        )
    times = medians(timed, _module_of, lambda row: row.time_s)
    descriptions = [description for _, description in times.subjects]
    table = module_rows(descriptions, unit_seconds(bare, units_in(descriptions)))
    return fit_module_law(table, times.logs, laws, TIME_SCALE)


def _correct(
    fitter: CorrectionFitter | None,
    features: Floats,
    residuals: Floats,
    groups: tuple[int, ...],
    found: Medians[Unit] | Medians[tuple[Level, Description]],
) -> Correction | None:
    if fitter is None:
        return None
    return fitter(features, residuals, groups, found.noise, found.n_measured, found.subjects)
