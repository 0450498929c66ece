"""Predictors that a choice can mean: the shipped ones, and folders of `irene train`.

Loads nothing that learns until a predictor is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from irene.energy.device import Device
from irene.errors import PredictorError

if TYPE_CHECKING:
    from irene.energy.predicted.storing import StoredPredictor

TRAINED_FILE = "predictor.json"
SHIPPED = {
    # id: name, file, the catalogue's card that its clocks and power look like
    "IrEne-device-1": ("IrEne device 1", "irene_device_1.json", "GTX-1070"),
    "IrEne-device-2": ("IrEne device 2", "irene_device_2.json", "GTX-1080-Ti"),
}
_PROVENANCE = (
    "a desktop machine of the IrEne paper (ACL 2021, arXiv 2106.01199), at the wall; its card "
    "looks like a {card}, no source says so"
)
_STAND_IN = "GTX-1080-Ti"
"""Of a trained predictor's machine: a `Device` has a data sheet, of which nothing is used."""


def machines(cards: Sequence[Device]) -> tuple[Device, ...]:
    """The machines with a shipped predictor, with the data sheet of the card they resemble."""
    by_id = {card.id: card for card in cards}
    return tuple(
        replace(
            by_id[card],
            id=machine_id,
            name=name,
            aliases=(name,),
            provenance=_PROVENANCE.format(card=by_id[card].name),
        )
        for machine_id, (name, _, card) in SHIPPED.items()
    )


def machine_in(folder: Path, cards: Sequence[Device]) -> Device:
    """The machine of a predictor that `irene train` wrote.

    Raises:
        PredictorError: it cannot be used.
    """
    path = folder.absolute()
    stored = trained_predictor(path)
    return replace(
        next(it for it in cards if it.id == _STAND_IN),
        id=str(path),
        name=stored.name,
        aliases=(),
        provenance=f"a predictor trained here on {stored.provenance.get('n_rows', '?')} rows",
    )


def predictor_of(device_id: str) -> StoredPredictor | None:
    """The predictor that a device stands for, None where physics is all there is.

    Raises:
        PredictorError: there is one and it cannot be used.
    """
    if device_id in SHIPPED:
        return shipped_predictor(device_id)
    folder = Path(device_id)
    return trained_predictor(folder) if (folder / TRAINED_FILE).is_file() else None


@cache
def shipped_predictor(machine_id: str) -> StoredPredictor:
    """The predictor of one of `SHIPPED`."""
    from irene.energy.predicted.storing import load  # noqa: PLC0415 - numpy loads when needed

    file = resources.files("irene.energy").joinpath("weights", SHIPPED[machine_id][1])
    with resources.as_file(file) as path:
        return load(path)


def trained_predictor(folder: Path) -> StoredPredictor:
    """The predictor that `irene train --method ours` wrote; read anew when the file changed.

    Raises:
        PredictorError: none is there, or it is malformed or of another version.
    """
    path = folder / TRAINED_FILE
    if not path.is_file():
        raise PredictorError(
            f"{folder}: no predictor of `irene train --method ours`; one of the paper's method "
            "predicts measured trees (`irene predict`), not code"
        )
    return _loaded(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _loaded(path: Path, modified_ns: int) -> StoredPredictor:
    del modified_ns  # part of the key
    from irene.energy.predicted.storing import load  # noqa: PLC0415 - numpy loads when needed

    return load(path)
