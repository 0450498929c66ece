"""Values that are known: of equal metadata, and with other consequences."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

import numpy
import torch
from torch import Tensor, nn

from traps.table import TO_THE_HOST, numbers, rows, sequences, small_or_large, trap


@trap(sequences)
class SizesInTensors(nn.Module):
    """Constants of one shape and dtype, whose values are sizes."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = []
        for sizes in ([2, 4], [4, 2], [1, 5], [2, 4]):
            first, second = x.split(torch.tensor(sizes).tolist(), 1)
            outputs += [first * 2, second.sum(1)]
        return tuple(outputs)


@trap(sequences)
class CountingConstant(nn.Module):
    """A constant that is changed between two equal questions."""

    def forward(self, x: Tensor) -> Tensor:
        step = torch.tensor(0)
        found = []
        while step < 4:
            found.append(x[:, : step + 1].sum(1) * step)
            step += 1
        return torch.stack(found)


@trap()
class FreshConstants(nn.Module):
    """Each `torch.zeros` is new, although the one before it was filled."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for i in range(4):
            state, mask = torch.zeros(4), torch.ones(4, dtype=torch.bool)
            found.append(x @ torch.ones(8, int(state.sum()) + 1))
            state[i] = i
            mask[i] = False
            found.append(x @ torch.ones(8, int(mask.sum())))
            found.append(x[:, :4][:, mask] * 2)
        return found


class DecidesByBuffer(nn.Module):
    """Its way is in the values of a buffer."""

    def __init__(self, *values: int) -> None:
        super().__init__()
        self.register_buffer("widths", torch.tensor(values))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [x @ torch.zeros(8, int(self.widths[i])) for i in range(len(self.widths))]
        if (self.widths > 3).any():
            found.append(x * 2)
        if self.widths.max() > self.widths.min() + 1:
            found.append(x.T @ x)
        return [*found, x[:, self.widths] + 1]


@trap()
class BuffersOfTwins(nn.Module):
    """Modules of one class, their buffers alike but for the values."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecidesByBuffer(*it) for it in [(1, 2, 3), (2, 2, 2), (5, 1, 4), (1, 2, 3)]
        )

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        return [layer(x) for layer in self.layers]


@trap(numbers)
class SizesInInputs(nn.Module):
    """Integers that are given decide sizes; another batch has other numbers."""

    def forward(self, ids: Tensor) -> Tensor:
        n_classes = int(ids.max()) + 1
        return torch.nn.functional.one_hot(ids, n_classes).float() @ torch.ones(n_classes, 3)


@trap(lambda batch: (torch.ones(batch, 6, 8), torch.tensor([6 - i for i in range(batch)])))
class Lengths(nn.Module):
    """Lengths of sequences, and a packed sequence that they make."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(x.shape[1])[None] < lengths[:, None]
        kept = x[mask] * 2
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return kept.sum() + packed.data.sum() + x[:, : int(lengths.min())].sum()


@trap(sequences)
class MaskOfPositions(nn.Module):
    """A causal mask is asked whether it is needed, and how long it is."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for length in (3, 6, 3):
            mask = torch.ones(length, length, dtype=torch.bool).tril()
            if not mask.all():
                found.append(x[:, :length] * 2)
            if mask[0, 0] and not mask[0, -1]:
                found.append(x[:, :length].sum(1))
            found.append(x[:, mask[1][:6]] + 1 if length == 6 else x + 1)
            found.append(x[:, mask.sum(1).eq(length).nonzero()[0]] * 3)
        return found


@trap(sequences)
class RelativePositions(nn.Module):
    """Buckets of distances: a table is gathered by what is known."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Embedding(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1])
        distance = (positions[None] - positions[:, None]).abs()
        near = distance < 2
        bucket = torch.where(near, distance, 2 + (distance.float() / 2).log().long())
        bucket = bucket.clamp(max=3)
        if bucket.max() > 2:
            x = x * 2
        return x.sum() + self.bias(bucket).permute(2, 0, 1)


@trap()
class UnknownBesideKnown(nn.Module):
    """Two tensors of one shape; the values of one of them are known."""

    def forward(self, x: Tensor) -> list[Tensor]:
        known = torch.ones_like(x)
        unknown = x * 1
        found = []
        for it in (known, known * 2, known - 1):
            found.append(small_or_large(x, bool((it > 1).all())))
            found.append(unknown + it)
        return found


@trap()
class KnownThenOverwritten(nn.Module):
    """A value is known until something unknown is written there, then from the next constant."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(2):
            flags = torch.zeros(4)
            found.append(small_or_large(x, bool(flags.any())))
            flags[0] = 1
            found.append(small_or_large(x, bool(flags.any())))
            flags.copy_(x[0, :4])
            flags = torch.zeros(4)
            found.append(small_or_large(x, bool(flags.any())))
        return found


@trap()
class Randomness(nn.Module):
    """Numbers from generators decide; each draw is another."""

    def forward(self, x: Tensor) -> list[Tensor]:
        torch.manual_seed(3)
        random.seed(3)
        found = []
        for _ in range(12):
            found.append(small_or_large(x, torch.rand(1).item() < 0.5))
            found.append(small_or_large(x, random.random() < 0.5))
            if torch.randint(0, 2, (1,)):
                found.append(x * 2)
        torch.manual_seed(3)
        return [*found, small_or_large(x, torch.rand(1).item() < 0.5)]


@trap()
class LayerDrop(nn.Module):
    """Layers are left out at random, by the generator of the caller."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(12))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if torch.rand([]) > 0.5:
                x = layer(x)
        for i in torch.randperm(len(self.layers)).tolist()[:3]:
            x = self.layers[i](x) * i
        return x


@trap()
class OwnGenerator(nn.Module):
    """A generator is given, goes on, and is another than the one before."""

    def forward(self, x: Tensor) -> list[Tensor]:
        first, second = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
        draws = [torch.rand(1, generator=it).item() for it in (first, second, first)]
        again = torch.Generator().manual_seed(1)
        draws += [torch.rand(1, generator=again).item()]
        found = [small_or_large(x, draws[0] == it) for it in draws]
        return [*found, torch.randn(8, generator=first) + x]


@trap()
class Noise(nn.Module):
    """Random operations in evaluation; dropout that is switched on, and off."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            x + torch.randn_like(x),
            x + torch.rand(x.shape),
            torch.nn.functional.dropout(x, 0.5, training=False) + 1,
            torch.nn.functional.dropout(x, 0.0, training=False) * 2,
            torch.empty_like(x).normal_() * 2,
            torch.bernoulli(x.sigmoid()),
        ]


@trap()
class DropoutInEvaluation(nn.Module):
    """Dropout that always acts, as Monte Carlo dropout does, and that drops nothing."""

    def forward(self, x: Tensor) -> list[Tensor]:
        drop = torch.nn.functional.dropout
        return [
            drop(x, 0.5, training=True),
            drop(x, 0.0, training=True),
            drop(x, 1.0, training=True),
        ]


@trap(sequences)
class Windows(nn.Module):
    """Windows of a size that arithmetic of floats decides."""

    def forward(self, x: Tensor) -> list[Tensor]:
        ratios = torch.linspace(0.25, 1.0, 4)
        return [x[:, : math.ceil(it * x.shape[1])] * 2 for it in ratios.tolist()] + [
            x[:, : int(it * 6)].sum(1) for it in ratios
        ]


class Pair(NamedTuple):
    """An input with names."""

    left: Tensor
    right: Tensor


@trap(lambda batch: (Pair(torch.ones(batch, 8), torch.ones(batch, 8)), 2))
class NamedInputs(nn.Module):
    """A named tuple stays one."""

    def forward(self, pair: Pair, n: int) -> Pair:
        return Pair(pair.left * n, pair._replace(left=pair.right).left @ pair.right.T)


@trap(lambda batch: ({"x": torch.ones(batch, 8), "sizes": [4, 4], "flag": True},))
class DictionaryInput(nn.Module):
    """A dictionary with tensors, lists and flags."""

    def forward(self, batch: dict[str, object]) -> dict[str, Tensor]:
        x = batch["x"]
        assert isinstance(x, Tensor)
        parts = x.split(batch["sizes"], 1)  # type: ignore[arg-type] # a list of integers
        return {"sum": parts[0] + parts[1]} if batch["flag"] else {}


@trap(lambda batch: ((torch.ones(batch, i + 1) for i in range(3)),))
class GeneratorInput(nn.Module):
    """An iterator of tensors can be read once."""

    def forward(self, parts: list[Tensor]) -> Tensor:
        return torch.cat([it * 2 for it in parts], 1)


@trap(rows, aside=TO_THE_HOST)
class ViewsOfConstants(nn.Module):
    """A layer returns views of one constant; what one caller writes another one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(4, dtype=torch.long))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for i in range(3):
            self.counts.view(2, 2)[i % 2, 0] += i + 1
            found.append(x @ torch.ones(8, int(self.counts.sum()) + 1))
            found.append(x @ torch.ones(8, self.counts[::2].tolist()[0] + 1))
        return found


@trap(rows, aside=TO_THE_HOST)
class ListsFromConstants(nn.Module):
    """The list that `tolist` gives is the caller's, who changes it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor([2, 0, 1]))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(3):
            order = self.order.tolist()
            order.append(len(found))
            found += [x[:, :3].roll(it, 1) for it in order]
            order.clear()
        return found


@trap(rows)
class NumpyOfConstants(nn.Module):
    """Constants as arrays and back; the array is the memory of the tensor."""

    def forward(self, x: Tensor) -> list[Tensor]:
        constant = torch.arange(4)
        array = constant.numpy()
        array += 1
        back = torch.from_numpy(array * 2)
        return [x @ torch.ones(8, int(constant.sum())), x @ torch.ones(8, int(back[0]))]


@trap(rows, aside=TO_THE_HOST)
class NumpyOfBuffers(nn.Module):
    """The same of a buffer, whose values are known."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor([2, 0, 1]))

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.ones(8, int(self.order.cpu().numpy().sum()))


@trap(rows)
class EqualConstants(nn.Module):
    """`torch.equal`, `==` and `in` on constants."""

    def forward(self, x: Tensor) -> list[Tensor]:
        a, b, c = torch.arange(3), torch.arange(3), torch.arange(1, 4)
        answers = [torch.equal(a, b), torch.equal(a, c), 3 in a, 3 in c, bool((a == b).all())]
        answers += [torch.allclose(a.float(), b.float()), a.tolist() == c.tolist(), a[0] == c[0]]
        return [small_or_large(x, bool(it)) for it in answers]


@trap(sequences)
class UniqueOfConstants(nn.Module):
    """Shapes that follow from values that are known."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for divisor in (2, 3, 4, 2):
            groups = torch.arange(6) // divisor
            n = len(groups.unique())
            found.append(x[:, :n] * 2)
            found.append(x.new_zeros(x.shape[0], n, 8).index_add_(1, groups, x) + 1)
            found.append(x.repeat_interleave(torch.bincount(groups), 1)[:, :3] if n == 6 else x + 1)
        return found


@trap(rows)
class FloatConstants(nn.Module):
    """Floating constants are values too: roots, logarithms, comparisons with infinity."""

    def forward(self, x: Tensor) -> list[Tensor]:
        slopes = torch.pow(2.0, -torch.arange(1, 5, dtype=torch.float32))
        mask = torch.full((4, 4), float("-inf")).triu(1) if slopes[0] > slopes[1] else slopes
        found = [x[:, None, :4] * slopes + mask]
        found.append(small_or_large(x, bool(torch.isinf(mask).any())))
        found.append(small_or_large(x, float(slopes.sum()) > 0.9))
        return found


@trap(rows)
class SignedZero(nn.Module):
    """`0.0 == -0.0`, and divided by they are not equal; `nan` is not even equal to itself."""

    def forward(self, x: Tensor) -> list[Tensor]:
        zeros = [torch.full((1,), it) for it in (0.0, -0.0, math.nan, math.nan)]
        return [small_or_large(x, bool(1 / it > 0)) for it in zeros]


@trap()
class RealBesideMeta(nn.Module):
    """Constants and activations of one shape and dtype go through one function in turn."""

    def forward(self, x: Tensor) -> list[Tensor]:
        constant = torch.ones(x.shape)
        found = []
        for it in (constant, x, constant * 2, x * 2, constant):
            doubled = torch.relu(it * 2).sum(1)
            found.append(doubled)
            if it is not x and it.shape == constant.shape and not torch.is_same_size(it, x.T):
                found.append(it + x)
        return [*found, small_or_large(x, bool((constant * 2 == 2).all()))]


class Batch:
    """An input that torch knows nothing of."""

    def __init__(self, x: Tensor, width: Tensor) -> None:
        self.x = x
        self.width = width


@trap(lambda batch: (Batch(torch.ones(batch, 8), torch.tensor(batch + 1)),))
class ObjectInput(nn.Module):
    """Tensors in an object of the user's."""

    def forward(self, batch: Batch) -> list[Tensor]:
        return [batch.x @ torch.ones(8, int(batch.width)), batch.x * batch.width]


@trap()
class PlainAttributes(nn.Module):
    """Tensors that are neither parameters nor buffers, whose values decide."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.full((8,), 2.0)
        self.widths = [torch.tensor(1), torch.tensor(5)]

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [x @ torch.ones(8, int(it)) for it in self.widths]
        return [
            *found,
            x * self.scale if self.scale[0] > 1 else x,
            small_or_large(x, self.scale.sum() > 9),
        ]


@trap()
class FlagsOfFloats(nn.Module):
    """A single floating number in a buffer says whether the module was initialised."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("initted", torch.tensor([1.0]))
        self.register_buffer("scale", torch.tensor(0.25))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            small_or_large(x, bool(self.initted)),
            x @ torch.ones(8, int(1 / self.scale.item())),
        ]


@trap()
class ForkedRandomness(nn.Module):
    """The state of the generator is kept, and given back."""

    def forward(self, x: Tensor) -> list[Tensor]:
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = torch.rand(1).item()
        with torch.random.fork_rng(devices=[]):
            second = torch.rand(1).item()
        third = torch.rand(1).item()
        torch.set_rng_state(state)
        answers = [first == second, second == third, torch.rand(1).item() == first]
        return [small_or_large(x, it) for it in answers]


@trap(sequences)
class Spacings(nn.Module):
    """Constants of equal lengths with other values."""

    def forward(self, x: Tensor) -> list[Tensor]:
        constants = [
            torch.arange(3),
            torch.arange(1, 4),
            torch.arange(0, 6, 2),
            torch.linspace(0, 4, 3).long(),
            torch.full((3,), 1),
            torch.zeros(3, dtype=torch.long),
            torch.tensor([2, 1, 0]),
        ]
        return [x[:, : int(it.max()) + 1].sum(1) for it in constants] + [
            x[:, it] for it in constants
        ]


@trap(sequences)
class SizesAsTensors(nn.Module):
    """Sizes, starts and steps are given as tensors without dimensions."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for n in (torch.tensor(1), torch.tensor(2), torch.tensor(3), torch.tensor(2)):
            found += [
                x.reshape(n * x.shape[0], -1) * 2,
                x.narrow(1, n, 2) * 2,
                x[:, :n] * 2,
                x.repeat(n, 1, 1) * 2,
                x[:1].expand(n, -1, -1) * 2,
                torch.zeros(n, 8) + x[0, 0],
                torch.arange(n) * 2,
                x.roll(int(n), 1),
                *(it * 2 for it in torch.tensor_split(x, torch.stack([n, n + 2]), 1)),
                *(it * 2 for it in torch.tensor_split(x, n, 1)),
                x.repeat_interleave(n, 0) * 2,
                sum((x[:, i] for i in range(n)), torch.zeros(())),
            ]
        return found


@trap(aside={"_to_copy": "a constant is copied to a device"})
class ChangedBehindTorch(nn.Module):
    """NumPy writes to the memory of a constant, after something was computed from it."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(2):
            array = numpy.array([1, 2])
            widths = torch.from_numpy(array).to(x.device) + 1
            array += 5
            found.append(x @ torch.ones(8, int(widths.sum())))
        return found


@trap()
class ExchangedBehindTorch(nn.Module):
    """A constant gets other data, after something was computed from it."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(2):
            constant = torch.arange(4, device=x.device)
            doubled, total = constant * 2, constant.sum()
            constant.data = torch.ones(4, dtype=torch.long, device=x.device)
            found.append(x @ torch.ones(8, int(doubled.sum())))
            found.append(x @ torch.ones(8, int(total)))
            found.append(x @ torch.ones(8, int(constant.sum())))
        return found


@trap()
class ListsBehindTorch(nn.Module):
    """A list of sizes changes, after something was computed with it."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(2):
            constant = torch.arange(6, device=x.device).view(2, 3)
            dims, sizes = [0], [3, 2]
            total = torch.sum(input=constant, dim=dims)
            turned = torch.reshape(input=constant, shape=sizes)
            dims[0], sizes[:] = 1, [6, 1]
            found += [x @ torch.ones(8, len(total)), x @ torch.ones(8, int(total[-1]) + 1)]
            found += [x @ torch.ones(8, int(turned[-1, -1]))]
        return found


@trap()
class WrittenAfterwards(nn.Module):
    """A constant is written to, after something was computed from it and before it is asked."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for device in (x.device, "cpu"):
            for _ in range(2):
                constant = torch.arange(4, device=device)
                view, doubled = constant[1:], constant * 2
                constant += 1
                constant[-1:].mul_(2)
                found.append(x @ torch.ones(8, int(doubled.sum())))
                found.append(x @ torch.ones(8, int(view.sum())))
                found.append(x @ torch.ones(8, int(constant.sum())))
        return found


@trap(aside=TO_THE_HOST)
class NumbersOnTheDevice(nn.Module):
    """Numbers become tensors on the device, and are asked for again."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for n in (2, 3, 2):
            made = [
                torch.tensor([n, 1], device=x.device),
                torch.as_tensor([n, 2], device=x.device),
                torch.asarray([n, 3], device=x.device),
                torch.tensor(n, device=x.device, dtype=torch.float32),
                torch.tensor(numpy.array([n, 4]), device=x.device),
                torch.full((2,), n, device=x.device),
            ]
            found += [x @ torch.ones(8, int(it.sum())) for it in made]
        return found


@trap(wrong="refused: C++ makes an index of a list on the device, and shows its values to nobody")
class ListsAsIndices(nn.Module):
    """A list of places in a constant."""

    def forward(self, x: Tensor) -> Tensor:
        constant = torch.arange(6, device=x.device)
        return x @ torch.ones(8, int(constant[[1, 2]].sum()))
