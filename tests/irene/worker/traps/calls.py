"""How modules are called: hooks, patches, parametrizations, scripts, other names, other ways."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as module_hooks
from torch.nn.utils import parametrizations, parametrize

from traps.identity import LAYOUT
from traps.table import Weighted, rows, sequences, small_or_large, trap


@trap()
class HooksThatCompute(Weighted):
    """Hooks before and after one of two equal layers change what goes in and comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.hooked, self.plain = nn.Linear(8, 8), nn.Linear(8, 8)
        self.hooked.register_forward_pre_hook(lambda _, args: (args[0] * 2,))
        self.hooked.register_forward_hook(lambda _, args, output: output @ self.weight + args[0])
        self.hooked.register_forward_hook(
            lambda _, args, kwargs, output: output - 1, with_kwargs=True
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(self.hooked(self.plain(x)))


@trap()
class HooksThatComeAndGo(Weighted):
    """A hook is there for one of three calls of one layer."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.fc(x)]
        handle = self.fc.register_forward_hook(lambda _module, _args, output: output.relu())
        found.append(self.fc(x))
        handle.remove()
        return [*found, self.fc(x)]


@trap()
class GlobalHooks(Weighted):
    """A hook on every module, for a while."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.fc(x)]
        before = module_hooks.register_module_forward_pre_hook(lambda _m, args: (args[0] * 2,))
        after = module_hooks.register_module_forward_hook(lambda _m, _args, output: output + 1)
        try:
            found.append(self.fc(x))
        finally:
            before.remove()
            after.remove()
        return [*found, self.fc(x)]


@trap()
class ForwardOfTheInstance(Weighted):
    """`forward` is patched on one of two layers, and in the midst of a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.patched = nn.Linear(8, 8)
        self.patched.forward = lambda x: functional.linear(x, self.patched.weight) * 2  # type: ignore[method-assign] # the trap

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.patched(x), self.fc(x)]
        original = self.fc.forward
        self.fc.forward = types.MethodType(lambda layer, x: x @ layer.weight, self.fc)  # type: ignore[method-assign] # the trap
        found.append(self.fc(x))
        self.fc.forward = original  # type: ignore[method-assign] # as it was
        return [*found, self.fc(x)]


@trap()
class PatchedFunctions(Weighted):
    """A function of torch is another one for a while."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [functional.relu(x), functional.gelu(x)]
        original = functional.relu
        functional.relu = functional.gelu
        try:
            found.append(functional.relu(x))
        finally:
            functional.relu = original
        return [*found, functional.relu(x)]


@trap()
class InLoopsAndUnderTwoNames(Weighted):
    """One layer under two names, in a loop, with another shape each time."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.fc
        self.stack = nn.Sequential(self.fc, nn.ReLU(), self.fc)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.again(self.fc(x))
            x = torch.cat([x, x[:1]])
        return self.stack(x)


@trap()
class Recursion(Weighted):
    """Calls itself, and takes from each depth another width."""

    def forward(self, x: Tensor, depth: int = 3) -> Tensor:
        return x * depth if depth == 0 else self.fc(self(x, depth - 1)) + x[:, :1] * depth


@trap()
class NotCalledButUsed(Weighted):
    """A layer's `forward` and weight are used without calling it."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.fc.forward(x), functional.linear(x, self.fc.weight, self.fc.bias), self.fc(x)]


@trap()
class Parametrized(nn.Module):
    """The weight is computed at each access, but once within `cached`."""

    class Symmetric(nn.Module):
        """A weight made symmetric."""

        def forward(self, weight: Tensor) -> Tensor:
            return weight.triu() + weight.triu(1).T

    def __init__(self) -> None:
        super().__init__()
        self.symmetric = parametrize.register_parametrization(
            nn.Linear(8, 8), "weight", self.Symmetric()
        )
        self.normed = parametrizations.weight_norm(nn.Linear(8, 8))
        self.spectral = parametrizations.spectral_norm(nn.Linear(8, 8))
        self.plain = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [it(x) for it in (self.symmetric, self.normed, self.spectral, self.plain)]
        with parametrize.cached():
            found += [self.symmetric(x), self.symmetric(x)]
        return [*found, self.symmetric(x)]


@trap()
class NormedByHooks(nn.Module):
    """The older way to compute weights: hooks that run before each call."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.layer = nn.utils.weight_norm(nn.Linear(8, 8))
            self.other = nn.utils.spectral_norm(nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.layer(x))


class Scripted(nn.Module):
    """Compiled by TorchScript below; loops and branches are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor, n: int) -> Tensor:
        for _ in range(n):
            x = self.fc(x) * 2 + 1
        if x.size(0) > 1:
            x = torch.relu(x)
        return x


@trap()
class Script(Weighted):
    """A scripted layer optimises itself after some calls; a scripted function has no object."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.layer = torch.jit.script(Scripted())
            self.function = torch.jit.script(gated)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.layer(x, 1),
            self.layer(x, 3),
            self.layer(x[:1], 2),
            self.function(x, x),
            self.function(x, x + 1),
            small_or_large(x, torch.jit.is_scripting()),
        ]


def gated(x: Tensor, gate: Tensor) -> Tensor:
    return torch.sigmoid(gate) * torch.tanh(x)


@trap()
class TracedByTorch(Weighted):
    """A layer that `torch.jit.trace` wrote down."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.layer = torch.jit.trace(
                nn.Sequential(nn.Linear(8, 8), nn.GELU()), torch.ones(2, 8)
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.layer(self.fc(x))


@trap(sequences)
class GivesAway(nn.Module):
    """Layers that return their input, views of it, their weight or nothing."""

    class Giver(nn.Module):
        """Returns what it is told to."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what
            self.weight = nn.Parameter(torch.ones(6, 8))
            self.register_buffer("constant", torch.ones(6, 8))

        def forward(self, x: Tensor) -> Any:
            return {
                "input": x,
                "view": x[:, ::2],
                "weight": self.weight,
                "part": self.weight[::2],
                "constant": self.constant.T,
                "nothing": None,
                "both": (x, x),
            }[self.what]

    def __init__(self) -> None:
        super().__init__()
        names = ("input", "view", "weight", "part", "constant", "nothing", "both")
        self.givers = nn.ModuleDict({it: self.Giver(it) for it in names})

    def forward(self, x: Tensor) -> list[Tensor]:
        gifts = {name: giver(x) for name, giver in self.givers.items()}
        return [
            small_or_large(x[0], gifts["input"] is x),
            small_or_large(x[0], gifts["both"][0] is gifts["both"][1]),
            small_or_large(x[0], gifts["nothing"] is None),
            gifts["input"].add_(1),
            gifts["view"] @ gifts["view"].mT,
            x @ gifts["weight"].T,
            x @ gifts["part"].T,
            x @ gifts["constant"],
        ]


@trap(rows)
class Generators(Weighted):
    """A layer that yields; its work happens when it is asked."""

    class Yields(Weighted):
        """Yields three results."""

        def forward(self, x: Tensor) -> Iterator[Tensor]:
            for _ in range(3):
                x = self.fc(x)
                yield x

    def __init__(self) -> None:
        super().__init__()
        self.layer = self.Yields()

    def forward(self, x: Tensor) -> Tensor:
        total = self.fc(x)
        for part in self.layer(x):
            total = total + part
            if part.shape[0] > 1:
                break
        return total


@trap(rows)
class ManagedContexts(Weighted):
    """The same call inside and outside of a context of the user's."""

    scale: float | None = None

    @contextmanager
    def scaled(self, by: float) -> Iterator[None]:
        self.scale = by
        try:
            yield
        finally:
            self.scale = None

    def layer(self, x: Tensor) -> Tensor:
        return self.fc(x) if self.scale is None else self.fc(x * self.scale)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.layer(x)]
        with self.scaled(2.0):
            found.append(self.layer(x))
        return [*found, self.layer(x)]


@trap(rows)
class FunctionsAsArguments(Weighted):
    """Functions are arguments; two of them look alike and are not."""

    def forward(self, x: Tensor) -> list[Tensor]:
        def apply(function: Any, *args: Any) -> Tensor:
            return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False)

        return [apply(lambda t, n=n: t.repeat(n, 1) * 2, x) for n in (1, 2, 3)] + [
            apply(it, x)
            for it in (self.fc, self.fc.forward, torch.tanh, functional.tanh, Tensor.tanh)
        ]


@trap(rows)
class AttributesOfTensors(nn.Module):
    """Properties and methods that give views, numbers or tuples."""

    def forward(self, x: Tensor) -> list[Tensor]:
        sizes = [x.size(0), x.size(-1), x.numel(), x.dim(), len(x), x.element_size(), x.ndim]
        return [
            *(x @ torch.ones(8, it) for it in sizes),
            x.T @ x,
            x.mT @ x,
            x.real * 2,
            x.H @ x,
            *(row * 2 for row in x),
            x[..., None] * 2,
            x.size().numel() * x,
        ]


@trap(rows)
class OtherThreads(Weighted):
    """A part of the work is done by another thread, as a run on this CPU sees it: not at all."""

    def forward(self, x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            shape = pool.submit(lambda: x.shape).result()
        return self.fc(x.view(shape))


@trap()
class OwnCall(Weighted):
    """Two layers of which one overrides what a call is."""

    class Layer(nn.Linear):
        """Doubles what it is given."""

        def __call__(self, x: Tensor) -> Any:
            return super().__call__(torch.cat([x, x]))

    def __init__(self) -> None:
        super().__init__()
        self.layer = self.Layer(8, 8)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.fc(x), self.layer(x), self.layer.forward(x)]


@trap(sequences, aside=LAYOUT)
class PatchedInside(nn.Module):
    """A function is exchanged that another function of torch calls by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.attention(x, x, x, need_weights=False)[0]]
        original = functional.scaled_dot_product_attention
        functional.scaled_dot_product_attention = lambda q, k, v, *_, **__: torch.tanh(q + k) * v
        try:
            found.append(self.attention(x, x, x, need_weights=False)[0])
        finally:
            functional.scaled_dot_product_attention = original
        return [*found, self.attention(x, x, x, need_weights=False)[0]]
