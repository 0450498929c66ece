"""What a predictor says of measured rows, each as it stands alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irene.energy.predicted.predictor import (
    LogPrices,
    Predictor,
    module_log_prices,
    unit_log_prices,
    unit_prices,
    units_in,
)
from irene.training.ours.observations import Observation


def predict_rows(predictor: Predictor, rows: Sequence[Observation]) -> LogPrices:
    """Logarithms of joules of `rows`, in their order; no measured value of them is read."""
    units = list(dict.fromkeys(row.unit for row in rows if row.unit is not None))
    modules = list(
        dict.fromkeys((row.level, row.description) for row in rows if row.description is not None)
    )
    descriptions = [description for _, description in modules]
    prices = unit_prices(predictor, units_in(descriptions))
    of_units = unit_log_prices(predictor, units)
    of_modules = module_log_prices(predictor, descriptions, prices, [level for level, _ in modules])
    places = {("ml", unit): place for place, unit in enumerate(units)}
    module_places = {module: len(units) + place for place, module in enumerate(modules)}
    order = [
        places["ml", row.unit]
        if row.unit is not None
        else module_places[row.level, row.description]  # type: ignore[index] # one of the two
        for row in rows
    ]
    mean = np.concatenate([of_units.mean, of_modules.mean])[order]
    deviation = np.concatenate([of_units.deviation, of_modules.deviation])[order]
    return LogPrices(mean, deviation)
