"""The one way from a tree and a device to its price: a predictor of that machine, else physics."""

from __future__ import annotations

from irene.energy.device import Device
from irene.energy.physics import price, pricing_notes
from irene.energy.predicted.shipped import predictor_of
from irene.energy.prices import PricedNode
from irene.tree import Node


def price_on(root: Node, device: Device) -> tuple[PricedNode, tuple[str, ...]]:
    """The priced tree, and how the price was made.

    Raises:
        PredictorError: the device's predictor cannot be used.
    """
    stored = predictor_of(device.id)
    if stored is None:
        return price(root, device), pricing_notes(root, device)
    from irene.energy.predicted.pricing import (  # noqa: PLC0415 - numpy loads when needed
        prediction_notes,
        price_predicted,
    )

    return price_predicted(root, stored), prediction_notes(root, stored)
