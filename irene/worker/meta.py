"""Runs torch operations on meta tensors, whatever device the code asks for.

Below everything that a model does lies one dispatch mode. It keeps tensors on meta, answers
questions about values that are known, and tells an observer what a device would run.

It wants `torch.inference_mode()` around it: there composite operations arrive whole, so that
attention, linear and recurrent layers are seen as the kernels that a device runs, not as what
meta decomposes them into.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Protocol, cast

from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

Arguments = tuple[tuple[object, ...], dict[str, object]]


class Observer(Protocol):
    """Who wants to know what a device would run."""

    def executed(
        self,
        operator: Operator,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result: object,
    ) -> None:
        """An operation gave `result`."""

    def replaced(self, original: torch.Tensor, meta: torch.Tensor) -> None:
        """`meta` stands for a parameter or buffer that has memory."""

    def guessed(self, operator: Operator, reason: str) -> None:
        """An operation without a shape rule went on with shapes from a run on zeros."""

    def failed(
        self, operator: Operator, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """An operation refused its arguments; the error follows."""


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


@dataclass(frozen=True, slots=True)
class Operator:
    """What is asked of each torch operator, looked up once."""

    name: str  # without overload: "addmm"; "library::name" where it is not torch's own
    is_composite: bool
    is_mutable: bool
    written: tuple[int, ...]  # positions of the arguments that it writes to
    makes_tensor: bool  # from no tensor, on a device that it is given


def stay_on_meta(values: KnownValues, observer: Observer | None = None) -> TorchDispatchMode:
    """The mode as a context manager; `observer` sees each operation after it ran."""
    return _mode_class()(_Meta(values, observer))


def to_meta(value: object, values: KnownValues | None = None) -> object:
    """Tensors in `value`, also nested, as meta tensors; small integers stay known."""
    import torch
    from torch.utils import _pytree

    def convert(leaf: object) -> object:
        if not isinstance(leaf, torch.Tensor) or leaf.is_meta:
            return leaf
        meta = meta_copy(leaf)
        if values is not None and not leaf.is_floating_point() and leaf.device.type == "cpu":
            values.remember(meta, leaf.detach().clone())
        return meta

    return _pytree.tree_map(convert, value)


def meta_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Shape, strides and dtype of `tensor`, without its values and without memory."""
    import torch

    if tensor.layout != torch.strided or type(tensor) not in _plain_types():
        return tensor.detach().to("meta")
    return torch.empty_strided(
        tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta", requires_grad=False
    )


@cache
def _plain_types() -> tuple[type, ...]:
    import torch

    return (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


@cache
def _mode_class() -> Callable[[_Meta], TorchDispatchMode]:
    from torch.utils._python_dispatch import TorchDispatchMode

    class StayOnMeta(TorchDispatchMode):
        def __init__(self, meta: _Meta) -> None:
            super().__init__()  # type: ignore[no-untyped-call] # of torch
            self._meta = meta

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            # Torch's answer is yes, which imports its compiler (over a second) at first use.
            return False

        def __torch_dispatch__(
            self,
            func: torch._ops.OpOverload,
            _types: object,
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            return self._meta.dispatch(self, func, args, kwargs or {})

    return StayOnMeta


# Composite operations that a device runs as one kernel.
_WHOLE = frozenset(
    {"linear", "scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu"}
)
_QUESTIONS = frozenset({"item", "is_nonzero", "_local_scalar_dense", "equal"})
_SHAPED_BY_VALUES = frozenset(
    [
        "nonzero",
        "nonzero_static",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "masked_select",
        "bincount",
        "histc",
        "unique_dim_consecutive",
        "repeat_interleave",
    ]
)
_CONSTANTS = frozenset(
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
_CONSTANTS_OF_SHAPE = frozenset(
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
_RANDOM = ("rand", "normal", "uniform", "bernoulli", "multinomial", "dropout", "exponential",
           "empty", "poisson", "cauchy", "geometric")  # fmt: skip
_LARGEST_REAL = 1 << 20  # elements; larger real constants are on meta alone
_LARGEST_ZEROS_BYTES = 1 << 26


class _Meta:
    """What the mode does, in the order in which it is tried."""

    def __init__(self, values: KnownValues, observer: Observer | None) -> None:
        self._values = values
        self._observer = observer
        self._twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def dispatch(
        self,
        mode: TorchDispatchMode,
        func: torch._ops.OpOverload,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        operator = operator_of(func)
        if operator.name in _QUESTIONS:
            return self._answer(operator, func, args)
        if operator.name == "dropout" and not args[2]:
            return args[0]
        if operator.is_composite and operator.name not in _WHOLE:
            with mode:
                return _decompose(func, args, kwargs)
        tensors = tensors_in(args, kwargs)
        try:
            result = self._run(operator, func, (args, kwargs), tensors)
        except Exception:
            if self._observer is not None:
                self._observer.failed(operator, args, kwargs)
            raise
        if self._observer is not None:
            self._observer.executed(operator, args, kwargs, result)
        return result

    def _run(
        self,
        operator: Operator,
        func: torch._ops.OpOverload,
        call: Arguments,
        tensors: list[torch.Tensor],
    ) -> object:
        args, kwargs = call
        if operator.name in _SHAPED_BY_VALUES or _has_mask_index(operator, args):
            return self._run_on_values(operator, func, call, tensors)
        if not tensors and operator.makes_tensor and _device_type(kwargs) in (None, "cpu"):
            return _make_constant(func, args, kwargs)
        if tensors and not any(it.is_meta for it in tensors) and self._is_small(tensors):
            return _run_for_real(func, args, kwargs)
        if operator.name == "_to_copy" and _device_type(kwargs) == "cpu":
            known = self._values.of(tensors[0])
            if known is not None:
                return func(known, **kwargs)
        meta_call = self._on_meta(call, has_tensors=bool(tensors))
        result = self._run_on_meta(operator, func, meta_call)
        self._keep_values(operator, func, (args, kwargs), tensors, result)
        return self._with_originals(result)

    def _is_small(self, tensors: list[torch.Tensor]) -> bool:
        return all(
            it.numel() <= _LARGEST_REAL and self._values.of(it) is not None for it in tensors
        )

    def _run_on_meta(
        self, operator: Operator, func: torch._ops.OpOverload, call: Arguments
    ) -> object:
        args, kwargs = call
        whole = _WHOLE_ON_META.get(operator.name)
        if whole is not None:
            return whole(func, args, kwargs)
        try:
            return func(*args, **kwargs)
        except NotImplementedError as err:
            if isinstance(err, ValueQuestion):
                raise
            result = _run_on_zeros(operator, func, call, err)
            if self._observer is not None:
                self._observer.guessed(operator, "it has no shape rule for meta tensors")
            return result

    def _on_meta(self, call: Arguments, *, has_tensors: bool) -> Arguments:
        """The same arguments with every tensor, and a device that is asked for, on meta."""
        args, kwargs = call
        args = tuple(self._twin(it) for it in args)
        if kwargs:
            kwargs = {name: self._twin(it) for name, it in kwargs.items()}
            if kwargs.get("device") is not None and (has_tensors or _device_type(kwargs) != "cpu"):
                kwargs["device"] = _meta_device()
        return args, kwargs

    def _twin(self, value: object) -> object:
        import torch

        if isinstance(value, torch.Tensor):
            if value.is_meta:
                return value
            if id(value) not in self._twins:
                self._twins[id(value)] = (value, meta_copy(value))
            return self._twins[id(value)][1]
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self._twin(it) for it in value)
        if isinstance(value, torch.device) and value.type != "cpu":
            return _meta_device()
        return value

    def _with_originals(self, result: object) -> object:
        """An operation in place returns the tensor that it was given, not our twin of it."""
        if not self._twins:
            return result
        for original, twin in self._twins.values():
            if twin is result:
                return original
        return result

    def _keep_values(
        self,
        operator: Operator,
        func: torch._ops.OpOverload,
        call: Arguments,
        tensors: list[torch.Tensor],
        result: object,
    ) -> None:
        """Compute for real what follows from constants; forget what was overwritten."""
        import torch

        args, kwargs = call
        real = [self._values.of(it) for it in tensors] if tensors else []
        known = all(it is not None for it in real) if tensors else operator.name in _CONSTANTS
        known = known or (operator.name in _CONSTANTS_OF_SHAPE and not operator.is_mutable)
        if not known or any(part in operator.name for part in _RANDOM):
            for position in operator.written:
                written = args[position] if position < len(args) else None
                if isinstance(written, torch.Tensor):
                    self._values.forget(written)
            return
        if not isinstance(result, torch.Tensor) or result.numel() > _LARGEST_REAL:
            return
        if operator.is_mutable and result is args[0]:
            func(*self._real_arguments(args), **self._real_keywords(kwargs))
            return
        value = func(*self._real_arguments(args), **self._real_keywords(kwargs))
        if result.is_meta:
            self._values.remember(result, value)

    def _run_on_values(
        self,
        operator: Operator,
        func: torch._ops.OpOverload,
        call: Arguments,
        tensors: list[torch.Tensor],
    ) -> object:
        """Operations whose output's shape is in the values: exact where these are known."""
        import torch

        args, kwargs = call
        if operator.name == "index":
            args = self._mask_as_numbers(args)
            meta_args, meta_kwargs = self._on_meta((args, kwargs), has_tensors=True)
            return func(*meta_args, **meta_kwargs)
        if any(self._values.of(it) is None for it in tensors):
            raise ValueQuestion(operator.name)
        value = func(*self._real_arguments(args), **self._real_keywords(kwargs))
        if not any(it.is_meta for it in tensors):
            return value
        result = to_meta(value)
        if isinstance(result, torch.Tensor) and isinstance(value, torch.Tensor):
            self._values.remember(result, value)
        return result

    def _mask_as_numbers(self, args: tuple[object, ...]) -> tuple[object, ...]:
        """`x[mask]` as `x[i, j]`, which has a shape without the values of x."""
        import torch

        indices: list[object] = []
        for index in args[1]:  # type: ignore[attr-defined] # index(x, indices)
            if isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8):
                known = self._values.of(index)
                if known is None:
                    raise ValueQuestion("a mask as an index (x[mask])")
                indices += list(known.nonzero(as_tuple=True))
            else:
                indices.append(index)
        return args[0], indices, *args[2:]

    def _answer(
        self, operator: Operator, func: torch._ops.OpOverload, args: tuple[object, ...]
    ) -> object:
        if any(self._values.of(it) is None for it in tensors_in(args, {})):
            raise ValueQuestion(_AS_WRITTEN.get(operator.name, operator.name))
        return func(*self._real_arguments(args))

    def _real_arguments(self, args: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(self._real(it) for it in args)

    def _real_keywords(self, kwargs: Mapping[str, object]) -> dict[str, object]:
        real = {name: self._real(it) for name, it in kwargs.items()}
        if real.get("device") is not None:
            real["device"] = "cpu"
        return real

    def _real(self, value: object) -> object:
        import torch

        if isinstance(value, torch.Tensor):
            known = self._values.of(value)
            return torch.zeros(value.shape, dtype=value.dtype) if known is None else known
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            return type(value)(self._real(it) for it in value)
        return value


_AS_WRITTEN = {
    "item": ".item()",
    "_local_scalar_dense": ".item()",
    "is_nonzero": "the truth of a tensor (if, and, or, not, bool)",
    "equal": "torch.equal",
}


def _run_for_real(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """Small tensors on the CPU stay real: a model may ask for their values."""
    if _device_type(kwargs) not in (None, "cpu"):
        kwargs = {**kwargs, "device": _meta_device()}
    return func(*args, **kwargs)


def _make_constant(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """A new tensor on the CPU is real where it is small."""
    import torch

    made = func(*args, **{**kwargs, "device": _meta_device()})
    if isinstance(made, torch.Tensor) and made.numel() > _LARGEST_REAL:
        return made
    return func(*args, **kwargs)


@cache
def operator_of(func: torch._ops.OpOverload) -> Operator:
    """The facts about a torch operator that do not depend on a call."""
    import torch

    arguments, name = func._schema.arguments, func._overloadpacket.__name__
    return Operator(
        name=name if func.namespace == "aten" else f"{func.namespace}::{name}",
        is_composite=torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), "CompositeImplicitAutograd"
        ),
        is_mutable=func._schema.is_mutable,
        written=tuple(
            i
            for i, it in enumerate(arguments)
            if it.alias_info is not None and it.alias_info.is_write
        ),
        makes_tensor=any(it.name == "device" for it in arguments),
    )


def tensors_in(args: tuple[object, ...], kwargs: Mapping[str, object]) -> list[torch.Tensor]:
    """All tensors among arguments, lists of tensors included, in order."""
    found: list[torch.Tensor] = []
    _collect(args, found)
    if kwargs:
        _collect(tuple(kwargs.values()), found)
    return found


def _collect(values: tuple[object, ...] | list[object], found: list[torch.Tensor]) -> None:
    import torch

    tensor = torch.Tensor
    for value in values:
        if isinstance(value, tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            _collect(value, found)


def _decompose(
    func: torch._ops.OpOverload, args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """The operation in its parts, as C++ has them: torch's Python versions differ in places."""
    import torch

    return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)


def _device_type(kwargs: Mapping[str, object]) -> str | None:
    import torch

    device = kwargs.get("device")
    if device is None:
        return None
    return device.type if isinstance(device, torch.device) else str(device).split(":")[0]


@cache
def _meta_device() -> torch.device:
    import torch

    return torch.device("meta")


def _has_mask_index(operator: Operator, args: tuple[object, ...]) -> bool:
    import torch

    if operator.name != "index":
        return False
    return any(
        isinstance(it, torch.Tensor) and it.dtype in (torch.bool, torch.uint8)
        for it in args[1]  # type: ignore[attr-defined] # index(x, indices)
    )


def _run_on_zeros(
    operator: Operator, func: torch._ops.OpOverload, call: Arguments, error: Exception
) -> object:
    """The shapes of an operation without a meta kernel, from a small run on zeros."""
    import torch
    from torch.utils import _pytree

    def zeros(leaf: object) -> object:
        if isinstance(leaf, torch.Tensor):
            return torch.zeros(leaf.shape, dtype=leaf.dtype)
        return "cpu" if isinstance(leaf, torch.device) else leaf

    tensors = tensors_in(*call)
    if sum(it.numel() * it.element_size() for it in tensors) > _LARGEST_ZEROS_BYTES:
        raise NoMetaKernel(operator.name, "it has no shape rule") from error
    args, kwargs = _pytree.tree_map(zeros, call)
    try:
        return to_meta(func(*args, **kwargs))
    except (RuntimeError, NotImplementedError) as err:
        raise NoMetaKernel(operator.name, "it has no shape rule") from err


def _attention_on_meta(
    _func: object, args: tuple[object, ...], _kwargs: Mapping[str, object]
) -> object:
    """One fused kernel; as on devices its output lies in memory as (batch, sequence, heads, size)."""
    query, key, value = args[:3]
    _check_attention(query, key, value)  # type: ignore[arg-type] # the schema's tensors
    if query.dim() < 3:  # type: ignore[attr-defined] # a tensor
        return query.new_empty((*query.shape[:-1], value.shape[-1]))  # type: ignore[attr-defined] # a tensor
    *batch, heads, length, _ = query.shape  # type: ignore[attr-defined] # a tensor
    out = query.new_empty((*batch, length, heads, value.shape[-1]))  # type: ignore[attr-defined] # a tensor
    return out.transpose(-2, -3)


def _check_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        shapes = [tuple(it.shape) for it in (query, key, value)]
        raise RuntimeError(f"query, key and value do not fit each other: {shapes}")


def _recurrent_on_meta(
    func: torch._ops.OpOverload, args: tuple[object, ...], _kwargs: Mapping[str, object]
) -> object:
    """Shapes of an LSTM, GRU or plain recurrent layer, without its loop over time.

    Padded: (x, states, weights, has_biases, n_layers, dropout, train, bidirectional,
    batch_first); packed: (data, batch_sizes, states, weights, ...).
    """
    is_packed = func._overloadname == "data"
    states = args[2 if is_packed else 1]
    rest = args[5 if is_packed else 4 :]
    x, bidirectional = cast("torch.Tensor", args[0]), rest[3]
    finals = cast(
        "list[torch.Tensor]", list(states) if isinstance(states, (list, tuple)) else [states]
    )
    width = finals[0].shape[-1] * (2 if bidirectional else 1)
    output = x.new_empty((*x.shape[:-1], width))
    return (output, *(it.new_empty(it.shape) for it in finals))


_WHOLE_ON_META: dict[str, Callable[..., object]] = {
    "scaled_dot_product_attention": _attention_on_meta,
    "lstm": _recurrent_on_meta,
    "gru": _recurrent_on_meta,
    "rnn_tanh": _recurrent_on_meta,
    "rnn_relu": _recurrent_on_meta,
}


def run_on_meta(
    model: torch.nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    values: KnownValues,
    observer: Observer | None = None,
) -> object:
    """One forward pass of `model`, which may be real: its tensors are replaced meanwhile."""
    import torch

    replaced = _real_tensors(model)
    if observer is not None:
        for original, meta in replaced.values():
            observer.replaced(original, meta)
    stand_ins = {name: meta for name, (_, meta) in replaced.items()}
    with torch.inference_mode(), stay_on_meta(values, observer), _eagerly():
        if not stand_ins:
            return model(*args, **kwargs)
        return torch.func.functional_call(model, stand_ins, args, dict(kwargs), strict=False)


def _real_tensors(
    model: torch.nn.Module,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Parameters and buffers that have memory, each with its stand-in on meta."""
    stand_ins: dict[int, torch.Tensor] = {}
    found = {}
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if not tensor.is_meta:
            meta = stand_ins.setdefault(id(tensor), meta_copy(tensor))
            found[name] = (tensor, meta)
    return found


def _eagerly() -> AbstractContextManager[object]:
    """Compiled modules run as they were written."""
    import torch

    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return nullcontext() if set_stance is None else set_stance("force_eager")
