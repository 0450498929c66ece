"""Models that ask for values nobody knows are priced by one real run on random weights.

The oracle is that run: the same weights, the same inputs and the same seed on a CPU, seen by a
dispatch mode that shares no code with the tracer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from traps.oracle import differences, really_run, traced_operations

from irene.tree import Trace, matrix_flops
from irene.worker import values
from irene.worker.meta import trial
from irene.worker.refusals import Refused
from irene.worker.tracing import trace_module


class UntilSmall(nn.Module):
    """A loop that ends by what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        while x.norm() > 0.1:
            x = self.fc(x) * 0.5
        return x


class Halting(nn.Module):
    """Adaptive computation time (arXiv 1603.08983): a sum is kept in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.halt = nn.Linear(16, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        halted = torch.zeros(x.shape[0], device=x.device)
        while not (halted > 0.99).all():
            x = torch.relu(self.fc(x))
            halted += torch.sigmoid(self.halt(x)).squeeze(-1)
        return x


class Greedy(nn.Module):
    """Decodes until all say that it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(50, 16), nn.Linear(16, 50)
        self.rnn = nn.GRU(16, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        ids = (x[:, :4] > 0).long()
        for _ in range(12):
            following = self.out(self.rnn(self.embedding(ids))[0][:, -1]).argmax(-1, keepdim=True)
            ids = torch.cat((ids, following), 1)
            if (following == 3).all():
                break
        return ids


class Chosen(nn.Module):
    """Rows that pass a threshold: `nonzero` of a computed mask, and how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        mask = self.fc(x).mean(-1) > 0
        count = int(mask.sum())
        return self.fc(x[mask.nonzero().flatten()]) @ x.new_ones(16, count + 1)


class Durations(nn.Module):
    """As text becomes speech: each row as long as it is said to be."""

    def __init__(self) -> None:
        super().__init__()
        self.duration, self.out = nn.Linear(16, 1), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        lengths = self.duration(x).exp().round().clamp(min=1).long().flatten()
        return self.out(x.repeat_interleave(lengths, 0))


class Listed(nn.Module):
    """Numbers that Python reads."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x @ x.T if it else x * 2 for it in self.fc(x).argmax(-1).tolist()]


class Noisy(nn.Module):
    """Random numbers decide, drawn one after another."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(8):
            noise = torch.randn_like(x[0]) + torch.zeros_like(x[0]).uniform_()
            found.append(x @ x.T if noise.sum() > 8 else x * 2)
        return found


class Attending(nn.Module):
    """The answer lies behind fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attention(x[None], x[None], x[None], need_weights=False)
        return x[: 2 + int(y.abs().sum() * 8) % 5] @ x.T


MODULES: list[Callable[[], nn.Module]] = [
    UntilSmall, Halting, Greedy, Chosen, Durations, Listed, Noisy, Attending,
]  # fmt: skip


def with_values_of_the_trial(model: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Give a model the weights of the trial; its inputs."""
    weights = [
        (name, it)
        for module in model.modules()
        for held in (module._parameters, module._buffers)
        for name, it in held.items()
        if it is not None
    ]
    for number, (name, weight) in enumerate(weights):
        if weight.is_floating_point():
            made = trial.weight_values(tuple(weight.shape), weight.dtype, name, number)
            weight.data.copy_(made)
    return tuple(
        trial.input_values(tuple(it.shape), it.dtype, number) if it.is_floating_point() else it
        for number, it in enumerate(inputs)
    )


@pytest.mark.parametrize("make", MODULES)
def test_the_tree_is_that_of_the_real_run(make: Callable[[], nn.Module]) -> None:
    model = make().eval()
    (x,) = with_values_of_the_trial(model, torch.zeros(8, 16))
    torch.default_generator.manual_seed(0)
    run = really_run(model, (x,))
    for _ in range(2):  # what was seen before is remembered
        trace = trace_module(model, (torch.zeros(8, 16),), None, "cpu")
        aside = {"_to_copy": "to the host", "scalar_tensor": "free on a CPU"}
        assert differences(run, traced_operations(trace), aside) == []
        assert trial.ASSUMED in {it.text for it in trace.assumptions}


@pytest.mark.parametrize("make", MODULES)
def test_a_gpu_multiplies_what_a_cpu_multiplies(make: Callable[[], nn.Module]) -> None:
    """The values are a CPU's on either device; the kernels are the device's."""
    model = make()
    flops = [matrix_flops(traced(model, device).root) for device in ("cpu", "cuda")]
    assert flops[0] == flops[1]


def traced(model: nn.Module, device: Any = "cuda") -> Trace:
    return trace_module(model, (torch.zeros(8, 16),), None, device)


def test_the_assumption_is_where_the_question_is() -> None:
    (made,) = (it for it in traced(Chosen()).assumptions if "int(" in line_of(it.location))
    assert made.text == trial.ASSUMED


def line_of(at: Any) -> str:
    return Path(at.path).read_text().splitlines()[at.line - 1] if at else ""


def test_what_has_a_convention_keeps_it() -> None:
    """`nonzero` alone is bounded, and nothing is made up for it."""

    class Bounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[(x > 0).nonzero()[:, 0]]

    texts = {it.text for it in traced(Bounded()).assumptions}
    assert trial.ASSUMED not in texts
    assert any("upper bound" in it for it in texts)


class Large(nn.Module):
    """64 GB of weights, and a question about what comes from a few of them, or from all."""

    def __init__(self, *, is_behind: bool) -> None:
        super().__init__()
        self.is_behind = is_behind
        self.router = nn.Linear(16, 4, device="meta")
        self.up = nn.Linear(16, 1 << 15, device="meta")
        self.wide = nn.Linear(1 << 15, 1 << 19, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        wide = self.wide(self.up(x))
        asked = wide if self.is_behind else self.router(x)
        return wide if asked.sum() > 0 else wide * 2


def test_a_large_model_is_never_allocated() -> None:
    assert trial.ASSUMED in {it.text for it in traced(Large(is_behind=False)).assumptions}
    with pytest.raises(Refused, match="needs the values of a tensor"):
        traced(Large(is_behind=True))


def test_a_run_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_TRIAL_S", 0.0)
    with pytest.raises(Refused, match="needs the values of a tensor"):
        traced(UntilSmall())


def test_a_run_that_fails_leaves_the_question() -> None:
    """What a user checks about values need not hold for random ones."""

    class Checked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert (x > 0).all()
            return x

    with pytest.raises(Refused) as raised:
        traced(Checked())
    assert raised.value.refusal.kind == "data-dependent"


def test_the_model_and_the_random_numbers_to_come_stay_as_they_were() -> None:
    model = Halting()
    weights = [it.clone() for it in model.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    traced(model)
    assert torch.equal(torch.rand(2), expected)
    assert all(map(torch.equal, weights, model.parameters()))


def test_models_of_a_library_that_speak_are_priced() -> None:
    """Text to speech: how long it is follows from predicted durations."""
    ids = torch.zeros(2, 16, dtype=torch.long)
    config = transformers.VitsConfig(
        hidden_size=16, num_hidden_layers=1, ffn_dim=32, flow_size=16, spectrogram_bins=9,
        upsample_initial_channel=32, depth_separable_channels=2,
    )  # fmt: skip
    model = transformers.VitsModel(config).eval()
    with_values_of_the_trial(model)
    torch.default_generator.manual_seed(0)
    run = really_run(model, (ids,))
    trace = trace_module(model, (ids,), None, "cpu")
    assert differences(run, traced_operations(trace), {"_to_copy": "to the host"}) == []
