"""Real runs: times of every module that add up, disturbed runs left out, failures that say why."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from irene.errors import MeterError
from irene.tree import Node, walk
from irene.worker.meters import Found, Reading
from irene.worker.meters.replay import ReplayMeter
from irene.worker.profiling import profile
from irene.worker.profiling.stopwatch import CpuClock, Path, Run, Stopwatch
from irene.worker.profiling.summary import call_times, disturbed
from irene.worker.protocol import BuildSpec, CallTime, InputExpression, ProfileRequest, Progress
from irene.worker.refusals import Refused
from irene.worker.tracing import trace_module


class TickingClock:
    """A device whose every mark is one second after the last; marks are read once it is settled."""

    def __init__(self) -> None:
        self.now_s = 0
        self.settled_s = 0

    def mark(self) -> int:
        self.now_s += 1
        return self.now_s

    def settle(self) -> None:
        self.settled_s = self.now_s

    def seconds(self, start: int, end: int) -> float:
        assert end <= self.settled_s
        return float(end - start)


class Twice(nn.Module):
    """Calls one layer twice, one that another module calls too, and one made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.shared = nn.ReLU()
        self.block = nn.Sequential(nn.Linear(4, 4), self.shared)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(self.layer(x))
        return nn.Tanh()(self.shared(self.block(x)))


def test_a_module_s_time_is_that_of_its_calls_by_path() -> None:
    """Each mark takes a second: a call without calls inside takes 1, each call inside adds 2."""
    watch = Stopwatch(model := Twice(), TickingClock())
    with watch.running():
        model(torch.zeros(1, 4))
    assert call_times(watch.paths, [watch.read()]) == (
        CallTime((), 1, 15.0, 0.0),
        CallTime(("layer",), 2, 1.0, 0.0),
        CallTime(("block",), 1, 5.0, 0.0),
        CallTime(("block", "block.0"), 1, 1.0, 0.0),
        CallTime(("block", "shared"), 1, 1.0, 0.0),
        CallTime(("shared",), 1, 1.0, 0.0),
        CallTime(("<Tanh>",), 1, 1.0, 0.0),
    )


@pytest.mark.parametrize(
    "model",
    [
        Twice(),
        nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU())),
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True),
            num_layers=2,
            enable_nested_tensor=False,
        ),
    ],
    ids=["shared", "nested", "encoder"],
)
def test_paths_are_those_of_the_tracer_s_tree(model: nn.Module) -> None:
    x = torch.zeros(1, 3, 4)
    watch = Stopwatch(model.eval(), CpuClock())
    with watch.running(), torch.inference_mode():
        model(x)
    assert set(watch.paths) == paths_of(trace_module(model, (x,)).root)


def paths_of(node: Node, above: Path = ()) -> set[Path]:
    modules = [it for it in node.children if it.kind == "module"]
    below = [paths_of(it, (*above, it.scope)) for it in modules]
    return {above}.union(*below)


def test_a_fused_path_is_timed_as_it_runs() -> None:
    """`nn.TransformerEncoderLayer` looks for hooks and then takes the slow path: there are none."""
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    watch = Stopwatch(model, CpuClock())
    with torch.inference_mode(), watch.running():
        model(torch.zeros(1, 3, 8))
    assert watch.paths == [()]


def test_torch_is_left_as_it_was_also_after_an_error() -> None:
    before = nn.Module.__call__
    watch = Stopwatch(model := nn.Linear(4, 2), CpuClock())
    with pytest.raises(RuntimeError), watch.running():
        model(torch.zeros(1, 5))
    assert nn.Module.__call__ is before


PATHS: list[Path] = [(), ("a",), ("a", "a.0"), ("a", "a.1"), ("b",)]
SECONDS = st.floats(1e-7, 1e2)


@st.composite
def runs_of_a_tree(draw: st.DrawFn) -> list[Run]:
    """Runs in which every path takes the time of those under it and some of its own."""
    runs = []
    for _ in range(draw(st.integers(1, 6))):
        own_s = draw(st.lists(SECONDS, min_size=5, max_size=5))
        n_calls = [1, *draw(st.lists(st.integers(0, 4), min_size=4, max_size=4))]
        a_s = own_s[1] + own_s[2] + own_s[3]
        times_s = [own_s[0] + a_s + own_s[4], a_s, own_s[2], own_s[3], own_s[4]]
        counted_s = [time_s if n else 0.0 for time_s, n in zip(times_s, n_calls, strict=True)]
        runs.append(Run(array("q", n_calls), array("d", counted_s)))
    return runs


@settings(deadline=None)
@given(runs_of_a_tree())
def test_a_parent_takes_at_least_what_its_children_take(runs: list[Run]) -> None:
    total_s = {it.path: it.calls * it.time_s for it in call_times(PATHS, runs)}
    assert total_s[()] >= (total_s.get(("a",), 0.0) + total_s.get(("b",), 0.0)) * (1.0 - 1e-9)
    mean_s = sum(run.times_s[0] for run in runs) / len(runs)
    assert total_s[()] == pytest.approx(mean_s)


def test_a_path_that_first_came_in_a_later_run_counts_as_nothing_before() -> None:
    runs = [
        Run(array("q", [1]), array("d", [1.0])),
        Run(array("q", [1, 2]), array("d", [3.0, 2.0])),
    ]
    assert call_times([(), ("a",)], runs) == (
        CallTime((), 1, 2.0, 1.0),
        CallTime(("a",), 1, 1.0, 1.0),
    )


@pytest.mark.parametrize(
    ("times_s", "expected"),
    [
        ([1.0], [False]),
        ([1.0, 1.0, 1.0, 1.0], [False, False, False, False]),
        ([1.0, 1.01, 0.99, 1.0, 1.5], [False, False, False, False, True]),
        ([1.0, 1.01, 0.99, 1.0, 0.5], [False, False, False, False, False]),
        ([1.0, 1.0, 1.0, 1.019], [False, False, False, False]),  # alike, but for the noise
        ([1.0, 2.0, 3.0, 4.0, 5.0], [False, False, False, False, False]),
    ],
)
def test_runs_much_slower_than_most_are_disturbed(
    times_s: list[float], expected: list[bool]
) -> None:
    assert disturbed(times_s) == expected


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30), st.floats(1e-3, 1e3))
def test_at_most_half_of_the_runs_are_disturbed(times_s: list[float], scale: float) -> None:
    left_out = disturbed(times_s)
    assert sum(left_out) <= len(times_s) / 2
    assert not any(out for it, out in zip(times_s, left_out, strict=True) if it == min(times_s))


TEXT = """import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)
"""
REQUEST = ProfileRequest(
    BuildSpec(
        path="/work/user/net.py", text=TEXT, class_name="Net", search_paths=("/work/user",),
        arguments=None, inputs=(InputExpression("x", "float32[8, 4]"),), config_dir=None,
        batch_size=8, sequence_length=128, dtype=None, attention=None,
    ),
    device="cpu",
    min_seconds=0.05,
)  # fmt: skip


def request_with(before: str, after: str) -> ProfileRequest:
    assert before in TEXT
    return replace(REQUEST, build=replace(REQUEST.build, text=TEXT.replace(before, after)))


def no_meter(device: str) -> Found:
    return Found((), (f"nothing measures {device}",))


def test_without_a_meter_the_energy_is_unknown_and_never_zero() -> None:
    said: list[Progress] = []
    found = profile(REQUEST, said.append, no_meter)
    assert (found.energy_j, found.energy_std_j, found.meter, found.meter_covers) == (
        None, None, "none", "",
    )  # fmt: skip
    assert found.trace.root.class_name == "Net"
    assert {it.path for it in found.times} == {(), ("fc",)}
    assert found.n_runs >= 3
    assert 0.0 <= found.load <= 1.0
    assert found.n_threads == torch.get_num_threads()
    assert [it.message for it in said][:2] == ["tracing", "building Net() with random weights"]


def test_the_tree_of_a_profile_has_the_kernels_of_where_it_ran() -> None:
    attention = "nn.functional.scaled_dot_product_attention(*[self.fc(x)[None, None]] * 3)"
    found = profile(request_with("return self.fc(x)", f"return {attention}"), quiet, no_meter)
    names = {node.class_name for node, _ in walk(found.trace.root)}
    assert "_scaled_dot_product_flash_attention_for_cpu" in names


def quiet(_progress: Progress) -> None:
    """Nobody looks."""


def test_a_meter_s_energy_is_divided_by_the_forward_passes_in_its_window() -> None:
    reading = Reading(energy_j=12.0, std_j=3.0, covers="CPU package + DRAM", update_period_s=1e-3)
    meters = Found((ReplayMeter("rapl", [reading]),), ())
    found = profile(REQUEST, lambda _: None, lambda _: meters)
    assert (found.meter, found.meter_covers) == ("rapl", "CPU package + DRAM")
    assert found.energy_j is not None
    assert found.energy_std_j is not None
    n_runs = 12.0 / found.energy_j
    assert n_runs == pytest.approx(round(n_runs))
    assert found.energy_std_j == pytest.approx(3.0 / n_runs)


def test_a_meter_that_vanishes_costs_its_value_and_not_the_profile() -> None:
    found = profile(REQUEST, lambda _: None, lambda _: Found((LostMeter(),), ()))
    assert (found.energy_j, found.meter) == (None, "none")
    assert found.n_runs >= 3


class LostMeter:
    """A meter that is there until it is read."""

    name = "nvml"

    def start(self) -> None:
        """Works still."""

    def stop(self) -> Reading:
        raise MeterError("the GPU fell off the bus")


def test_a_gpu_that_is_not_there_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refused) as caught:
        profile(replace(REQUEST, device="cuda:0"), lambda _: None, no_meter)
    assert (caught.value.refusal.kind, "cuda:0" in caught.value.refusal.message) == ("device", True)


@pytest.mark.parametrize(
    ("before", "after", "kind", "words", "line", "advice"),
    [
        (
            "return self.fc(x)", "return self.fc(x) + torch.zeros(2**46)[:2]",
            "memory", "not enough memory", None, "batch size 4 instead of 8",
        ),
        (
            "self.fc = nn.Linear(4, 2)",
            "self.fc = nn.Linear(4, 2); self.head = nn.Linear(2**20, 2**20)",
            "memory", "parameters alone take 4.40 TB", None, "smaller",
        ),
        (
            "return self.fc(x)", "return self.fc(x) if x.is_meta else self.fc(x, x)",
            "forward", "takes 2 positional arguments", 10, "forward",
        ),
        (
            "return self.fc(x)", "assert x.is_meta, 'never real'; return self.fc(x)",
            "forward", "never real", 10, "forward",
        ),
    ],
)  # fmt: skip
def test_a_run_that_fails_says_why_and_what_to_do(
    before: str, after: str, kind: str, words: str, line: int | None, advice: str
) -> None:
    with pytest.raises(Refused) as caught:
        profile(request_with(before, after), lambda _: None, no_meter)
    refusal = caught.value.refusal
    assert (refusal.kind, refusal.line) == (kind, line)
    assert words in refusal.message
    assert advice in refusal.advice
