"""Boosted trees on the logarithm of what the physics leaves over: the other correction.

xgboost is loaded when one is used. Trees do not know how far a node is from their training
data, so that the standard deviation is one number.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from irene.energy.predicted.process import Floats
from irene.errors import PredictorError


@dataclass(frozen=True)
class BoostedTrees:
    """A booster as xgboost's own JSON, and the deviation of its errors out of sample."""

    json: str
    deviation: float

    def correct(self, features: Floats, signatures: Sequence[Hashable]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the correction."""
        del signatures
        mean = np.asarray(self._booster.inplace_predict(features), dtype=float)
        return mean, np.full(len(mean), self.deviation)

    @cached_property
    def _booster(self) -> Any:  # noqa: ANN401 - xgboost has no types
        booster = xgboost().Booster()
        booster.load_model(bytearray(self.json, "utf-8"))
        return booster


def xgboost() -> Any:  # noqa: ANN401 - xgboost has no types
    """The package, where it is installed.

    Raises:
        PredictorError: it is not.
    """
    try:
        import xgboost as package  # noqa: PLC0415 - loaded when one is used
    except ImportError as err:
        raise PredictorError(
            "boosted trees need xgboost: install xgboost-cpu (or xgboost) beside irene"
        ) from err
    return package
