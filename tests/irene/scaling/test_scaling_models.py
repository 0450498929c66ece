"""Traces at sizes that were not traced, against fresh ones: modules with traps, architectures."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

from irene.scaling import ScaledTrace, Tracer, scale
from irene.tree import Trace
from irene.worker.protocol import Refusal
from irene.worker.refusals import Refused
from irene.worker.tracing import trace_module

WIDTH = 16


class Smooth(nn.Module):
    """Attention over everything: batch times the square of the length."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[1], x.shape[1], device=x.device).tril()
        y: Tensor = (x @ x.transpose(1, 2) * mask).softmax(-1) @ self.fc(x)
        return y


class Window(Smooth):
    """Only the last 100 positions are read."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x @ self.fc(x[:, -100:]).transpose(1, 2)
        return y


class Ceiling(Smooth):
    """Padded to whole blocks of 32, also where nothing is left to pad."""

    def forward(self, x: Tensor) -> Tensor:
        blocks = functional.pad(x, (0, 0, 0, -x.shape[1] % 32)).reshape(len(x), -1, 32, WIDTH)
        y: Tensor = self.fc(blocks) @ blocks.transpose(2, 3)
        return y


class Pooled(Smooth):
    """Every second position, the odd one left out."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(functional.avg_pool1d(x.transpose(1, 2), 2).transpose(1, 2))
        return y


class Branch(Smooth):
    """Long inputs meet the layer twice."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(self.fc(x)) if x.shape[1] > 77 else self.fc(x)
        return y


class Single(Smooth):
    """A batch of one is treated as a sequence without a batch."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x[0]).relu() if len(x) == 1 else self.fc(x)
        return y


class LargeBatch(Smooth):
    """A large batch goes in two halves."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.fc(it) for it in x.chunk(2)]) if len(x) > 8 else self.fc(x)


class Steps(Smooth):
    """A loop over positions: as many calls as there are."""

    def forward(self, x: Tensor) -> Tensor:
        state, seen = x[:, 0], []
        for i in range(x.shape[1]):
            state = torch.tanh(self.fc(x[:, i]) + state)
            seen.append(state)
        return torch.stack(seen, 1)


class Blocks(Smooth):
    """A loop over blocks of 32 positions, the last one shorter."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.fc(it) for it in x.split(32, 1)], 1)


class Sorted(Smooth):
    """Sorted along the length."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x.sort(1).values)
        return y


class Exception64(Smooth):
    """One length alone is special, a multiple of large powers of two."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x) if x.shape[1] % 64 else self.fc(x.relu())
        return y


class Limited(Smooth):
    """No more than 120 positions."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 120:
            raise ValueError("too many positions")
        y: Tensor = self.fc(x)
        return y


BATCHES, LENGTHS = range(1, 17), range(2, 201)
WITH_A_LAW_EVERYWHERE = [Smooth, Window, Pooled, Branch, Single, Steps, Sorted]
WITH_GAPS = [LargeBatch, Blocks, Ceiling, Exception64, Limited]


def tracer_of(module: nn.Module) -> Tracer:
    def trace(batch: int, length: int) -> Trace | Refusal:
        try:
            return trace_module(module, (torch.empty(batch, length, WIDTH, device="meta"),))
        except Refused as err:
            return err.refusal

    return trace


def check(scaled: ScaledTrace, tracer: Tracer, batches: range, lengths: range) -> int:
    """Nothing is wrong at sizes by chance; how many of twelve are known."""
    chance = random.Random(3)
    known = 0
    for batch in (1, 1, *chance.choices(batches, k=10)):
        length = chance.choice(lengths)
        found = scaled.at(batch, length)
        if found is not None:
            assert found == tracer(batch, length), (batch, length)
            known += 1
    return known


@pytest.mark.parametrize("module", WITH_A_LAW_EVERYWHERE)
def test_modules_have_laws_at_all_sizes(module: type[nn.Module]) -> None:
    tracer = tracer_of(module().eval())
    scaled = scale(tracer, BATCHES, LENGTHS)
    assert scaled.gaps == ()
    assert check(scaled, tracer, BATCHES, LENGTHS) == 12


@pytest.mark.parametrize("module", WITH_GAPS)
def test_where_no_law_is_found_nothing_is_said(module: type[nn.Module]) -> None:
    tracer = tracer_of(module().eval())
    scaled = scale(tracer, BATCHES, LENGTHS)
    assert scaled.gaps
    check(scaled, tracer, BATCHES, LENGTHS)


@pytest.mark.parametrize(("module", "chunk"), [(Ceiling, 32), (Blocks, 32)])
def test_chunks_have_laws_where_many_fit(module: type[nn.Module], chunk: int) -> None:
    tracer = tracer_of(module().eval())
    lengths = range(2, 20 * chunk)
    scaled = scale(tracer, BATCHES, lengths)
    assert check(scaled, tracer, BATCHES, lengths) >= 10


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "vocab_size": 100}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Albert": {**SIZES, "embedding_size": 16},
    "Bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64,
             "encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_ffn_dim": 64,
             "vocab_size": 100},
    "Bert": {**SIZES, "max_position_embeddings": 300},
    "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100},
    "FNet": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100},
    "Gemma2": {**GROUPED, "sliding_window": 64},
    "Llama": GROUPED,
    "Mixtral": {**GROUPED, "num_local_experts": 4},
    "ModernBert": {**SIZES, **SPECIAL, "cls_token_id": 1, "sep_token_id": 2},
    "Qwen3": GROUPED,
    "T5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
           "vocab_size": 100},
    "XLNet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "vocab_size": 100},
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_at_sizes_that_were_not_traced(name: str) -> None:
    """Whole trees: every shape, FLOP and byte of every operation."""
    config = getattr(transformers, f"{name}Config")(**ARCHITECTURES[name])
    with torch.device("meta"):
        model = getattr(transformers, f"{name}Model")(config).eval()

    def tracer(batch: int, length: int) -> Trace:
        ids = torch.empty(batch, length, dtype=torch.int64, device="meta")
        names = ("input_ids", "decoder_input_ids")[: 1 + (name in ("T5", "Bart"))]
        return trace_module(model, (), dict.fromkeys(names, ids))

    scaled = scale(tracer, range(1, 33), range(2, 257))
    chance = random.Random(name)
    for batch, length in (
        (1, 200),
        (2, 128),
        *((chance.randint(2, 32), chance.randint(16, 256)) for _ in range(2)),
    ):
        assert scaled.at(batch, length) == tracer(batch, length)
