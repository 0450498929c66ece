"""Table: operation -> FLOPs, bytes and kernels of its shapes, and its primitive.

Pure arithmetic on metadata, without torch. The conventions:

- A multiply-add is 2 FLOP. Matrix products hold the FLOPs of the products alone; their
  bias stands beside them as an `elementwise` cost without a kernel of its own.
- Bytes are the compulsory traffic: each input tensor read once, each output written once.
  An expanded input (stride 0) is read as often as it is stored; a gather reads the rows
  that it returns.
- Views are free: they have no cost at all.
- FLOPs per element follow the code of IrEne (arXiv 2106.01199) where it has a number:
  softmax 5, layer norm 8, gelu 6, tanh 4, roots, powers and everything simple 1. Other
  transcendental functions count 4 as tanh does, compositions the sum of their parts.
- An operation that is not in the table is priced by the general rule: 1 FLOP per output
  element, bytes of its tensors, one kernel, primitive `other`.
"""

from __future__ import annotations

from collections.abc import Mapping

from irene.worker.ops.attention import ATTENTION_RULES
from irene.worker.ops.costs import Call, Cost, Operand, Rule
from irene.worker.ops.matrix import MATRIX_RULES
from irene.worker.ops.pointwise import POINTWISE_RULES, other
from irene.worker.ops.recurrent import RECURRENT_RULES
from irene.worker.ops.transforms import TRANSFORM_RULES
from irene.worker.ops.views import FREE

__all__ = ["ASSUMED", "FREE", "Call", "Cost", "Operand", "cost_of", "is_known"]

_RULES: dict[str, Rule] = {
    **POINTWISE_RULES,
    **TRANSFORM_RULES,
    **RECURRENT_RULES,
    **ATTENTION_RULES,
    **MATRIX_RULES,
}

_EVENLY = "tokens spread evenly over the experts"
ASSUMED: Mapping[str, str] = {
    "_grouped_mm": _EVENLY,
    "transformers::grouped_mm_fallback": _EVENLY,
}
"""What the price of an operation takes for granted about values."""


def cost_of(call: Call) -> tuple[Cost, ...]:
    """What one operation costs; empty for views and for what gives no tensor."""
    if call.name in FREE or not (call.outputs or call.name in _RULES):
        return ()
    return _RULES.get(_base_name(call.name), other)(call)


def is_known(name: str) -> bool:
    """Whether an operation has a rule by name, not the general rule alone."""
    return name in FREE or _base_name(name) in _RULES


def _base_name(name: str) -> str:
    """`add_` -> `add`: an operation in place costs what the other costs."""
    if name in _RULES or not name.endswith("_") or name.endswith("__"):
        return name
    return name[:-1]
