"""Values of one real run on random weights, for a model that asks for values nobody knows.

Weights and inputs get values that look like those of a new model. What the model asks for is
computed from these on the CPU: that part of the forward pass alone, tensor by tensor, while all
of it is small (`KnownValues.begin_trial`). Costs stay those of meta tensors, for any device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from irene.worker.meta.parts import ModelParts
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch

ASSUMED = "values of one real run on random weights"

_SEED = 0


def guess_values(
    parts: ModelParts, args: tuple[object, ...], kwargs: Mapping[str, object], values: KnownValues
) -> None:
    """Weights and inputs without values get some, which are made where they are needed."""
    import torch
    from torch.nn.parameter import is_lazy
    from torch.utils import _pytree

    torch.default_generator.manual_seed(_SEED)
    for number, (name, weight) in enumerate(_weights(parts)):
        if weight.is_meta and not is_lazy(weight):
            values.guess(weight, weight_values, tuple(weight.shape), weight.dtype, name, number)
    for number, given in enumerate(_pytree.tree_leaves((args, dict(kwargs)))):
        if isinstance(given, torch.Tensor) and given.is_meta:
            values.guess(given, input_values, tuple(given.shape), given.dtype, number)


def _weights(parts: ModelParts) -> list[tuple[str, torch.Tensor]]:
    return [
        (name, weight)
        for container in parts.containers
        for name, weight in container.items()
        if weight is not None
    ]


def weight_values(
    shape: tuple[int, ...], dtype: torch.dtype, name: str, number: int
) -> torch.Tensor:
    """(n, m, ...): as spread as `nn.Linear` begins. (n,): scales are 1, biases 0. Integers are 0."""
    import torch

    values = input_values(shape, dtype, number)
    if not dtype.is_floating_point and not dtype.is_complex:
        return values
    if len(shape) < 2:
        return torch.full_like(values, 0 if "bias" in name or "mean" in name else 1)
    return values / math.sqrt(3 * math.prod(shape[1:]) or 1)


def input_values(shape: tuple[int, ...], dtype: torch.dtype, number: int) -> torch.Tensor:
    """Normally distributed; true where they are booleans; the first of a vocabulary."""
    import torch

    if not dtype.is_floating_point and not dtype.is_complex:
        return torch.full(shape, int(dtype is torch.bool), dtype=dtype)
    generator = torch.Generator().manual_seed(_SEED + number)
    return torch.randn(shape, generator=generator).to(dtype)
