"""What is known of a torch operator before it runs: its name, and how it is to be run on meta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from irene.worker.meta.device_path import current_device_type
from irene.worker.meta.encoder import FUSED
from irene.worker.meta.tensors import tensors_in

if TYPE_CHECKING:
    import torch


class ValueQuestion(RuntimeError):  # noqa: N818 - a question is what it is
    """The model asks for a value that meta tensors do not have."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation} needs the values of a tensor")
        self.operation = operation


class NoMetaKernel(NotImplementedError):  # noqa: N818 - see above
    """An operation has no shape rule, and could not be run on zeros either."""

    def __init__(self, operation: str, reason: str) -> None:
        super().__init__(f"{operation} cannot run on meta tensors: {reason}")
        self.operation = operation


_ASKS_FOR_VALUES = (
    "meta tensor",
    "meta device",
    "data-dependent",
    "unallocated storage",
)


def asks_for_values(error: Exception) -> bool:
    """Whether an error comes from values that meta tensors do not have; torch says it in words."""
    if isinstance(error, ValueQuestion):
        return True
    is_torchs = isinstance(error, (RuntimeError, TypeError, NotImplementedError))
    return is_torchs and any(words in str(error) for words in _ASKS_FOR_VALUES)


def lacks_shape_rule(error: Exception) -> bool:
    """Whether an operator has nothing to run on meta tensors; torch has two ways to say so."""
    if isinstance(error, ValueQuestion):
        return False
    return isinstance(error, NotImplementedError) or "no fake impl registered" in str(error)


@dataclass(frozen=True, slots=True)
class Operator:
    """What is asked of each torch operator, looked up once."""

    name: str  # without overload: "addmm"; "library::name" where it is not torch's own
    is_composite: bool
    is_mutable: bool
    written: tuple[tuple[int, str], ...]  # position and name of arguments that it writes to
    outputs: frozenset[str]  # names of arguments that it writes to and does not read: `out=`
    makes_tensor: bool  # from no tensor, on a device that it is given

    def written_among(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> tuple[torch.Tensor, ...]:
        """The tensors that a call writes to: in place, or as `out=`."""
        if not self.written:
            return ()
        found = (args[i] if i < len(args) else kwargs.get(name) for i, name in self.written)
        return tuple(tensors_in(tuple(found), {}))


# Composite operations that a device runs as one kernel; the recurrent ones on a GPU alone.
WHOLE = frozenset({"linear", "_grouped_mm"})
WHOLE_ON_GPU = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})


def runs_whole(operator: Operator, args: tuple[object, ...]) -> bool:
    """Whether the device has one kernel for it, so that it is not taken apart."""
    if operator.name == "convolution":
        return current_device_type() == "cpu" or not _adds_bias(args)
    if operator.name in WHOLE:
        return True
    if not operator.is_composite:
        return operator.name not in FUSED
    return (
        operator.name in WHOLE_ON_GPU
        and current_device_type() == "cuda"
        and not _is_batch_first(args)
    )


def _is_batch_first(args: tuple[object, ...]) -> bool:
    """Whether a recurrent layer is padded and its batch comes before its time."""
    return len(args) == _N_PADDED and bool(args[-1])


_N_PADDED = 9  # arguments of a padded recurrent layer, as torch.nn gives them


def _adds_bias(args: tuple[object, ...]) -> bool:
    """Whether a GPU adds the bias of a convolution afterwards: not in its own depthwise kernel."""
    x, weight, bias, groups = args[0], args[1], args[2], args[8]
    assert hasattr(x, "shape")
    assert hasattr(weight, "shape")
    is_depthwise = len(x.shape) == 4 and weight.shape[1] == 1 and groups == x.shape[1] > 1
    return bias is not None and not (is_depthwise and not args[6])


QUESTIONS = frozenset({"item", "is_nonzero", "_local_scalar_dense", "equal"})


SHAPED_BY_VALUES = frozenset(
    [
        "nonzero",
        "nonzero_static",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "masked_select",
        "bincount",
        "unique_dim_consecutive",
        "repeat_interleave",
        "_pack_padded_sequence",
    ]
)


CONSTANTS = frozenset(
    [
        "arange",
        "zeros",
        "ones",
        "full",
        "eye",
        "linspace",
        "scalar_tensor",
        "tril_indices",
        "triu_indices",
    ]
)


CONSTANTS_OF_SHAPE = frozenset(
    [
        "zeros_like",
        "ones_like",
        "full_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "zero_",
        "fill_",
        "zero",
        "fill",
    ]
)


FILLING = frozenset({"uniform_", "normal_", "exponential_", "random_", "zero_", "fill_"})


UNWRITTEN = frozenset(["empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"])


RANDOM = ("rand", "normal", "uniform", "bernoulli", "multinomial", "dropout", "exponential",
           "poisson", "cauchy", "geometric")  # fmt: skip


@cache
def operator_of(func: torch._ops.OpOverload) -> Operator:
    """The facts about a torch operator that do not depend on a call."""
    import torch

    arguments, name = func._schema.arguments, func._overloadpacket.__name__
    return Operator(
        name=name if func.namespace == "aten" else f"{func.namespace}::{name}",
        # A primitive of TorchScript (prim::layout) is no operator of the dispatcher.
        is_composite=func.namespace != "prim"
        and torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), "CompositeImplicitAutograd"
        ),
        is_mutable=func._schema.is_mutable,
        written=tuple(
            (i, it.name)
            for i, it in enumerate(arguments)
            if it.alias_info is not None and it.alias_info.is_write
        ),
        outputs=frozenset(it.name for it in arguments if it.is_out),
        makes_tensor=any(it.name == "device" for it in arguments),
    )
