"""Models that are broken, strange or far too large: each gets a tree or a reason, never a crash."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from irene.tree import check_sums, matrix_flops, trace_from_json, trace_to_json, walk
from irene.worker.protocol import BuildSpec, InputExpression, Refusal
from irene.worker.refusals import Refused
from irene.worker.tracing import trace, trace_module

X = torch.ones(2, 8)
LAYER_FLOPS = 2 * 2 * 8 * 8  # one Linear(8, 8) of X
LARGE_CONFIG = Path(__file__).parents[3] / "benchmarks" / "large_config.py"


class Does(nn.Module):
    """A forward that is one function of the module and its inputs; it has one layer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.fc = nn.Linear(8, 8)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def refusal_of(model: nn.Module, *args: Any) -> Refusal:
    with pytest.raises(Refused) as raised:
        trace_module(model, args)
    return raised.value.refusal


BUGS = {
    "a name that is nowhere": ("return self.fc(x) + bias", "NameError: name 'bias'"),
    "a layer that is nowhere": ("return self.fc2(x)", "'Block' object has no attribute 'fc2'"),
    "widths that do not fit": ("return self.fc(self.fc(x))", "linear got float32[2, 16]"),
    "an argument too many": ("return self.fc(x, x)", "positional arguments"),
    "a sum of unlike shapes": ("return x + self.fc(x)", "add got float32[2, 8], float32[2, 16]"),
    "a dtype that does not fit": ("return self.fc(x.long())", "linear got int64[2, 8]"),
    "an assertion": ("assert x.dim() == 3, 'no batch'; return x", "AssertionError: no batch"),
    "no return of what is used": ("self.fc(x)", "NoneType"),
    "an endless recursion": ("return self(x)", "RecursionError"),
    "a division by zero": ("return x / (x.shape[0] - 2) if 1 // (x.shape[0] - 2) else x",
                           "ZeroDivisionError"),
    "more memory than there is": ("return bytearray(1 << 60)", "MemoryError"),
}  # fmt: skip
NET = """from torch import nn
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 16)
    def forward(self, x):
        {bug}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.ReLU(), Block())
    def forward(self, x):
        return self.blocks(x).sum()
"""


def spec(text: str, **inputs: str) -> BuildSpec:
    expressions = tuple(InputExpression(*it) for it in inputs.items())
    return BuildSpec("/work/net.py", text, "Net", (), None, expressions, None, 2, 4, None, None)


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_refused_with_its_line_and_the_inputs(bug: str) -> None:
    """The line is that of the block, not that of the model that calls it."""
    line, words = BUGS[bug]
    with pytest.raises(Refused) as raised:
        trace(spec(NET.format(bug=line), x="float32[2, 8]"))
    refusal = raised.value.refusal
    assert refusal.kind == "forward"
    assert words in refusal.message
    assert "x=float32[2, 8]" in refusal.message
    assert refusal.line == (13 if bug == "no return of what is used" else 7)
    assert refusal.advice


@pytest.mark.parametrize(
    "product",
    [
        lambda x, y: x @ y,
        lambda x, y: x @ y[0],
        nn.functional.linear,
        lambda x, y: torch.addmm(x, x, y),
        lambda x, y: torch.bmm(x[None], y[None]),
        lambda x, y: torch.baddbmm(x[None], x[None], y[None]),
        lambda x, y: nn.functional.conv1d(x[None], y[:, :, None]),
        lambda x, y: nn.functional.conv2d(x[None, :, :, None], y[:, :, None, None]),
        lambda x, y: nn.functional.scaled_dot_product_attention(
            x[None, None], *[y[None, None]] * 2
        ),
    ],
)
@pytest.mark.parametrize("other", [torch.float16, torch.float64, torch.int64, torch.complex64])
def test_a_product_of_two_dtypes_is_refused_as_a_run_would(
    product: Callable[..., Any], other: torch.dtype
) -> None:
    """The mistake that `.half()`, `.long()` and NumPy's doubles make."""
    x, y = torch.ones(8, 8), torch.ones(8, 8, dtype=other)
    with pytest.raises(RuntimeError):
        product(x, y)
    refusal = refusal_of(Does(lambda self, x, y: product(x, y)), x, y)
    assert refusal.kind == "forward"
    assert "dtype" in refusal.message or "scalar type" in refusal.message


@pytest.mark.parametrize("stop", [SystemExit(3), KeyboardInterrupt()])
def test_code_that_ends_the_process_leaves_the_model_as_it_was(stop: BaseException) -> None:
    """The worker answers it; in Python it is the caller's, as from a call of the model."""

    def forward(self: Does, x: Tensor) -> Tensor:
        self.late = self.fc(x)
        raise stop

    model = Does(forward).train()
    with pytest.raises(type(stop)):
        trace_module(model, (X,))
    assert model.training
    assert not hasattr(model, "late")
    assert not model.fc.weight.is_meta


@pytest.fixture(scope="module")
def kernels() -> Iterator[Any]:
    """Operations with a kernel for the CPU alone, as C++ extensions register them."""
    library = torch.library.Library("irene_bad", "DEF")
    for schema, kernel in {
        "shifts(Tensor x) -> Tensor": lambda x: x.roll(1),
        "fills(Tensor(a!) x) -> ()": _fills,
        "pairs(Tensor x) -> (Tensor, Tensor)": lambda x: (x * 1, x.sum()),
        "each(Tensor[] xs, int n) -> Tensor[]": lambda xs, n: [x * n for x in xs],
        "counts(Tensor x) -> int": lambda x: x.shape[0] * 3,
        "selects(Tensor x) -> Tensor": lambda x: x[x > 0],
        "raises(Tensor x) -> Tensor": _raises,
        "nowhere(Tensor x) -> Tensor": None,
    }.items():
        library.define(schema)
        if kernel is not None:
            library.impl(schema.partition("(")[0], kernel, "CPU")
    yield torch.ops.irene_bad
    library._destroy()


def _fills(x: Tensor) -> None:
    x.fill_(2.0)


def _raises(x: Tensor) -> Tensor:
    raise ValueError("rows must be sorted")


@pytest.mark.parametrize(
    ("name", "forward"),
    [
        ("shifts", lambda self, x, ops: self.fc(ops.shifts(x))),
        ("fills", lambda self, x, ops: (ops.fills(x), self.fc(x))[1]),
        ("pairs", lambda self, x, ops: self.fc(ops.pairs(x)[0])),
        ("each", lambda self, x, ops: self.fc(ops.each([x, x], 3)[1])),
        ("counts", lambda self, x, ops: self.fc(x[:, :1].expand(-1, ops.counts(x) + 2))),
    ],
)
def test_operations_without_a_shape_rule_are_named_and_the_rest_is_priced(
    name: str, forward: Callable[..., Any], kernels: Any
) -> None:
    made = trace_module(Does(lambda self, x: forward(self, x, kernels)), (X,))
    assert [it.name for it in made.unpriced] == [f"irene_bad::{name}"]
    assert made.unpriced[0].location is not None
    assert matrix_flops(made.root) == LAYER_FLOPS


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("selects", "data-dependent", "needs the values of a tensor for irene_bad::selects"),
        ("raises", "forward", "ValueError: rows must be sorted; irene_bad::raises got float32"),
        ("nowhere", "forward", "irene_bad::nowhere has no shape rule"),
    ],
)
def test_operations_that_cannot_be_guessed_are_refused(
    name: str, kind: str, words: str, kernels: Any
) -> None:
    """`selects` gives as many rows as there are positive values: zeros would say none."""
    refusal = refusal_of(Does(lambda self, x: self.fc(getattr(kernels, name)(x))), X)
    assert refusal.kind == kind
    assert words in refusal.message


class Doubled(torch.autograd.Function):
    """A function that leaves torch for NumPy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() * 2)


def test_a_function_that_leaves_torch_needs_values() -> None:
    assert refusal_of(Does(lambda self, x: Doubled.apply(x)), X).kind == "data-dependent"


GIBIBYTES = {
    "random numbers": lambda: torch.randn(40_000, 40_000),
    "memory that is filled": lambda: torch.empty(10**10).fill_(1.0),
    "a unit matrix": lambda: torch.eye(100_000),
    "zeros": lambda: torch.zeros(10**10) + 1,
    "positions": lambda: torch.arange(10**10).float(),
    "a number repeated": lambda: torch.ones(1).expand(10**10).clone(),
    "a row repeated": lambda: torch.ones(1000).repeat(10**4, 10**3),
    "classes": lambda: nn.functional.one_hot(torch.arange(100_000)),
    "constants side by side": lambda: [torch.ones(1 << 20) for _ in range(500)],
    "results of constants": lambda: [torch.ones(1 << 19) * i for i in range(500)],
}


@pytest.mark.parametrize("what", GIBIBYTES)
def test_a_forward_that_allocates_on_the_cpu_allocates_nothing(what: str) -> None:
    """Of gigabytes none; of small constants, which stay real, no more than a quarter of one."""
    before = _resident_bytes()
    peak = before

    def forward(self: Does, x: Tensor) -> Tensor:
        nonlocal peak
        kept = GIBIBYTES[what]()
        peak = _resident_bytes()
        del kept
        return self.fc(x)

    assert matrix_flops(trace_module(Does(forward), (X,)).root) == LAYER_FLOPS
    assert peak - before < 300 << 20


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def test_twenty_thousand_modules_have_a_tree() -> None:
    """Ten thousand blocks of two: every one is there, and the tree goes through JSON."""
    blocks = (nn.Sequential(nn.Linear(8, 8, bias=False, device="meta")) for _ in range(10_000))
    before = _resident_bytes()
    made = trace_module(nn.Sequential(*blocks), (X,))
    assert sum(node.kind == "module" for node, _ in walk(made.root)) == 20_000
    assert matrix_flops(made.root) == 10_000 * LAYER_FLOPS
    assert made.root.n_parameters == 10_000 * 64
    assert check_sums(made.root) == []
    assert trace_from_json(trace_to_json(made)) == made
    assert _resident_bytes() - before < 500 << 20


def nested(depth: int) -> nn.Module:
    model: nn.Module = nn.Linear(8, 8)
    for _ in range(depth):
        model = nn.Sequential(model)
    return model


def test_what_nests_as_deeply_as_python_allows_is_traced() -> None:
    """A call of a module takes four frames of a thousand."""
    with pytest.raises(RecursionError):
        nested(260)(X)
    made = trace_module(nested(200), (X,))
    assert matrix_flops(made.root) == LAYER_FLOPS
    assert json.loads(json.dumps(trace_to_json(made)))["root"]["class"] == "Sequential"
    assert sys.getrecursionlimit() < 3000


def test_an_endless_recursion_ends_soon() -> None:
    began_s = time.thread_time()
    assert "RecursionError" in refusal_of(Does(lambda self, x: self(self.fc(x))), X).message
    assert time.thread_time() - began_s < 10


def test_a_module_that_holds_itself_is_traced_once() -> None:
    model = Does(lambda self, x: self.fc(x))
    model.parent = model
    assert matrix_flops(trace_module(model, (X,)).root) == LAYER_FLOPS


def test_a_config_of_405_billion_parameters_takes_little_memory() -> None:
    """As the benchmark measures it, in a process of its own."""
    done = subprocess.run(
        [sys.executable, LARGE_CONFIG, "--json"], stdout=subprocess.PIPE, check=True
    )
    figures = json.loads(done.stdout)
    assert figures["n_parameters"] == 405_853_388_800
    assert figures["n_bytes"] < 1 << 30


def test_tied_weights_count_once_wherever_they_are() -> None:
    """An embedding that is the head, a layer in two places, a weight that two layers share."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
            self.head.weight = self.embedding.weight
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
            self.second.weight = self.first.weight
            self.again = self.first

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.again(self.second(self.first(self.embedding(ids)))))

    model = Tied()
    root = trace_module(model, (torch.zeros(2, 3, dtype=torch.long),)).root
    assert root.n_parameters == 50 * 8 + 64 + 2 * 8
    assert root.n_parameters == sum(it.numel() for it in model.parameters())
    below = {it.scope: it.n_parameters for it in root.children}
    assert below == {"embedding": 400, "head": 400, "first": 72, "second": 72}
    assert {it.scope: it.count for it in root.children}["first"] == 2  # it has two names
    assert matrix_flops(root) == 2 * 6 * (3 * 64 + 400)


@dataclass
class Output:
    """What a model returns."""

    hidden: Tensor
    parts: list[Tensor]


def _yields(self: Does, x: Tensor) -> Iterator[Tensor]:
    for _ in range(3):
        x = self.fc(x)
        yield x


@pytest.mark.parametrize(
    ("forward", "n_layers"),
    [
        (lambda self, x: Output(self.fc(x), [x]), 1),
        (_yields, 3),
        (lambda self, x: (self.fc(it) for it in (x, x)), 2),
        (lambda self, x: None, 0),
        (lambda self, x: (self.fc(x), None)[1], 1),
        (lambda self, x: {"call": lambda: self.fc(x), "x": self.fc(x)}, 1),
        (lambda self, x: 3.5, 0),
        (lambda self, x: self, 0),
    ],
    ids=["dataclass", "generator", "generator expression", "nothing", "nothing of a layer",
         "function", "number", "itself"],
)  # fmt: skip
def test_whatever_a_forward_returns_is_a_result(forward: Callable[..., Any], n_layers: int) -> None:
    made = trace_module(Does(forward), (X,))
    assert matrix_flops(made.root) == n_layers * LAYER_FLOPS
    assert check_sums(made.root) == []


@pytest.mark.parametrize("n_inputs", [0, 2, 3])
def test_inputs_that_do_not_fit_the_signature_are_refused(n_inputs: int) -> None:
    refusal = refusal_of(nn.Linear(8, 8), *[X] * n_inputs)
    assert refusal.kind == "forward"
    assert "TypeError" in refusal.message


LAZY = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv2d(4, 3)
        self.norm = nn.LazyBatchNorm2d()
        self.head = nn.LazyLinear(5)
    def forward(self, image):
        return self.head(self.norm(self.conv(image)).flatten(1))
"""


def test_lazy_layers_of_all_kinds_get_their_sizes_from_the_inputs() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        made = trace(spec(LAZY, image="float32[2, 3, 8, 8]"))
    conv, head = 2 * 2 * 36 * 4 * 27, 2 * 2 * 5 * 144
    assert matrix_flops(made.root) == conv + head
    assert made.root.n_parameters == (4 * 27 + 4) + 2 * 4 + (144 * 5 + 5)
