"""What is noted on an operation that ran: its costs, what they assume, or that it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from irene.worker import ops
from irene.worker.meta import Operator, Weights, tensors_in
from irene.worker.ops.costs import Cost

if TYPE_CHECKING:
    import torch

_LARGEST_POOL = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Note:
    """What one operation costs; equal notes are one object, and so are equal costs."""

    costs: tuple[Cost, ...]
    assumption: str | None
    unpriced: tuple[str, str] | None  # the operation, and why it has no price

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return interned, (self.costs, self.assumption, self.unpriced)


_pool: dict[object, Note] = {}
_costs: dict[Cost, Cost] = {}


def note_of(
    operator: Operator,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    result: object,
    guessed: str | None,
    weights: Weights,
) -> Note | None:
    """None where nothing is issued: views, and what gives no tensor."""
    name = operator.name
    if name in ops.FREE:
        return None
    if guessed is not None and not ops.is_known(name):
        return interned((), None, (name, guessed))
    if not all(map(_is_strided, (*tensors_in(args, kwargs), *tensors_in((result,), {})))):
        return interned((), None, (name, "sparse and quantised tensors have no price"))
    costs = ops.cost_of(weights.call_of(operator, args, kwargs, result))
    if not costs:
        return None
    if "::" in name and not ops.is_known(name):
        return interned((), None, (name, "it is none of torch's own operations"))
    return interned(costs, ops.ASSUMED.get(name), None)


def is_full() -> bool:
    """Whether more notes are kept than is good."""
    return len(_pool) >= _LARGEST_POOL


def forget() -> None:
    """Keep no note; equal ones of before and after are not one."""
    _pool.clear()
    _costs.clear()


def interned(
    costs: tuple[Cost, ...], assumption: str | None, unpriced: tuple[str, str] | None
) -> Note:
    """The one note with these parts."""
    costs = tuple(_costs.setdefault(it, it) for it in costs)
    return _pool.setdefault((costs, assumption, unpriced), Note(costs, assumption, unpriced))


def _is_strided(tensor: torch.Tensor) -> bool:
    import torch

    return tensor.layout is torch.strided and not tensor.is_quantized
