"""Predictors that a device choice can mean: the shipped ones, and folders of `irene train`.

Loads nothing that learns until a predictor is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from irene.energy.device import Device

if TYPE_CHECKING:
    from irene.energy.predicted.storing import StoredPredictor

TRAINED_FILE = "predictor.json"
_SHIPPED = {
    # id: name, file, the catalogue's card that its clocks and power look like
    "IrEne-device-1": ("IrEne device 1", "irene_device_1.json", "GTX-1070"),
    "IrEne-device-2": ("IrEne device 2", "irene_device_2.json", "GTX-1080-Ti"),
}
_PROVENANCE = (
    "a desktop machine of the IrEne paper (ACL 2021, arXiv 2106.01199), at the wall; its card "
    "looks like a {card}, no source says so"
)


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
        for machine_id, (name, _, card) in _SHIPPED.items()
    )


def machine_in(folder: str, cards: Sequence[Device]) -> Device | None:
    """The machine of a predictor that `irene train --method ours` wrote, None for no such folder.

    The device stands for the predictor: of the card's data sheet nothing is used.
    """
    if not (Path(folder) / TRAINED_FILE).is_file():
        return None
    stored = _trained(str(Path(folder).absolute()))
    card = next(it for it in cards if it.id == "GTX-1080-Ti")
    return replace(
        card,
        id=str(Path(folder).absolute()),
        name=stored.name,
        aliases=(),
        provenance=f"a predictor trained here on {stored.provenance.get('n_rows', '?')} rows",
    )


def predictor_of(device_id: str) -> StoredPredictor | None:
    """The predictor that a device stands for, None where physics is all there is.

    Raises:
        PredictorError: there is one and it cannot be used.
    """
    if device_id in _SHIPPED:
        return _shipped(device_id)
    return _trained(device_id) if (Path(device_id) / TRAINED_FILE).is_file() else None


@cache
def _shipped(machine_id: str) -> StoredPredictor:
    from irene.energy.predicted.storing import load  # noqa: PLC0415 - numpy loads when needed

    file = resources.files("irene.energy").joinpath("weights", _SHIPPED[machine_id][1])
    with resources.as_file(file) as path:
        return load(path)


def _trained(folder: str) -> StoredPredictor:
    from irene.energy.predicted.storing import load  # noqa: PLC0415 - numpy loads when needed

    return load(Path(folder) / TRAINED_FILE)
