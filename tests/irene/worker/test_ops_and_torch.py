"""The table of costs against torch's own counter, and against the memory of real tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from irene.tree import MATRIX_PRIMITIVES
from irene.worker import ops
from irene.worker.meta.operators import operator_of
from irene.worker.meta.weights import Weights

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


HEADS = (meta(2, 8, 5, 16), meta(2, 8, 7, 16), meta(2, 8, 7, 16))
PACKED = tuple(meta(10, 8, 16) for _ in range(3))
TWO_OF_FIVE = torch.tensor([0, 5, 10], dtype=torch.int32)
CALLS: list[tuple[Any, tuple[Any, ...]]] = [
    (aten.mm.default, (meta(8, 16), meta(16, 32))),
    (aten.addmm.default, (meta(32), meta(8, 16), meta(16, 32))),
    (aten.bmm.default, (meta(3, 8, 16), meta(3, 16, 32))),
    (aten.baddbmm.default, (meta(3, 8, 32), meta(3, 8, 16), meta(3, 16, 32))),
    *(
        (aten.convolution.default, (x, weight, None, [stride] * n, [1] * n, [dilation] * n,
                                    transposed, [0] * n, groups))
        for n, x, weight, stride, dilation, transposed, groups in [
            (1, meta(2, 4, 12), meta(6, 4, 3), 1, 1, False, 1),
            (1, meta(2, 4, 12), meta(6, 2, 3), 2, 2, False, 2),
            (2, meta(2, 4, 12, 9), meta(4, 1, 3, 5), 1, 1, False, 4),
            (2, meta(2, 4, 12, 9), meta(4, 6, 3, 5), 2, 1, True, 1),
            (3, meta(1, 4, 8, 9, 7), meta(6, 4, 3, 2, 3), 1, 1, False, 1),
            (3, meta(1, 4, 8, 9, 7), meta(4, 3, 3, 2, 3), 2, 1, True, 1),
        ]
    ),
    (aten._scaled_dot_product_flash_attention.default, HEADS),
    (aten._scaled_dot_product_efficient_attention.default, (*HEADS, None, False)),
    (aten._scaled_dot_product_cudnn_attention.default, (*HEADS, None, False)),
    # padded, their formula takes the rows for heads: here they are packed
    (aten._flash_attention_forward.default,
     (*PACKED, TWO_OF_FIVE, TWO_OF_FIVE, 5, 5, 0.0, False, False)),
    (aten._efficient_attention_forward.default,
     (*(it[None] for it in PACKED), None, TWO_OF_FIVE, TWO_OF_FIVE, 5, 5, 0.0, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("func", "args"), CALLS, ids=[str(it[0]) for it in CALLS])
def test_matrix_flops_are_those_of_torch_s_formula(func: Any, args: tuple[Any, ...]) -> None:
    """`torch.utils.flop_counter.flop_registry`, by its own shapes.

    Transposed convolutions and grouped ones have no other count there either.
    """
    result = func(*args)
    call = Weights().call_of(operator_of(func), args, {}, result)
    ours = sum(it.flops for it in ops.cost_of(call) if it.primitive in MATRIX_PRIMITIVES)
    assert ours == flop_registry[func.overloadpacket](*args, out_val=result)


def test_every_forward_operation_of_torch_s_counter_has_a_rule_by_name() -> None:
    """Flex attention is a higher-order operation: its parts arrive one by one."""
    names = {str(it).removeprefix("aten.") for it in flop_registry}
    forward = {it for it in names if not it.endswith("backward") and "flex" not in it}
    assert {it for it in forward if not ops.is_known(it)} == set()


Places = dict[int, int]
"""Bytes at each address."""


def places(*tensors: torch.Tensor) -> Places:
    """Every element of tensors by its address, from shapes and strides alone."""
    found: Places = {}
    for tensor in tensors:
        offsets = torch.zeros(1, dtype=torch.int64)
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            offsets = (offsets[:, None] + stride * torch.arange(size)).flatten()
        size = tensor.element_size()
        found.update(dict.fromkeys((tensor.data_ptr() + size * offsets).tolist(), size))
    return found


def in_order(tensor: torch.Tensor) -> torch.Tensor:
    """Of that shape, each element its own number: what an operation returns, it has read."""
    return torch.arange(tensor.numel()).view(tensor.shape)


WRITTEN_ONLY = ("copy_", "fill_", "zero_", "zeros", "ones", "full", "arange", "new_zeros", "normal_",
                "uniform_", "exponential_", "bernoulli_")  # fmt: skip


class Memory(TorchDispatchMode):
    """For each operation of a real run the bytes that it must read and write, and our count."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, int, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        operator = operator_of(func)
        if operator.is_composite and operator.name != "linear":
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        written = {it.name for it in func._schema.arguments if it.is_out}
        given = {name: it for name, it in kwargs.items() if name not in written}
        inputs = [it for it in torch.utils._pytree.tree_leaves((args, given))
                  if isinstance(it, torch.Tensor)]  # fmt: skip
        read = self._read(operator.name, func, args, inputs)
        result = func(*args, **kwargs)
        if operator.name not in ops.FREE:
            outputs = [it for it in torch.utils._pytree.tree_leaves(result)
                       if isinstance(it, torch.Tensor)]  # fmt: skip
            needed = sum(read.values()) + sum(places(*outputs).values())
            call = Weights().call_of(operator, args, kwargs, result)
            counted = sum(it.n_bytes for it in ops.cost_of(call))
            self.found.append((operator.name, counted, needed))
        return result

    @staticmethod
    def _read(name: str, func: Any, args: tuple[Any, ...], inputs: list[torch.Tensor]) -> Places:
        if name in WRITTEN_ONLY:
            return places(*inputs[1:])  # the target is not read
        if name in ("embedding", "index", "index_select", "gather"):
            rows = func.overloadpacket(in_order(args[0]), *args[1:])
            everything = list(places(args[0].contiguous()).items())
            return {**dict(everything[int(i)] for i in rows.unique()), **places(*inputs[1:])}
        return places(*inputs)


def memory_of(run: Callable[[], object]) -> list[tuple[str, int, int]]:
    with torch.inference_mode(), Memory() as memory:
        run()
    assert memory.found
    return memory.found


class Eager(nn.Module):
    """Attention in its products, with its queries, keys and values in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm = nn.Linear(16, 48), nn.LayerNorm(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (it.view(2, 5, 4, 4).transpose(1, 2) for it in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / 2 + torch.zeros(5, 5)
        return self.norm(x + (scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 5, 16))


X, ROWS_OF_X = torch.randn(6, 16), torch.tensor([4, 0, 2])
RUNS: dict[str, Callable[[], object]] = {
    "attention in products": lambda: Eager()(torch.randn(2, 5, 16)),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.GELU(), nn.Conv2d(4, 8, 3, groups=2, bias=False),
        nn.ConvTranspose2d(8, 2, 2, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(50, 3),
    )(torch.randn(2, 3, 16, 16)),
    "fused attention": lambda: functional.scaled_dot_product_attention(
        torch.randn(2, 4, 5, 8), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 8)),
    "recurrent": lambda: nn.LSTM(8, 16)(torch.randn(5, 4, 8)),
    "expanded": lambda: (torch.randn(1, 16).expand(6, 16) * X, X[:, :1] + X, X * X, X @ X.T),
    "rows": lambda: (nn.Embedding(9, 4)(ROWS_OF_X), X[ROWS_OF_X], X.index_select(1, ROWS_OF_X),
                     X.gather(1, ROWS_OF_X.view(3, 1))),
    "in place": lambda: (X.clone().add_(1).relu_(), X.clone().copy_(X[0]), torch.zeros(3).fill_(1)),
    "to a given output": lambda: (
        torch.add(X, X[0], out=torch.empty(6, 16)), torch.mm(X, X.T, out=torch.empty(6, 6)),
        torch.sum(X, 1, out=torch.empty(6)), torch.cat((X, X), out=torch.empty(12, 16)),
        torch.topk(X, 2, out=(torch.empty(6, 2), torch.empty(6, 2).long())),
        torch.sort(X, out=(torch.empty(6, 16), torch.empty(6, 16).long())),
        torch.index_select(X, 0, ROWS_OF_X, out=torch.empty(3, 16)), X.exp().sqrt_(),
        torch.softmax(X, 1, out=torch.empty(6, 16)), torch.arange(8, out=torch.empty(8)),
        torch.addmm(torch.zeros(6), X, X.T, out=torch.empty(6, 6)), torch.add(X, X, out=X.clone()),
        torch.where(X > 0, X, X.T.contiguous().T, out=torch.empty(6, 16)),
    ),
    "random": lambda: (torch.empty(6, 16).normal_(), torch.empty(6).uniform_(),
                       torch.empty(6).exponential_(), torch.randn(6),
                       torch.empty(6).bernoulli_(0.5), X.sigmoid().bernoulli()),
    "moved": lambda: (torch.cat([X, X[:2]]), torch.stack([X, X]), X.T.contiguous(), X.half(),
                      functional.pad(X, (1, 1)), torch.where(X > 0, X, 0.0), X.tril()),
    "reduced": lambda: (X.sum(0), X.mean(), X.amax(1), X.std(1), X.norm(), X.cumsum(0),
                        X.argmax(1), X.sort(1), X.topk(2), X.softmax(0), torch.fft.rfft(X)),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_bytes_are_those_of_the_memory_that_a_real_run_touches(name: str) -> None:
    """Each address once for reading, each output once for writing."""
    for operation, counted, needed in memory_of(RUNS[name]):
        assert (operation, counted) == (operation, needed)


IN_PARTS: dict[str, Callable[[], object]] = {
    "masked_fill": lambda: X.masked_fill(X > 0, 1.0),
    "masked_scatter": lambda: X.masked_scatter(X > 0, X),
    "constant_pad_nd": lambda: torch.constant_pad_nd(X, (1, 1)),
    "index_put": lambda: X.index_put((ROWS_OF_X,), X[:3]),
    "index_fill": lambda: X.index_fill(0, ROWS_OF_X, 1.0),
    "slice_scatter": lambda: X.slice_scatter(X[:3], 0, 0, 3),
    "select_scatter": lambda: X.select_scatter(X[0], 0, 1),
    "_safe_softmax": lambda: torch._safe_softmax(X, -1),
    "logsumexp": lambda: X.logsumexp(0),
}


@pytest.mark.parametrize("name", IN_PARTS)
def test_an_operation_in_parts_launches_each_of_them(name: str) -> None:
    """As torch's profiler shows them, of operations that are the same code on a CPU and a GPU."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as profiled:
        IN_PARTS[name]()
    whole = next(it for it in profiled.events() if it.name == f"aten::{name}")
    with torch.inference_mode(), Launches() as launches:
        IN_PARTS[name]()
    assert launches.found[name] == len(parts_of(whole))


@pytest.mark.parametrize(
    ("a", "b"), [((8, 16), (3, 16, 8)), ((8, 32), (32, 8)), ((3, 8, 16), (16, 24))]
)
def test_a_grouped_product_in_float32_is_a_product_for_each_group(
    a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    """The code of a CPU is that of a GPU: two rows, sixteen numbers, eight columns for each."""
    ends = torch.tensor([2, 4, 8] if len(b) == 3 else [8, 16, 24], dtype=torch.int32)

    def run() -> object:
        return torch._grouped_mm(torch.randn(a), torch.randn(b), offs=ends)

    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    with torch.inference_mode(), Launches() as launches:
        run()
    assert launches.found["_grouped_mm"] == sum(it.name == "aten::mm" for it in profiled.events())


class Launches(TorchDispatchMode):
    """How many kernels the table has for each operation of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        call = Weights().call_of(operator_of(func), args, kwargs or {}, result)
        self.found[call.name] = sum(it.n_kernels for it in ops.cost_of(call))
        return result


def parts_of(event: Any) -> list[str]:
    """The innermost operations that move or compute something."""
    children = [it for it in event.cpu_children if it.name.removeprefix("aten::") not in ops.FREE]
    inner = [name for child in children for name in parts_of(child)]
    return inner or [event.name.removeprefix("aten::")]
