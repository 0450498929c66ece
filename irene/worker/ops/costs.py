"""The values that rules take and give: tensors as metadata, a call, and its costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from irene.tree import Primitive, Product

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor without its values.

    `n_bytes` is what the tensor occupies: dimensions of stride 0 count once. `identity` is the
    same for two operands that are the same memory, so that reading both is reading it once.
    """

    shape: Shape
    dtype: str
    itemsize: int
    n_bytes: int
    identity: int
    n_parameters: int  # elements of the parameter that this is, 0 for anything else
    is_weight: bool  # a parameter, a buffer, or computed from these alone

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Call:
    """One operation as issued: `args` and `kwargs` with operands in place of tensors."""

    name: str  # without its overload: "addmm"
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Operand, ...]  # all tensors of the arguments, in order
    outputs: tuple[Operand, ...]

    def argument(self, index: int, default: Any = None) -> Any:  # noqa: ANN401 - torch's arguments
        """A positional argument, or what it defaults to."""
        return self.args[index] if index < len(self.args) else default

    @property
    def n_outputs(self) -> int:
        """Elements of the first output."""
        return self.outputs[0].n_elements if self.outputs else 0

    @property
    def dtype(self) -> str:
        """Of the arithmetic: the first floating input, else the first output."""
        for operand in (*self.inputs, *self.outputs):
            if operand.dtype.startswith(("float", "bfloat", "complex")):
                return operand.dtype
        return next((it.dtype for it in (*self.outputs, *self.inputs)), "float32")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one primitive costs, and what of a call it is."""

    primitive: Primitive
    name: str
    dtype: str
    flops: int
    n_bytes: int
    n_kernels: int
    n_parameters: int
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    product: Product | None  # of a matrix product
    is_known: bool  # by a rule of its own, not the general one
    n_steps: int = 0  # of a recurrent layer: steps that wait for one another


Rule = Callable[[Call], tuple[Cost, ...]]


def traffic(call: Call) -> int:
    """Compulsory bytes: each distinct input read once, each output written once."""
    return read_bytes(call.inputs) + sum(it.n_bytes for it in call.outputs)


def read_bytes(operands: tuple[Operand, ...]) -> int:
    """Bytes of the distinct tensors among `operands`; of views of one place the largest."""
    if len(operands) == 1:
        return operands[0].n_bytes
    places: dict[int, int] = {}
    for operand in operands:
        places[operand.identity] = max(operand.n_bytes, places.get(operand.identity, 0))
    return sum(places.values())


def cost(  # noqa: PLR0913 - one row of the table
    call: Call,
    primitive: Primitive,
    flops: int,
    *,
    n_bytes: int | None = None,
    n_kernels: int = 1,
    name: str | None = None,
    inputs: tuple[Operand, ...] | None = None,
    product: Product | None = None,
    is_known: bool = True,
) -> Cost:
    """A cost of `call`; what is not given is that of the whole call."""
    operands = call.inputs if inputs is None else inputs
    return Cost(
        primitive=primitive,
        name=name or call.name,
        dtype=call.dtype,
        flops=flops,
        n_bytes=traffic(call) if n_bytes is None else n_bytes,
        n_kernels=n_kernels,
        n_parameters=sum({it.identity: it.n_parameters for it in operands}.values()),
        input_shapes=tuple(it.shape for it in operands),
        output_shapes=tuple(it.shape for it in call.outputs),
        product=product,
        is_known=is_known,
    )


def with_bias(call: Call, product: Cost, bias: Operand | None) -> tuple[Cost, ...]:
    """A matrix product, and beside it the bias that its kernel adds in passing."""
    if bias is None:
        return (product,)
    added = cost(
        call,
        "elementwise",
        call.n_outputs,
        n_bytes=bias.n_bytes,
        n_kernels=0,
        name="bias",
        inputs=(bias,),
    )
    return product, added
