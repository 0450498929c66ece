"""Values that meta tensors do not have: upper bounds, even routing, and what is assumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from irene.tree import check_sums, matrix_flops
from irene.worker.meta.answers import even_choice
from irene.worker.tracing import trace_module

X = torch.randn(6, 4)


class Net(nn.Module):
    """Asks for values of its input; then multiplies what it got by a 4 x 4 matrix."""

    def __init__(self, question: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.question = question
        self.fc = nn.Linear(4, 4, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(self.question(x))


@pytest.mark.parametrize(
    ("question", "rows", "assumed"),
    [
        (lambda x: x[x[:, 0] > 0], 6, "upper bound: a mask as an index takes every element"),
        (lambda x: x[(x > 0).nonzero()[:, 0]], 24, "upper bound: nonzero finds every element"),
        (lambda x: torch.masked_select(x, x > 0).reshape(-1, 4), 6,
         "upper bound: masked_select takes every element"),
        (lambda x: x[torch.unique(x[:, 0]).long()], 6, "upper bound: all elements differ"),
    ],
)  # fmt: skip
def test_a_shape_that_depends_on_values_is_the_largest_one(
    question: Callable[[torch.Tensor], torch.Tensor], rows: int, assumed: str
) -> None:
    """It is as large as that of a run whose values all count, and named with its line."""
    made = trace_module(Net(question), (X,))
    assert matrix_flops(made.root) == 2 * rows * 4 * 4
    assert [(it.text, it.location is not None) for it in made.assumptions] == [(assumed, True)]


class Question(nn.Module):
    """Reads the values of constants as Python numbers."""

    def __init__(self, width: Callable[[torch.Tensor], int]) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: torch.Tensor) -> Any:
        return x @ torch.zeros(4, self.width(x), device=x.device)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (lambda x: torch.tensor([[1, 7]], device=x.device).tolist()[0][1], 7),
        (lambda x: int(f"{torch.tensor(5, device=x.device)}"), 5),
        (lambda x: torch.tensor([3, torch.ones(2, dtype=torch.int64).sum()]).tolist()[1], 2),
        (lambda x: torch.full((2,), 9).to(x.device).tolist()[0], 9),
    ],
)
def test_what_is_written_as_numbers_can_be_read(
    width: Callable[[torch.Tensor], int], expected: int
) -> None:
    assert matrix_flops(trace_module(Question(width), (X,)).root) == 2 * 6 * 4 * expected
    assert Question(width)(X).shape == (6, expected)  # so does a real run


@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 16))
def test_tokens_are_spread_evenly(n_tokens: int, top_k: int, n_experts: int) -> None:
    """No expert has two tokens more than another, no token has an expert twice."""
    top_k = min(top_k, n_experts)
    chosen = even_choice((n_tokens, top_k), n_experts)
    counts = torch.bincount(chosen.flatten(), minlength=n_experts)
    assert int(counts.max() - counts.min()) <= 1
    assert all(len(set(row)) == top_k for row in chosen.tolist())


MOE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100,
       "intermediate_size": 64, "num_key_value_heads": 2, "num_local_experts": 4}  # fmt: skip


def test_experts_in_a_loop_cost_what_they_cost_as_one_product() -> None:
    """Every expert is called for the tokens that it has, as in a real run of the batched form."""
    ids = {"input_ids": torch.randint(3, 100, (2, 12))}
    loop, batched = (
        transformers.MixtralForCausalLM(
            transformers.MixtralConfig(**MOE, experts_implementation=kind)
        ).eval()
        for kind in ("eager", "batched_mm")
    )
    loop.config._attn_implementation = batched.config._attn_implementation = "eager"
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        batched(**ids)
    made = trace_module(loop, (), ids)
    assert matrix_flops(made.root) == counter.get_total_flops()
    assert check_sums(made.root) == []
    assert "tokens spread evenly over the experts" in [it.text for it in made.assumptions]
