"""A profile's prices: what was measured, what was divided, and sums that hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from irene.energy.catalogue import find
from irene.energy.measured import loaded_power_w, price_profile, profile_notes
from irene.energy.physics import sum_of
from irene.energy.prices import PricedNode
from irene.errors import MeterError
from irene.worker.protocol import CallTime, Profile
from irene.worker.tracing import trace_module

MODEL = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 64))
TIMES = (
    CallTime((), 1, 1.0, 0.01), CallTime(("0",), 1, 0.3, 0.01), CallTime(("1",), 1, 0.1, 0.0),
    CallTime(("2",), 1, 0.05, 0.0), CallTime(("3",), 1, 0.4, 0.0),
)  # fmt: skip
PROFILE = Profile(
    trace=trace_module(MODEL, (torch.zeros(8, 64),)), times=TIMES, n_runs=20, n_runs_disturbed=2,
    device="cpu", device_name="a processor", energy_j=None, energy_std_j=None, meter="none",
    meter_covers="", load=0.5, n_threads=2, torch_version="2.13.0",
    measured_at="2026-01-01T00:00:00+00:00",
)  # fmt: skip
CPU = find("EPYC 7543")


def every(priced: PricedNode) -> list[PricedNode]:
    return [priced, *(below for child in priced.children for below in every(child))]


@pytest.mark.parametrize("energy_j", [None, 25.0])
def test_children_add_up_to_each_node(energy_j: float | None) -> None:
    """In joules and seconds, the time of nobody as a row of its own."""
    profile = replace(PROFILE, energy_j=energy_j, energy_std_j=0.5, meter="rapl")
    root = price_profile(profile, CPU)
    for node in every(root):
        if node.children:
            total = sum_of(node.children)
            assert (total.joules, total.seconds) == (node.energy.joules, node.energy.seconds)
    assert root.energy.seconds == pytest.approx(1.0)
    (rest,) = [it for it in root.children if it.node.class_name == "unattributed"]
    assert rest.energy.seconds == pytest.approx(1.0 - 0.85)
    assert rest.bound == "launch"


def test_times_of_modules_are_those_that_were_measured() -> None:
    root = price_profile(PROFILE, CPU)
    seconds = {it.node.scope: it.energy.seconds for it in root.children if it.node.scope}
    assert seconds == pytest.approx({"0": 0.3, "1": 0.1, "2": 0.05, "3": 0.4})


def test_without_a_meter_the_power_is_modelled_and_said_so() -> None:
    root = price_profile(PROFILE, CPU)
    power_w = loaded_power_w(PROFILE, CPU)
    assert power_w == pytest.approx(CPU.idle_w + 0.5 * (CPU.tdp_w - CPU.idle_w))
    assert root.energy.joules == pytest.approx(power_w * 1.0)
    assert {it.kind for it in every(root)} == {"profiled"}
    assert any("2 disturbed runs left out" in note for note in profile_notes(PROFILE, CPU))


def test_a_meter_s_energy_is_that_of_the_model() -> None:
    profile = replace(PROFILE, energy_j=25.0, energy_std_j=0.25, meter="rapl")
    root = price_profile(profile, CPU)
    assert root.energy.joules == pytest.approx(25.0)
    assert {it.kind for it in every(root)} == {"measured"}
    assert root.energy.high_j / root.energy.joules < 1.2


@pytest.mark.parametrize(
    "broken", [replace(PROFILE, times=TIMES[1:]), replace(PROFILE, energy_j=0.0, meter="rapl")]
)
def test_a_profile_that_says_nothing_is_an_error(broken: Profile) -> None:
    with pytest.raises(MeterError, match="profile"):
        price_profile(broken, CPU)


def test_a_module_that_was_not_timed_gets_its_share_of_the_rest() -> None:
    """Two equal layers, of which one has no measurement: it takes what its parent has left."""
    timed = replace(PROFILE, times=tuple(it for it in TIMES if it.path != ("3",)))
    (last,) = [it for it in price_profile(timed, CPU).children if it.node.scope == "3"]
    assert last.energy.seconds == pytest.approx(1.0 - 0.3 - 0.1 - 0.05)


def test_a_parent_that_reads_less_than_its_children_is_their_sum() -> None:
    """Noise between runs: nothing is scaled to hide it, and nothing is negative."""
    short = replace(PROFILE, times=(CallTime((), 1, 0.8, 0.01), *TIMES[1:]))
    root = price_profile(short, CPU)
    assert root.energy.seconds == pytest.approx(0.85)
    assert all(it.energy.seconds >= 0.0 for it in every(root))


def test_a_gpu_without_a_meter_draws_what_its_work_needs() -> None:
    """Between idle and the power limit, whatever the measured time."""
    card = find("A100-SXM4-80GB")
    for scale in (1e-9, 1.0):
        times = tuple(replace(it, time_s=scale * it.time_s) for it in TIMES)
        energy = price_profile(replace(PROFILE, device="cuda:0", times=times), card).energy
        power_w = energy.joules / energy.seconds
        assert card.idle_w * 0.999 <= power_w <= card.tdp_w * 1.001


seconds = st.floats(0.0, 10.0)


@given(
    st.lists(seconds, min_size=5, max_size=5),
    st.sets(st.sampled_from(["0", "1", "2", "3"])),
    st.sampled_from([None, 1e-3, 25.0]),
)
def test_sums_hold_for_any_times(
    times_s: list[float], untimed: set[str], energy_j: float | None
) -> None:
    """Whatever was measured or missing, children add up to their node to the last bit."""
    paths = [(), ("0",), ("1",), ("2",), ("3",)]
    times = tuple(
        CallTime(path, 1, time_s + (path == ()), 0.1 * time_s)
        for path, time_s in zip(paths, times_s, strict=True)
        if not untimed & set(path)
    )
    profile = replace(PROFILE, times=times, energy_j=energy_j, meter="rapl")
    for node in every(price_profile(profile, CPU)):
        energy = node.energy
        assert energy.low_j <= energy.joules <= energy.high_j
        if node.children:
            total = sum_of(node.children)
            assert (total.joules, total.seconds) == (energy.joules, energy.seconds)
            assert node.node.children == tuple(it.node for it in node.children)
