"""Layers of torch that are more than their function: a call of one is not always the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from traps.table import trap

WIDTH = 8


class _Layer(nn.Module):
    """One layer, called twice as it is before a trap changes it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def twice(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


@trap()
class HookedLayer(_Layer):
    """A hook that computes, on for a while."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        handle = self.layer.register_forward_hook(lambda _module, _args, out: out.cos())
        x = self.twice(x)
        handle.remove()
        return self.twice(x)


@trap()
class HookedBefore(_Layer):
    """A hook on the input."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        handle = self.layer.register_forward_pre_hook(lambda _module, args: (args[0].sin(),))
        x = self.twice(x)
        handle.remove()
        return self.twice(x)


@trap()
class HookedEverywhere(_Layer):
    """A hook on all modules there are."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        register = nn.modules.module.register_module_forward_hook

        def on_linear(module: nn.Module, _args: object, out: Tensor) -> Tensor | None:
            return out.tanh() if isinstance(module, nn.Linear) else None

        handle = register(on_linear)  # type: ignore[arg-type] # None: as it was
        x = self.twice(x)
        handle.remove()
        return self.twice(x)


@trap()
class ForwardOfItsOwn(_Layer):
    """A forward on the instance."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        self.layer.forward = lambda given: given.exp()  # type: ignore[method-assign]
        x = self.twice(x)
        del self.layer.forward
        return self.twice(x)


@contextlib.contextmanager
def _exchanged(owner: object, name: str, new: Callable[..., object]) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, old)


@trap()
class ForwardOfTheClass(_Layer):
    """A forward that a library puts into torch's class."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        with _exchanged(nn.Linear, "forward", lambda _layer, given: given.exp()):
            x = self.twice(x)
        return self.twice(x)


@trap()
class FunctionOfTheLayer(_Layer):
    """Another function in the place of the one that forward calls."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        with _exchanged(functional, "linear", lambda given, weight, _bias: given @ weight):
            x = self.twice(x)
        return self.twice(x)


@trap()
class FunctionBelowIt(nn.Module):
    """The same one level deeper: `layer_norm` of `torch.nn.functional` calls that of `torch`."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        with _exchanged(torch, "layer_norm", lambda given, *_: given.abs()):
            x = self.norm(x)
        return self.norm(x)


class _DoublesLinear(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        return result * 2 if func is functional.linear else result


@trap()
class ModeAroundALayer(_Layer):
    """A function mode of the user's sees what the layer calls."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        with _DoublesLinear():
            x = self.twice(x)
        return self.twice(x)


@trap()
class WeightElsewhere(_Layer):
    """A weight that is a plain attribute, narrower than the parameter was."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        weight, bias = self.layer.weight, self.layer.bias
        del self.layer.weight, self.layer.bias
        self.layer.weight, self.layer.bias = weight[: WIDTH // 2], bias[: WIDTH // 2]  # type: ignore[assignment]
        x = self.layer(x)
        del self.layer.weight, self.layer.bias
        self.layer.weight, self.layer.bias = weight, bias
        return self.twice(torch.cat([x, x], dim=-1))


@trap()
class WithoutBias(_Layer):
    """The same layer with and without a bias."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        bias, self.layer.bias = self.layer.bias, None  # type: ignore[assignment]
        x = self.twice(x)
        self.layer.bias = bias
        return self.twice(x)


@trap()
class DropoutThatTrains(nn.Module):
    """Dropout is nothing in eval mode, and an operation in a layer that is set to train."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        same = self.dropout(x)
        self.dropout.train()
        other = self.dropout(same)
        self.dropout.eval()
        return self.dropout(other) + (1.0 if same is x else 0.0)


@trap()
class InPlaceOrNot(nn.Module):
    """A ReLU that writes to its input, then one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(x + 1)
        self.relu.inplace = True
        written = self.relu(out)
        self.relu.inplace = False
        return self.relu(written) * (2.0 if written is out else 3.0)
