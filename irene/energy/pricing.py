"""The one way from a tree and a device to its price: a predictor of that machine, else physics."""

from __future__ import annotations

from dataclasses import dataclass

from irene.energy.device import Device
from irene.energy.physics import price, pricing_notes
from irene.energy.predicted.shipped import predictor_of
from irene.energy.prices import PricedNode
from irene.tree import Node

PHYSICS = "physics"


@dataclass(frozen=True, slots=True)
class Price:
    """A priced tree, how the price was made, and which predictor spoke."""

    tree: PricedNode
    notes: tuple[str, ...]
    predictor: str  # its name, or `PHYSICS`


def price_on(root: Node, device: Device) -> Price:
    """The price of a tree on a device.

    Raises:
        PredictorError: the device's predictor cannot be used.
    """
    stored = predictor_of(device.id)
    if stored is None:
        return Price(price(root, device), pricing_notes(root, device), PHYSICS)
    from irene.energy.predicted.pricing import (  # noqa: PLC0415 - numpy loads when needed
        prediction_notes,
        price_predicted,
    )

    return Price(price_predicted(root, stored), prediction_notes(root, stored), stored.name)
