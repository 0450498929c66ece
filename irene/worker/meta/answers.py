"""Values of meta tensors above the dispatcher: as lists, and of routers by convention.

`tolist()` reads memory before any dispatch mode sees it. A router chooses experts by values
that meta tensors lack; the choices that spread tokens evenly over the experts are as good as
any, and what follows from them (who gets which token, how many) is then known.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Protocol, cast

from irene.worker.meta.recall import Recall
from irene.worker.meta.trial import ASSUMED as ONE_RUN
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch

_EVEN = "tokens spread evenly over the experts"
_ROUTER = re.compile(r"router|gat(e|ing)|moe|expert|topk", re.IGNORECASE)
_NEAREST_FRAMES = 4
_LARGEST_CHOICE = 1 << 18  # elements
_LARGEST_LITERAL = 1 << 12


class Assuming(Protocol):
    """Who wants to know what was assumed."""

    def assumed(self, text: str) -> None:
        """A value was chosen by a convention."""


class Answers:
    """Calls of torch functions, where known values can be read and routers spread tokens."""

    def __init__(
        self, values: KnownValues, observer: Assuming | None, recall: Recall | None
    ) -> None:
        self._values = values
        self._observer = observer
        self._recall = recall
        self._reading, self._making, self._choosing = _functions()

    def function(
        self,
        func: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        """The result of a call of a torch function by Python code."""
        if func in self._reading:
            return self._read(func, args, kwargs)
        recall = self._recall
        result = func(*args, **kwargs) if recall is None else recall.function(func, args, kwargs)
        if func in self._making:
            self._keep_literal(func, args, kwargs, result)
        elif func in self._choosing and _is_router(sys._getframe(1)):
            self._spread(args, kwargs, result)
        return result

    def _read(
        self,
        func: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        tensor = cast("torch.Tensor", args[0])
        known = self._values.of(tensor)
        if known is not None and self._observer is not None and self._values.is_guessed(tensor):
            self._observer.assumed(ONE_RUN)
        return func(*args, **kwargs) if known is None else func(known, *args[1:], **kwargs)

    def _keep_literal(
        self,
        func: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        result: object,
    ) -> None:
        """What is written as numbers is known: `torch.tensor([[1, 16, 16]], device=...)`."""
        import torch

        made, data = cast("torch.Tensor", result), args[0] if args else kwargs.get("data")
        if not made.is_meta or isinstance(data, torch.Tensor) or made.numel() > _LARGEST_LITERAL:
            return
        try:
            kwargs = {name: it for name, it in kwargs.items() if name != "data"}
            with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
                real = func(self._as_numbers(data), *args[1:], **{**kwargs, "device": "cpu"})
        except (RuntimeError, TypeError, ValueError):  # numbers among it are meta tensors
            return
        self._values.remember(made, cast("torch.Tensor", real))

    def _as_numbers(self, data: object) -> object:
        """Lists in which known tensors on meta are numbers."""
        import torch

        if isinstance(data, torch.Tensor):
            known = self._values.of(data)
            return data if known is None else known.tolist()
        return [self._as_numbers(it) for it in data] if isinstance(data, (list, tuple)) else data

    def _spread(self, args: tuple[object, ...], kwargs: dict[str, object], result: object) -> None:
        import torch

        scores = cast("torch.Tensor", args[0] if args else kwargs.get("input"))
        parts = (
            (result,) if isinstance(result, torch.Tensor) else cast("tuple[object, ...]", result)
        )
        chosen = cast("torch.Tensor", parts[-1])
        is_choice = chosen.is_meta and chosen.dtype is torch.int64 and scores.dim() > 0
        if is_choice and chosen.numel() <= _LARGEST_CHOICE:
            self._values.remember(chosen, even_choice(tuple(chosen.shape), scores.shape[-1]))
            if self._observer is not None:
                self._observer.assumed(_EVEN)


@cache
def _functions() -> tuple[frozenset[Callable[..., object]], ...]:
    """Those that read values, that make tensors of numbers, that choose the largest."""
    import torch

    tensor = torch.Tensor
    return (
        frozenset((tensor.tolist, tensor.__format__)),
        frozenset((torch.tensor, torch.as_tensor, torch.asarray)),
        frozenset(
            (
                torch.topk,
                tensor.topk,
                torch.argmax,
                tensor.argmax,
                torch.max,
                tensor.max,
                torch.argsort,
                tensor.argsort,
            )
        ),
    )


def even_choice(shape: tuple[int, ...], n_experts: int) -> torch.Tensor:
    """One expert after another: each is chosen as often as the others, in a row at most once.

    `shape` is (tokens..., experts of each token) or (tokens...).
    """
    import torch

    n = 1
    for size in shape:
        n *= size
    with torch._C._DisableTorchDispatch():  # no operations of the model
        return (torch.arange(n) % max(1, n_experts)).reshape(shape)


def _is_router(frame: FrameType | None) -> bool:
    """Whether a class or function that routes tokens is asking."""
    for _ in range(_NEAREST_FRAMES):
        if frame is None:
            return False
        owner = type(frame.f_locals.get("self")).__name__
        if _ROUTER.search(owner) or _ROUTER.search(frame.f_code.co_name):
            return True
        frame = frame.f_back
    return False
