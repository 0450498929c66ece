"""Modules that a tracer easily gets wrong, against torch's own counter on a real run."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from irene.tree import Trace, check_sums, matrix_flops, walk
from irene.worker.meta.trial import ASSUMED as ONE_RUN
from irene.worker.refusals import Refused
from irene.worker.tracing import trace_module


class Does(nn.Module):
    """A forward that is one function of the module and its inputs."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Tensor) -> Any:
        return self.function(self, *args)


class Doubles(nn.Module):
    """Scripted below, so it is a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.fc(x)
        return x


class Recursive(Doubles):
    """Calls itself."""

    def forward(self, x: Tensor, depth: int = 3) -> Any:
        return self.fc(x) if depth == 0 else self(self.fc(x), depth - 1)


class OwnCall(Doubles):
    """Overrides what a call is."""

    def __call__(self, x: Tensor) -> Any:
        return super().__call__(2 * x)


class Remembers(Doubles):
    """Keeps a result for the next call."""

    kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = self.fc(x)
        return self.kept + x


class Product(torch.autograd.Function):
    """A function with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError


def autocast(device: str) -> Callable[..., Tensor]:
    def forward(self: Does, x: Tensor) -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16):
            return torch.as_tensor(self.fc(x)).float()

    return forward


def packed(self: Does, x: Tensor) -> Tensor:
    sequence = nn.utils.rnn.pack_padded_sequence(x, [5, 3], batch_first=True)
    output, _ = self.rnn(sequence)
    return nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0]


def steps(self: Does, x: Tensor) -> Tensor:
    state = torch.zeros(x.shape[0], 16), torch.zeros(x.shape[0], 16)
    for step in range(4):
        state = self.cell(x[:, step], state)
    return state[0]


def overwrites(self: Does, x: Tensor) -> Tensor:
    x[:, 0] = 1.0
    x[x > 0] = 0.0
    return x @ x.T


def complex_product(self: Does, x: Tensor) -> Tensor:
    rotation = torch.polar(torch.ones(4), torch.arange(4.0)).conj()
    turned = torch.view_as_complex(x.reshape(2, 4, 2)) * rotation
    return torch.view_as_real(turned) @ self.weight


def instance_forward() -> nn.Module:
    layer = nn.Linear(8, 8)
    layer.forward = lambda x: functional.linear(x, layer.weight) + 1  # type: ignore[method-assign] # the trap
    return layer


def hooked() -> nn.Module:
    layer = nn.Linear(8, 8)
    layer.register_forward_hook(lambda _module, _args, output: output @ torch.ones(8, 8))
    return layer


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made: nn.Module = torch.jit.script(Doubles())
    return made


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def fc() -> nn.Linear:
    return nn.Linear(8, 8)


TIED = fc()
X, SEQUENCE, IMAGE = torch.randn(2, 8), torch.randn(2, 5, 8), torch.randn(2, 4, 8, 8)
UNUSUAL: dict[str, tuple[nn.Module, Tensor]] = {
    "scripted": (scripted(), X),
    "recursive": (Recursive(), X),
    "its own call": (OwnCall(), X),
    "forward of the instance": (instance_forward(), X),
    "hook that computes": (hooked(), X),
    "tied layers": (nn.Sequential(TIED, nn.ReLU(), TIED), X),
    "checkpointed": (Does(lambda s, x: checkpoint(s.fc, x, use_reentrant=False), fc=fc()), X),
    "autocast on the CPU": (Does(autocast("cpu"), fc=fc()), X),
    "autocast on a GPU": (Does(autocast("cuda"), fc=fc()), X),
    "vmap": (Does(lambda s, x: torch.vmap(lambda v: s.fc(v) @ s.w)(x), fc=fc(), w=weight(8, 3)), X),
    "autograd function": (Does(lambda s, x: Product.apply(x, s.w), w=weight(8, 3)), X),
    "packed sequence": (Does(packed, rnn=nn.LSTM(8, 16, batch_first=True)), SEQUENCE),
    "cell in a loop": (Does(steps, cell=nn.LSTMCell(8, 16)), SEQUENCE),
    "weight norm": (nn.utils.parametrizations.weight_norm(fc()), X),
    "tensor of the CPU": (Does(lambda s, x: x @ torch.zeros(8, 4) + torch.arange(4)), X),
    "to the CPU": (Does(lambda s, x: s.fc(x.cpu()), fc=fc()), X),
    "another dtype": (Does(lambda s, x: x.double() @ torch.ones(8, 2, dtype=torch.float64)), X),
    "in place": (Does(overwrites), X),
    "out": (Does(lambda s, x: torch.mm(x, x.T, out=torch.empty(2, 2, device=x.device))), X),
    "complex": (Does(complex_product, weight=weight(2, 3)), X),
    "fft": (Does(lambda s, x: torch.fft.irfft(torch.fft.rfft(x)) @ s.w, w=weight(8, 3)), X),
    "interpolation": (Does(lambda s, x: functional.interpolate(s.conv(x), scale_factor=2, mode="bilinear"),
                           conv=nn.Conv2d(4, 4, 3)), IMAGE),
    "padding": (nn.Conv2d(4, 4, 3, padding="same", padding_mode="circular"), IMAGE),
    "unfold": (Does(lambda s, x: functional.unfold(x, 3).transpose(1, 2) @ s.w, w=weight(36, 3)), IMAGE),
    "three factors": (Does(lambda s, x: torch.einsum("bi,bj,ij->b", x, x, s.w), w=weight(8, 8)), X),
    "groups and pools": (
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.AdaptiveAvgPool2d(1),
                      nn.Flatten(), nn.Linear(4, 2)), IMAGE),
    "8-bit floats": (Does(lambda s, x: x.to(torch.float8_e4m3fn).to(torch.float32) @ x.T), X),
    "16-bit floats": (fc().bfloat16(), X.bfloat16()),
}  # fmt: skip


def real_flops(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(x.clone())
    return int(counter.get_total_flops())


def traced(model: nn.Module, *args: Any) -> Trace:
    """The trace, once it is clear that it left the model alone."""
    before = [dict(vars(it)) for it in model.modules()]
    made = trace_module(model, args)
    for module, attributes in zip(model.modules(), before, strict=True):
        assert vars(module).keys() == attributes.keys()
        assert all(vars(module)[name] is value for name, value in attributes.items())
    assert check_sums(made.root) == []
    return made


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_modules_have_the_flops_of_a_real_run(name: str) -> None:
    model, x = UNUSUAL[name]
    expected = real_flops(model, x)
    made = traced(model, x)
    assert matrix_flops(made.root) == expected
    assert expected > 0
    assert made.unpriced == ()


def test_what_a_model_remembers_is_undone() -> None:
    """A trace, then a real run: the model must not hold tensors without values."""
    model = Remembers().eval()
    assert matrix_flops(traced(model, X).root) == 2 * 2 * 8 * 8
    assert model.kept is None
    assert not model(X).is_meta


def attention_flops(batch: int, queries: int, keys: int, width: int) -> int:
    """Projections of queries, keys, values and outputs, and both products of attention."""
    projections = 2 * batch * width**2 * (2 * queries + 2 * keys)
    return projections + 2 * 2 * batch * queries * keys * width


class Careless(nn.Module):
    """Leaves something behind wherever it can."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = fc()
        self.step = torch.zeros(())
        self.cache: dict[str, Tensor] = {}
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.step.add_(1)
        self.cache["ones"] = torch.ones_like(x)
        self.seen.append(x)
        self.last = x
        self.fc.register_forward_hook(lambda *_: None)
        return cast("Tensor", self.fc(x * torch.rand(1) * random.random()))


def test_a_model_and_the_random_numbers_to_come_are_as_before() -> None:
    model = Careless().train()
    states = torch.get_rng_state(), random.getstate()
    trace_module(model, (X,))
    assert (model.cache, model.seen, model.step.item()) == ({}, [], 0.0)
    assert not hasattr(model, "last")
    assert len(model.fc._forward_hooks) == 0
    assert model.training
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert model(X).device.type == "cpu"


class TwoLayers(nn.Module):
    """What its call does is not in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = fc(), nn.Linear(8, 4)

    def __call__(self, x: Tensor) -> Any:
        return self.second(self.first(x)) + 1


def test_what_a_call_does_beside_forward_is_the_model_s() -> None:
    root = trace_module(TwoLayers(), (X,)).root
    assert root.class_name == "TwoLayers"
    assert [it.class_name for it in root.children] == ["Linear", "Linear", "add"]


def test_what_runs_on_another_thread_is_named() -> None:
    def forward(self: Does, x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            return x + sum(it.sum() for it in pool.map(self.fc, [x, x]))

    (unpriced, *_) = trace_module(Does(forward, fc=fc()), (X,)).unpriced
    assert (unpriced.name, unpriced.reason) == ("Linear", "it runs on another thread")


def test_attention_of_torch_has_its_closed_form_where_the_counter_sees_nothing() -> None:
    """On a CPU torch's fused encoder is one operation without FLOPs in the counter."""
    layer = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    assert matrix_flops(traced(layer, x, memory, memory).root) == attention_flops(2, 5, 7, 16)

    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)
    forward = 2 * 2 * 2 * 5 * 16 * 32
    found = traced(encoder.eval(), x)
    assert matrix_flops(found.root) == 2 * (attention_flops(2, 5, 5, 16) + forward)


def test_experts_are_priced_as_if_tokens_spread_evenly() -> None:
    """Every row meets one expert, whichever it is."""
    grouped = Does(lambda s, x, ends: torch._grouped_mm(x, s.w, offs=ends), w=weight(4, 8, 16))
    ends = torch.tensor([2, 4, 6, 8], dtype=torch.int32)
    made = traced(grouped, torch.randn(8, 8), ends)
    assert matrix_flops(made.root) == 2 * 8 * 8 * 16
    assert [it.text for it in made.assumptions] == ["tokens spread evenly over the experts"]


def test_what_has_no_price_is_named() -> None:
    """Sparse products, and operations that torch knows no shapes for."""
    sparse = Does(lambda s, x: torch.sparse.mm(torch.eye(2).to_sparse(), x))
    assert "_sparse_addmm" in [it.name for it in traced(sparse, X).unpriced]

    @torch.library.custom_op("irene_test::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return x * 2

    made = traced(Does(lambda s, x: s.fc(twice(x)), fc=fc()), X)
    assert [(it.name, it.reason) for it in made.unpriced] == [
        ("irene_test::twice", "it has no shape rule for meta tensors")
    ]
    assert [it.class_name for it, _ in walk(made.root)] == ["Does", "Linear", "linear", "bias"]


def test_code_that_asks_for_cuda_needs_none() -> None:
    def forward(self: Does, x: Tensor) -> Any:
        return self.fc(x.cuda().to("cuda:0")) + torch.zeros(8, device="cuda")

    assert matrix_flops(traced(Does(forward, fc=fc()), X).root) == 2 * 2 * 8 * 8


@pytest.mark.parametrize(
    "question",
    [
        lambda s, x: x.sum().item(),
        lambda s, x: torch.bincount(x.abs().long().flatten()),
        lambda s, x: x if x.sum() > 0 else -x,
        lambda s, x: x.tolist(),
        lambda s, x: torch.equal(x, x + 1),
    ],
)
def test_a_question_about_unknown_values_has_a_made_up_answer(question: Callable[..., Any]) -> None:
    """That of one real run, which is said; see test_trial."""
    made = trace_module(Does(question), (X,))
    assert ONE_RUN in {it.text for it in made.assumptions}


@pytest.mark.parametrize(
    "question",
    [
        lambda s, x: x.numpy(),
        lambda s, x: torch.bincount(x),
        lambda s, x: torch.nn.functional.one_hot((x * 9).long())[..., 1000].any().item(),
    ],
)
def test_a_question_that_one_run_does_not_answer_is_refused(question: Callable[..., Any]) -> None:
    with pytest.raises(Refused) as raised:
        trace_module(Does(question), (X,))
    assert raised.value.refusal.kind == "data-dependent"
    assert "values of a tensor" in raised.value.refusal.message


@pytest.mark.parametrize(
    ("question", "width"),
    [
        (lambda s, x: torch.arange(5).sum().item(), 10),
        (lambda s, x: int(torch.ones_like(x).all()), 1),
        (lambda s, x: len(torch.arange(6)[torch.arange(6) > 2].nonzero()), 3),
        (lambda s, x: torch.linspace(0, 4, 5, device=x.device).unbind()[3].item(), 3),
        (lambda s, x: s.steps.max().item(), 4),
        (lambda s, x: int(filled(torch.empty(2, dtype=torch.int64, device=x.device)).sum()), 5),
    ],
)
def test_what_follows_from_constants_is_known(question: Callable[..., int], width: int) -> None:
    """Answers are those of a real run."""
    model = Does(lambda s, x: x @ torch.zeros(8, int(question(s, x))))
    model.register_buffer("steps", torch.arange(5))
    assert question(model, X) == width
    made = traced(model, X)
    assert matrix_flops(made.root) == 2 * 2 * 8 * width
    assert made.assumptions == ()


def filled(empty: Tensor) -> Tensor:
    """Numbers written one by one where nothing was."""
    empty[0], empty[1] = 2, 3
    return empty


def test_a_value_that_was_overwritten_is_not_known_any_more() -> None:
    def forward(self: Does, x: Tensor) -> Tensor:
        ones = torch.ones(2, device=x.device)
        ones.view(2)[0] = x.sum()
        return x if ones[0] > 0 else -x

    made = trace_module(Does(forward), (X,))
    assert ONE_RUN in {it.text for it in made.assumptions}


def test_a_constant_that_is_too_large_takes_no_memory() -> None:
    """40,000 x 40,000 differences of positions would be 13 GB."""

    def forward(self: Does, x: Tensor) -> Any:
        positions = torch.arange(40_000)
        return self.fc(x), positions[None] - positions[:, None]

    assert matrix_flops(traced(Does(forward, fc=fc()), X).root) == 2 * 2 * 8 * 8


def test_a_lazy_layer_says_that_it_must_run_once() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = nn.LazyLinear(4)
    with pytest.raises(Refused, match="do not know their sizes"):
        trace_module(model, (X,))
