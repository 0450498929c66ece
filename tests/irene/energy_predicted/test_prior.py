"""A data sheet as a predictor: the physics of large operations, in coefficients that move."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from irene.energy.catalogue import devices, find
from irene.energy.device import Device
from irene.energy.physics import price
from irene.energy.predicted.predictor import unit_log_prices
from irene.energy.predicted.pricing import price_predicted
from irene.energy.predicted.prior import prior
from irene.energy.predicted.storing import StoredPredictor
from irene.energy.predicted.units import Unit
from irene.worker.tracing import trace_module


class Layers(nn.Module):
    """Large enough that no launch shows, of sizes that whole tiles fill."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4096)
        self.proj = nn.Linear(4096, 4096)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.softmax(self.proj(self.norm(x)), dim=-1)


@pytest.mark.parametrize("device", devices(), ids=lambda it: it.id)
def test_large_operations_cost_what_physics_says(device: Device) -> None:
    """Up to what a soft maximum adds, and what physics lets overlap."""
    with torch.device("meta"):
        root = trace_module(Layers(), (torch.zeros(16, 1024, 4096),)).root
    expected = price(root, device).energy
    stored = StoredPredictor(device.name, {}, prior(device, 1))
    found = price_predicted(root, stored).energy
    assert found.seconds == pytest.approx(expected.seconds, rel=0.2)
    assert found.joules == pytest.approx(expected.joules, rel=0.2)
    assert found.low_j < expected.joules < found.high_j


def test_a_small_operation_costs_its_launch() -> None:
    """Closed form: the launch floor at the power of waiting."""
    device = find("A100-SXM4-80GB")
    found = unit_log_prices(prior(device, 108), [Unit("softmax", "", 1, 8, 8, 1)])
    assert math.exp(found.mean[0]) == pytest.approx(device.launch_s * device.idle_w, rel=0.01)


def test_time_passes_in_whole_waves_and_flops_cost_where_there_is_work() -> None:
    """One tile more than there are multiprocessors: twice the busy time, hardly more work."""
    device = find("A100-SXM4-80GB")
    predictor = prior(device, 108)
    full, one_more = (Unit("linear", "batched", 1, 128 * n, 4096, 128) for n in (108, 109))
    first, second = [math.exp(it) for it in unit_log_prices(predictor, [full, one_more]).mean]
    assert 1.3 < second / first < 2.0
