"""The table of traps, and the inputs that most of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T", bound=nn.Module)
Inputs = Callable[[int], tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Trap:
    """A module, and its inputs for a batch of some size.

    `aside` names operations that stand in a tree or in a run alone, each with its reason.
    `wrong` says what is known to be wrong in the tree, until it is right.
    `has_memory` is true where a second forward pass of the same object does other things
    than the first, which a trace cannot undo.
    """

    name: str
    make_model: Callable[[], nn.Module]
    make_inputs: Inputs
    aside: Mapping[str, str]
    wrong: str
    has_memory: bool


TRAPS: dict[str, Trap] = {}


def rows(batch: int) -> tuple[object, ...]:
    """One float32 (batch, 8)."""
    return (torch.ones(batch, 8),)


def two(batch: int) -> tuple[object, ...]:
    """Two float32 (batch, 8) that are two tensors."""
    return torch.ones(batch, 8), torch.ones(batch, 8)


def sequences(batch: int) -> tuple[object, ...]:
    """One float32 (batch, 6, 8)."""
    return (torch.ones(batch, 6, 8),)


def images(batch: int) -> tuple[object, ...]:
    """One float32 (batch, 4, 8, 8)."""
    return (torch.ones(batch, 4, 8, 8),)


def numbers(batch: int) -> tuple[object, ...]:
    """One int64 (batch, 8)."""
    return (torch.arange(batch * 8).reshape(batch, 8),)


def trap(
    inputs: Inputs = rows,
    *,
    aside: Mapping[str, str] | None = None,
    wrong: str = "",
    has_memory: bool = False,
) -> Callable[[type[T]], type[T]]:
    """Put a class without arguments into the table, under its name."""

    def add(cls: type[T]) -> type[T]:
        assert cls.__name__ not in TRAPS
        TRAPS[cls.__name__] = Trap(cls.__name__, cls, inputs, aside or {}, wrong, has_memory)
        return cls

    return add


TO_THE_HOST = {"_to_copy": "a device copies to the host what is asked there"}


class Weighted(nn.Module):
    """Has a layer and a weight, both 8 to 8."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.weight = nn.Parameter(torch.ones(8, 8))
        self.register_buffer("table", torch.ones(8, 8))


def small_or_large(x: Tensor, is_large: bool) -> Tensor:
    """A product whose shape tells which of two answers the module got."""
    return x @ torch.zeros(8, 24 if is_large else 12, device=x.device)
