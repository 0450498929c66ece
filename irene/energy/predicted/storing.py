"""Predictors as JSON, with provenance: no pickle, and no row of the data."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from irene.energy.predicted.boosted import BoostedTrees
from irene.energy.predicted.correction import Blend, Correction
from irene.energy.predicted.formula import ModuleLaw, UnitLaw
from irene.energy.predicted.predictor import (
    Interval,
    ModuleModel,
    Predictor,
    UnitModel,
)
from irene.energy.predicted.process import Floats, GaussianProcess, Scales
from irene.energy.predicted.units import Description, Kernels, Unit
from irene.errors import PredictorError
from irene.writing import write_whole

SCHEMA = 2


@dataclass(frozen=True, slots=True)
class StoredPredictor:
    """A predictor with its name and where it comes from."""

    name: str
    provenance: Mapping[str, Any]  # device, units, rows, date, errors by split
    predictor: Predictor


def save(stored: StoredPredictor, path: Path) -> None:
    """Write a predictor; the file is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(to_json(stored), allow_nan=False) + "\n")


def load(path: Path) -> StoredPredictor:
    """The inverse of `save`.

    Raises:
        PredictorError: not there, malformed, or of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise PredictorError(f"{path}: not a readable predictor: {err}") from err
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(data, dict) or schema != SCHEMA:
        raise PredictorError(
            f"{path}: a predictor of version {schema}, this program reads {SCHEMA}; train it again"
        )
    try:
        return from_json(data)
    except (KeyError, TypeError, ValueError, IndexError) as err:
        raise PredictorError(f"{path}: malformed predictor ({err}); train it again") from err


def to_json(stored: StoredPredictor) -> dict[str, Any]:
    """Plain JSON values."""
    predictor = stored.predictor
    return {
        "schema": SCHEMA,
        "method": "ours",
        "name": stored.name,
        "provenance": dict(stored.provenance),
        "n_multiprocessors": predictor.n_multiprocessors,
        "intervals": {level: asdict(it) for level, it in predictor.intervals.items()},
        "units": {
            kind: {
                "law": _law(model.law),
                "time_law": _law(model.time_law),
                "correction": _correction(model.correction),
            }
            for kind, model in predictor.units.items()
        },
        "modules": {
            "law": _law(predictor.modules.law),
            "time_law": _law(predictor.modules.time_law),
            "correction": _correction(predictor.modules.correction),
        },
    }


def from_json(data: Mapping[str, Any]) -> StoredPredictor:
    """The inverse of `to_json`."""
    modules = data["modules"]
    predictor = Predictor(
        n_multiprocessors=int(data["n_multiprocessors"]),
        units={
            kind: UnitModel(
                _unit_law(it["law"]),
                None if it["time_law"] is None else _unit_law(it["time_law"]),
                _correction_from(it["correction"]),
            )
            for kind, it in data["units"].items()
        },
        modules=ModuleModel(
            ModuleLaw(**modules["law"]),
            None if modules["time_law"] is None else ModuleLaw(**modules["time_law"]),
            _correction_from(modules["correction"]),
        ),
        intervals={level: Interval(**it) for level, it in data["intervals"].items()},
    )
    return StoredPredictor(str(data["name"]), data["provenance"], predictor)


def _law(law: UnitLaw | ModuleLaw | None) -> dict[str, Any] | None:
    return None if law is None else asdict(law)


def _unit_law(data: Mapping[str, Any]) -> UnitLaw:
    return UnitLaw(float(data["launch"]), float(data["sharpness"]), tuple(data["work"]))


def _correction(correction: Correction | None) -> dict[str, Any] | None:
    match correction:
        case None:
            return None
        case BoostedTrees():
            return {
                "splits": correction.splits.tolist(),
                "thresholds": [[_finite(it) for it in row] for row in correction.thresholds],
                "leaves": correction.leaves.tolist(),
                "deviation": correction.deviation,
            }
        case Blend():
            return {
                "first": _correction(correction.first),
                "second": _correction(correction.second),
                "share": correction.share,
            }
        case GaussianProcess():
            return {
                "scales": asdict(correction.scales),
                "groups": list(correction.groups),
                "features": correction.features.tolist(),
                "alpha": correction.alpha.tolist(),
                "variances": correction.variances.tolist(),
                "signatures": [_signature(it) for it in correction.places],
            }
    raise TypeError(f"{type(correction).__name__} has no JSON form")


def _correction_from(data: Mapping[str, Any] | None) -> Correction | None:
    if data is None:
        return None
    if "share" in data:
        first, second = _correction_from(data["first"]), _correction_from(data["second"])
        if first is None or second is None:
            raise ValueError("a blend lacks a part")
        return Blend(first, second, float(data["share"]))
    if "leaves" in data:
        return BoostedTrees(
            np.array(data["splits"], dtype=np.intp),
            np.array(
                [[np.inf if it is None else it for it in row] for row in data["thresholds"]],
                dtype=np.float32,
            ),
            _floats(data["leaves"]),
            float(data["deviation"]),
        )
    scales = Scales(**{**data["scales"], "lengths": tuple(data["scales"]["lengths"])})
    groups, features = tuple(data["groups"]), _floats(data["features"])
    signatures = [_signature_from(it) for it in data["signatures"]]
    return GaussianProcess.restored(
        scales, groups, features, _floats(data["alpha"]), _floats(data["variances"]), signatures
    )


def _finite(threshold: np.float32) -> float | None:
    """JSON has no infinity: None stands for the split that sends everything one way."""
    return float(threshold) if np.isfinite(threshold) else None


def _floats(values: Sequence[Any]) -> Floats:
    return np.array(values, dtype=float)


def _signature(signature: Hashable) -> list[Any]:
    if isinstance(signature, Unit):
        return list(signature)
    assert isinstance(signature, tuple)
    level, description = signature
    units = [[*unit, calls] for unit, calls in description.units]
    return [level, units, list(description.kernels)]


def _signature_from(data: Sequence[Any]) -> Hashable:
    if len(data) == len(Unit._fields):
        return Unit(*data)
    level, units, kernels = data
    calls = tuple((Unit(*it[:-1]), it[-1]) for it in units)
    return (level, Description(calls, Kernels(*kernels)))
