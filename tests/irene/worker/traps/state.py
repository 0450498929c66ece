"""Modules that are not the same at each call: counters, memos, what they change of themselves."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from traps.table import Weighted, rows, sequences, small_or_large, trap


@trap()
class CountsItsCalls(Weighted):
    """A layer that does more at each of its calls within one forward."""

    calls = 0

    class Layer(Weighted):
        """Counts."""

        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            for _ in range(self.calls):
                x = self.fc(x)
            return x

    def __init__(self) -> None:
        super().__init__()
        self.layer = self.Layer()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.layer(x) + x
        return x


@trap()
class KnowsItsIndex(nn.Module):
    """Layers of one class and equal weights; even ones do other work than odd ones."""

    class Layer(Weighted):
        """Has an index."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) if self.index % 2 else x @ self.weight + self.index

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(self.Layer(i) for i in range(5))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@trap()
class TogglesItself(Weighted):
    """An attribute changes in each forward, and decides the next one."""

    is_wide = False

    def once(self, x: Tensor) -> Tensor:
        self.is_wide = not self.is_wide
        return small_or_large(self.fc(x), self.is_wide)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.once(x) for _ in range(3)]


@trap()
class FirstCallPrepares(Weighted):
    """The first call computes what later ones find."""

    prepared: Tensor | None = None

    def once(self, x: Tensor) -> Tensor:
        if self.prepared is None:
            self.prepared = self.weight @ self.table
        return x @ self.prepared

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.once(x), self.once(x), self.once(x + 1)]


@trap()
class MakesALayer(nn.Module):
    """A layer is made and kept in the first call."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(3):
            if not hasattr(self, "late"):
                self.late = nn.Linear(x.shape[-1], 4)
            found.append(self.late(x))
        return found


@trap()
class ReplacesALayer(Weighted):
    """A layer is exchanged, a weight too, and both are used again."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.fc(x)]
        self.fc = nn.Linear(8, 3)
        found.append(self.fc(x))
        self.fc.weight = nn.Parameter(torch.ones(5, 8))
        self.fc.bias = None
        found.append(self.fc(x))
        self.weight = nn.Parameter(self.weight[:, :2])
        del self.table
        return [*found, x @ self.weight]


@trap(sequences)
class GrowsAList(Weighted):
    """A memory of past states in a list of the forward."""

    def forward(self, x: Tensor) -> Tensor:
        past: list[Tensor] = []
        for step in range(x.shape[1]):
            past.append(self.fc(x[:, step]))
            if len(past) > 3:
                past.pop(0)
        return torch.stack(past)


@trap()
class RemembersItsCalls(Weighted):
    """A list of the object grows from forward to forward; a trace takes back what it added."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.lengths.append(x.shape[0])
        for _ in self.lengths:
            x = self.fc(x)
        return x


@trap(has_memory=True)
class CountsInTheClass(Weighted):
    """The class counts the calls of all its objects."""

    calls: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).calls = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        return x @ torch.ones(8, type(self).calls)


@lru_cache
def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


@trap(sequences, has_memory=True)
class RemembersAMask(nn.Module):
    """A function of the file remembers a mask; later calls find it and ask for its values."""

    def __init__(self) -> None:
        super().__init__()
        causal_mask.cache_clear()

    def forward(self, x: Tensor) -> list[Tensor]:
        mask = causal_mask(x.shape[1])
        return [x @ x.mT * mask, small_or_large(x[0], bool(mask.all()))]


@lru_cache
def positions_on(length: int, device: torch.device) -> Tensor:
    return torch.arange(length, device=device)


@trap(
    sequences,
    has_memory=True,
    wrong="refused: values are known for one trace, and a function remembers them for the next",
)
class RemembersPositions(nn.Module):
    """The same on the device of the input, where a trace has no values of its own."""

    def __init__(self) -> None:
        super().__init__()
        positions_on.cache_clear()

    def forward(self, x: Tensor) -> Tensor:
        positions = positions_on(x.shape[1], x.device)
        return x[:, : int(positions.max())] * 2


@trap()
class StatisticsAsTheyRun(nn.Module):
    """A buffer counts in place, its value is asked, and a running mean is kept beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(3):
            self.steps += 1
            self.mean.lerp_(x.mean(0), 0.1)
            if self.steps > 1:
                found.append(x - self.mean)
            found.append(x @ torch.ones(8, int(self.steps)))
        return found


@trap()
class ReassignsABuffer(nn.Module):
    """A buffer becomes another tensor of the same shape, with other values."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("width", torch.tensor([2]))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [x @ torch.ones(8, int(self.width))]
        self.width = self.width + 3
        found.append(x @ torch.ones(8, int(self.width)))
        self.width = torch.tensor([1])
        return [*found, x @ torch.ones(8, int(self.width))]


@trap()
class CopiesItself(Weighted):
    """A layer is copied in forward; the copy has the weights, and another name."""

    def forward(self, x: Tensor) -> list[Tensor]:
        twin, same = copy.deepcopy(self.fc), copy.copy(self.fc)
        return [twin(x), same(x), self.fc(x)]


@trap(sequences)
class HaltsByCount(nn.Module):
    """Rounds until a counter that the module keeps says enough."""

    budget = 5

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Linear(8, 8, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        names = list(self.layers)
        while self.budget:
            self.budget -= 1
            x = self.layers[names[self.budget % 2]](x)
        return x


class Schedule:
    """A plain object, no module, that several layers share."""

    def __init__(self) -> None:
        self.step = 0

    def next_width(self) -> int:
        self.step += 1
        return self.step


@trap(rows, has_memory=True)
class SharesAnObject(nn.Module):
    """Two layers share an object that is no module and counts."""

    class Layer(nn.Module):
        """Asks the object."""

        def __init__(self, schedule: Schedule) -> None:
            super().__init__()
            self.schedule = schedule

        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.ones(8, self.schedule.next_width())

    def __init__(self) -> None:
        super().__init__()
        schedule = Schedule()
        self.first, self.second = self.Layer(schedule), self.Layer(schedule)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.first(x), self.second(x), self.first(x)


@trap()
class ConvertsItself(Weighted):
    """A layer becomes one of another dtype, and comes back."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.fc(x), self.fc.double()(x.double()), self.fc.half()(x.half())]
        return [*found, self.fc.float()(x), self.fc.to(torch.bfloat16)(x.bfloat16())]


@trap()
class LoadsAState(Weighted):
    """A teacher takes over the weights of a student, partly as an average."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.teacher(x)]
        self.teacher.load_state_dict(self.fc.state_dict())
        for mine, theirs in zip(self.teacher.parameters(), self.fc.parameters(), strict=True):
            mine.data.lerp_(theirs.data, 0.1)
        return [*found, self.teacher(x)]


@trap()
class MakesClasses(nn.Module):
    """A class is made at each call; the next one may have the id of the last."""

    def forward(self, x: Tensor) -> Tensor:
        for factor in (2, 3, 4):
            cls = type(
                "Scale", (nn.Module,), {"forward": lambda _, x, n=factor: x.repeat(n, 1) * n}
            )
            x = cls()(x)
            del cls
        return x


@trap()
class SharedStorage(nn.Module):
    """Two parameters lie in the memory of one tensor, one over the other."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.ones(8, 8)
        self.upper, self.whole = nn.Parameter(whole[:4]), nn.Parameter(whole)
        self.listed = nn.ParameterList([whole.T, torch.ones(8)])

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x @ self.upper.T, x @ self.whole, x @ self.listed[0] + self.listed[1]]


class Scaled(nn.Parameter):
    """A class of parameters with an attribute."""

    factor = 3


@trap()
class SubclassOfParameter(nn.Module):
    """A parameter of a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = Scaled(torch.ones(8, 8))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x @ self.weight, small_or_large(x, isinstance(self.weight, Scaled))]


@trap()
class InputsAreChanged(Weighted):
    """The caller's tensor is written to."""

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        x[0] = 1.0
        x.unsqueeze_(0)
        return self.fc(x)
