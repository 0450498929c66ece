"""A small model whose trace uses most of what others use: it warms a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irene.tree import Trace
from irene.worker.building import construct
from irene.worker.frames import UserCode
from irene.worker.tracing.tracing import trace_module

if TYPE_CHECKING:
    import torch

_WIDTH, _LENGTH, _N_HEADS = 8, 4, 2


def trace_sample() -> Trace:
    """Build and trace it.

    Torch then has loaded what it loads with a first pass on meta, modules of the standard
    library among it whose names a user's file may have, such as `profile`: they must be loaded
    before the user's folder is looked at. In a forked child the pages that every trace writes to
    are its own after it.
    """
    import torch

    model = construct(_sample, None, UserCode("", None), on_meta=True).model
    return trace_module(model, (torch.zeros(1, _LENGTH, dtype=torch.int64, device="meta"),))


def _sample() -> torch.nn.Module:
    import torch
    from torch import nn
    from torch.nn import functional

    class Sample(nn.Module):
        """One block of a Transformer, attention fused and written out."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(_WIDTH, _WIDTH)
            self.norm = nn.LayerNorm(_WIDTH)
            self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
            self.mlp = nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.GELU(), nn.Dropout(0.1))
            self.blocks = nn.ModuleList(nn.Linear(_WIDTH, _WIDTH) for _ in range(2))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.tokens(ids)
            batch, length, width = x.shape
            heads = self.qkv(self.norm(x)).view(batch, length, 3, _N_HEADS, width // _N_HEADS)
            query, key, value = heads.permute(2, 0, 3, 1, 4)
            fused = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            scores = query @ key.transpose(-2, -1) / width**0.5
            written = scores.masked_fill(scores > 0, 0.0).softmax(dim=-1) @ value
            x = x + (fused + written).transpose(1, 2).reshape(batch, length, width)
            for block in self.blocks:
                x = block(x)
            return torch.cat([x, self.mlp(x)], dim=-1)

    return Sample()
