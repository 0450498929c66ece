"""The constructor call: on meta or for real, noting which line made each module."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING

from irene.tree import Assumption, Location
from irene.worker import advice
from irene.worker.frames import UserCode
from irene.worker.meta import accelerators_on_meta, asks_for_values, stay_on_meta
from irene.worker.refusals import Refused, describe, line_in, place_of, refuse
from irene.worker.values import KnownValues
from irene.worker.watching import watching_constructors

if TYPE_CHECKING:
    import torch

_LARGEST_REAL_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Constructed:
    """A module in eval mode, and what was learnt while it was made."""

    model: torch.nn.Module
    created_at: dict[torch.nn.Module, Location]
    values: KnownValues
    assumptions: tuple[Assumption, ...]


def construct(
    make: Callable[[], torch.nn.Module], dtype: str | None, user_code: UserCode, *, on_meta: bool
) -> Constructed:
    """Call `make`; on meta nothing is allocated, unless the constructor needs real values.

    Raises:
        Refused: the constructor raised.
    """
    if not on_meta:
        return _make(make, dtype, user_code, contextlib.nullcontext(), KnownValues())
    values = KnownValues()
    try:
        with _on_meta(), accelerators_on_meta(_without_filling):
            return _make(make, dtype, user_code, stay_on_meta(values), values)
    except _NeedsValuesError as err:
        return _make_small(make, dtype, user_code, err)


def _on_meta() -> contextlib.AbstractContextManager[object]:
    """As `torch.device("meta")`, but sequences of numbers stay real: constructors read them.

    `torch.tensor([])` has none: Transformers asks it for the device, and initialises nothing on
    meta.

    `[x.item() for x in torch.linspace(0, rate, depth)]`, `torch.arange(n).tolist()`.
    """
    import torch
    from torch.utils._device import DeviceContext

    real: frozenset[Callable[..., object]] = frozenset(
        (torch.arange, torch.linspace, torch.logspace, torch.tensor, torch.as_tensor)
    )

    empty: Callable[..., object] = torch.empty

    class OnMeta(DeviceContext):
        def __torch_function__(
            self,
            func: Callable[..., object],
            types: object,
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            if func in real and args[:1] != ([],):
                return func(*args, **(kwargs or {}))
            if func is empty and (not kwargs or kwargs.get("device") is None):
                with torch._C._DisableTorchDispatch():  # nothing to see there
                    return func(*args, **{**(kwargs or {}), "device": "meta"})
            return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call] # of torch

    mode: contextlib.AbstractContextManager[object] = OnMeta(torch.device("meta"))
    return mode


def _without_filling(
    func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """The layers of torch fill new weights with random numbers, which meta tensors do not hold.

    What other code asks for runs, as it may be wrong.
    """
    if func in _random_fillings():
        asking = sys._getframe(4)  # past two modes' ways and the function: who calls it
        tensor = args[0] if args else kwargs.get("tensor")
        name = str(asking.f_globals.get("__name__", ""))
        if name.startswith("torch.nn.modules.") and getattr(tensor, "is_meta", False):
            return tensor
    return func(*args, **kwargs)


@cache
def _random_fillings() -> frozenset[Callable[..., object]]:
    from torch.nn import init

    return frozenset((init.kaiming_uniform_, init.uniform_, init.normal_))


class _NeedsValuesError(Exception):
    """The constructor asks for values that meta tensors do not have."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


def _make(
    make: Callable[[], torch.nn.Module],
    dtype: str | None,
    user_code: UserCode,
    mode: contextlib.AbstractContextManager[object],
    values: KnownValues,
) -> Constructed:
    created: dict[torch.nn.Module, Location] = {}
    try:
        with mode, _default_dtype(dtype), _noting_creation(created, user_code):
            model = make().eval()
            if dtype is not None:
                model = model.to(dtype_named(dtype))
    except (Refused, MemoryError):
        raise
    except Exception as err:
        refused = _constructor_raised(err, user_code)
        if asks_for_values(err):
            raise _NeedsValuesError(refused) from err
        raise refused from err
    return Constructed(model, created, values, ())


def _make_small(
    make: Callable[[], torch.nn.Module],
    dtype: str | None,
    user_code: UserCode,
    reason: _NeedsValuesError,
) -> Constructed:
    """The same with real memory, up to a limit."""
    try:
        made = _make(make, dtype, user_code, _allocation_limit(), KnownValues())
    except (_TooLargeError, _NeedsValuesError):
        raise reason.refused from reason
    text = "built with real memory, as the constructor asks for values of tensors"
    return replace(made, assumptions=(Assumption(text, None),))


class _TooLargeError(MemoryError):
    """The real memory of a model went over the limit for an estimate."""


def _allocation_limit() -> contextlib.AbstractContextManager[object]:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Limit(TorchDispatchMode):
        n_bytes = 0

        def __torch_dispatch__(
            self,
            func: torch._ops.OpOverload,
            _types: object,
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            result = func(*args, **(kwargs or {}))
            self.n_bytes += _new_bytes(result, (args, kwargs))
            if self.n_bytes > _LARGEST_REAL_BYTES:
                raise _TooLargeError
            return result

    limit: contextlib.AbstractContextManager[object] = Limit()  # type: ignore[no-untyped-call] # of torch
    return limit


def _new_bytes(result: object, arguments: object) -> int:
    """Memory of the tensors in `result` that is not that of an argument."""
    import torch
    from torch.utils._pytree import tree_leaves

    def tensors(of: object) -> list[torch.Tensor]:
        return [it for it in tree_leaves(of) if isinstance(it, torch.Tensor)]

    def is_new(tensor: torch.Tensor) -> bool:
        return not any(
            torch._C._is_alias_of(tensor, it)  # type: ignore[attr-defined] # not in torch's stubs
            for it in tensors(arguments)
        )

    return sum(it.numel() * it.element_size() for it in tensors(result) if is_new(it))


@contextlib.contextmanager
def _default_dtype(dtype: str | None) -> Iterator[None]:
    import torch

    if dtype is None:
        yield
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype_named(dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def dtype_named(name: str) -> torch.dtype:
    """The floating dtype of that name.

    Raises:
        Refused: there is none, or parameters cannot have it.
    """
    import torch

    dtype = getattr(torch, name, None)
    if name not in ("float64", "float32", "float16", "bfloat16") or dtype is None:
        raise refuse(
            "arguments",
            f"A model cannot be built with dtype {name!r}.",
            advice="Use float32, float16, bfloat16 or float64.",
        )
    assert isinstance(dtype, torch.dtype)
    return dtype


@contextlib.contextmanager
def _noting_creation(
    created: dict[torch.nn.Module, Location], user_code: UserCode
) -> Iterator[None]:
    """Note for each module the innermost line of the user's code that called its constructor."""

    def watch(
        original: Callable[..., object],
        module: torch.nn.Module,
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> None:
        original(module, *args, **kwargs)
        at = user_code.location(_outside_constructors(module, sys._getframe(2)))
        if at is not None:
            created[module] = at

    with watching_constructors(watch):
        yield


def _outside_constructors(module: object, frame: FrameType | None) -> FrameType | None:
    """The frame that called the constructor of `module`: past its own chain of `__init__`."""
    caller = frame
    while frame is not None:
        code = frame.f_code
        is_own = bool(code.co_argcount) and frame.f_locals.get(code.co_varnames[0]) is module
        if is_own:
            caller = frame.f_back
        elif code.co_name not in _WRAPPERS:
            break
        frame = frame.f_back
    return caller


# Names of functions that decorate constructors in common libraries.
_WRAPPERS = frozenset({"wrapper", "wrapped", "inner", "wrapped_init", "_wrapped", "__call__"})


def _constructor_raised(error: Exception, user_code: UserCode) -> Refused:
    path = user_code.document
    if isinstance(error, ImportError):
        return refuse(
            "missing-import",
            f"Building the model fails at an import: {describe(error)}{place_of(error, path)}",
            line=line_in(error, path),
            advice=f"Install what is missing for {sys.executable}, or select another interpreter.",
        )
    return refuse(
        "constructor",
        f"Building the model raised {describe(error)}{place_of(error, path)}",
        line=line_in(error, path),
        advice=advice.correct("the constructor", path, "other arguments"),
    )
