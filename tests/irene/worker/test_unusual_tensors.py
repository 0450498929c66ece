"""Dtypes, layouts and compiled modules: priced as written, or named as not priced."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from irene.tree import Trace, check_sums, matrix_flops, walk
from irene.worker.refusals import Refused
from irene.worker.tracing import trace_module

X = torch.ones(2, 8)
FLOPS = 2 * 2 * 8 * 8  # one Linear(8, 8) of X

pytestmark = pytest.mark.filterwarnings("ignore")  # torch deprecates what people still have


class Does(nn.Module):
    """A forward that is one function of the module and its inputs."""

    def __init__(self, function: Callable[..., Any], weight: Tensor | None = None) -> None:
        super().__init__()
        self.function = function
        self.weight = None if weight is None else nn.Parameter(weight, requires_grad=False)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def traced(model: nn.Module, *args: Any) -> Trace:
    """The trace, once it is clear that the model still runs as it did."""
    made = trace_module(model, args)
    assert check_sums(made.root) == []
    with torch.no_grad():
        model(*args)
    return made


def unpriced(made: Trace) -> set[str]:
    return {it.name for it in made.unpriced}


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_floats_of_all_widths_move_bytes_of_their_width(dtype: torch.dtype) -> None:
    made = traced(nn.Linear(8, 8).to(dtype), X.to(dtype))
    product, bias = made.root.children
    assert product.operation is not None
    assert product.operation.dtype == str(dtype).removeprefix("torch.")
    assert product.n_bytes == dtype.itemsize * (2 * 8 + 8 * 8 + 2 * 8)
    assert bias.n_bytes == dtype.itemsize * 8
    assert (made.dtype, product.flops) == (product.operation.dtype, FLOPS)


def eighths(*shape: int) -> Tensor:
    return torch.ones(shape).to(torch.float8_e4m3fn)


def bytes_of(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.int8)


def scaled(self: Does, a: Tensor, b: Tensor) -> Tensor:
    one = torch.ones((), device=a.device)
    return torch._scaled_mm(a, b.T, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


QUANTISED_PRODUCTS: dict[str, tuple[nn.Module, tuple[Tensor, ...], int]] = {
    "of bytes": (Does(lambda _, a, b: torch._int_mm(a, b)), (bytes_of(32, 16), bytes_of(16, 8)),
                 2 * 32 * 16 * 8),
    "of bytes as they are": (Does(lambda _, a, b: a @ b), (bytes_of(32, 16), bytes_of(16, 8)),
                             2 * 32 * 16 * 8),
    "of 8-bit floats": (Does(scaled), (eighths(32, 16), eighths(48, 16)), 2 * 32 * 16 * 48),
    "with a weight of bytes": (
        Does(lambda _, x, w, scales: torch._weight_int8pack_mm(x, w, scales)),
        (torch.ones(4, 64).bfloat16(), bytes_of(32, 64), torch.ones(32).bfloat16()),
        2 * 4 * 64 * 32),
    "of weights made floats again": (
        Does(lambda s, x: x @ (s.weight.to(x.dtype) * 0.1), bytes_of(8, 8)), (X,), FLOPS),
    "of 8-bit weights made floats again": (
        Does(lambda s, x: nn.functional.linear(x, s.weight.to(x.dtype)), eighths(8, 8)), (X,), FLOPS),
}  # fmt: skip


@pytest.mark.parametrize("name", QUANTISED_PRODUCTS)
def test_products_of_few_bits_have_the_flops_of_their_shapes(name: str) -> None:
    """2 m n k, whatever an element is."""
    model, args, flops = QUANTISED_PRODUCTS[name]
    made = traced(model, *args)
    assert matrix_flops(made.root) == flops
    assert made.unpriced == ()


def dynamic() -> nn.Module:
    layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    made: nn.Module = torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})
    return made


class Static(nn.Module):
    """Quantised after a run that saw its ranges."""

    def __init__(self) -> None:
        super().__init__()
        quantization = torch.ao.quantization
        self.enter, self.leave = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Any:
        return self.leave(self.fc(self.relu(self.conv(self.enter(x)))))


def static() -> nn.Module:
    model = Static().eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")  # type: ignore[assignment] # torch reads it there
    torch.ao.quantization.prepare(model, inplace=True)
    model(torch.randn(1, 3, 8, 8))
    torch.ao.quantization.convert(model, inplace=True)
    return model


def test_quantised_layers_are_named_and_their_neighbours_priced() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = traced(dynamic(), X)
        assert unpriced(made) == {"quantized::linear_dynamic"}
        assert [it.class_name for it, _ in walk(made.root) if it.primitive] == ["relu"]
        found = unpriced(traced(static(), torch.randn(1, 3, 8, 8)))
    assert {"quantized::conv2d", "quantized::linear", "quantize_per_tensor"} <= found


@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr"])
def test_sparse_weights_are_named(layout: str) -> None:
    dense = torch.eye(8)
    weight = {
        "coo": dense.to_sparse,
        "csr": dense.to_sparse_csr,
        "csc": dense.to_sparse_csc,
        "bsr": lambda: dense.to_sparse_bsr((2, 2)),
    }[layout]()
    made = traced(Does(lambda s, x: torch.relu(s.weight @ x.T), weight), X)
    assert unpriced(made) == {"mm"}
    assert {it.reason for it in made.unpriced} == {"sparse and quantised tensors have no price"}
    assert [it.class_name for it, _ in walk(made.root) if it.primitive] == ["relu"]


def test_tensors_that_become_sparse_are_named() -> None:
    model = Does(lambda s, x: (x.to_sparse() @ s.weight) @ s.weight, torch.ones(8, 8))
    made = traced(model, X)
    assert "_to_sparse" in unpriced(made)


def test_an_embedding_with_sparse_gradients_is_an_embedding() -> None:
    made = traced(nn.Embedding(10, 4, sparse=True), torch.zeros(2, 3, dtype=torch.long))
    assert [it.class_name for it in made.root.children] == ["embedding"]
    assert made.unpriced == ()


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_are_refused(layout: torch.layout) -> None:
    nested = torch.nested.nested_tensor([torch.ones(3, 8), torch.ones(5, 8)], layout=layout)
    with pytest.raises(Refused, match="nested tensors have no price"):
        trace_module(nn.Linear(8, 8), (nested,))


def test_masked_tensors_cost_what_their_operations_do() -> None:
    def forward(_: Does, x: Tensor) -> Any:
        masked = torch.masked.masked_tensor(x, torch.ones_like(x, dtype=torch.bool))
        return masked.sum(1).to_tensor(0.0)

    made = traced(Does(forward), X)
    assert "sum" in {it.class_name for it, _ in walk(made.root)}


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval()


def compiled_in_place() -> nn.Module:
    model = layers()
    model.compile()
    return model


COMPILED: dict[str, Callable[[], nn.Module]] = {
    "compiled": lambda: torch.compile(layers()),  # type: ignore[dict-item, return-value] # a module
    "compiled in place": compiled_in_place,
    "a compiled part": lambda: nn.Sequential(torch.compile(nn.Linear(8, 8)), nn.ReLU()),
    "a compiled function": lambda: Does(
        torch.compile(lambda self, x: torch.relu(x @ self.weight + x[0])), torch.ones(8, 8)
    ),
    "scripted": lambda: torch.jit.script(layers()),
    "scripted and frozen": lambda: torch.jit.freeze(torch.jit.script(layers())),
    "scripted and optimised": lambda: torch.jit.optimize_for_inference(torch.jit.script(layers())),
    "traced by torch": lambda: torch.jit.trace(layers(), X),
    "of a graph": lambda: torch.fx.symbolic_trace(layers()),
    "exported": lambda: torch.export.export(layers(), (X,)).module(),
    "in parallel": lambda: nn.DataParallel(layers()),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_modules_have_the_tree_of_what_was_written(name: str) -> None:
    """One product with its bias and one `relu`, however the graph is kept."""
    made = trace_module(COMPILED[name](), (X,))
    assert matrix_flops(made.root) == FLOPS
    operations = [it.class_name for it, _ in walk(made.root) if it.primitive]
    assert len(operations) == 3
    assert operations[-1] == "relu"
    assert made.unpriced == ()
