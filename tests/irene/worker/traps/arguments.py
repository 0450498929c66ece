"""Arguments that are equal, or hash alike, and yet mean different operations."""

from __future__ import annotations

import enum

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

from traps.table import Weighted, images, numbers, rows, sequences, small_or_large, trap, two


@trap(numbers)
class OneAndOneAndTrue(nn.Module):
    """`1 == 1.0 == True`, with one hash; added to integers they give int64, float32, int64."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple((x + one) * 2 for one in (1, 1.0, True, 1, True, 1.0))


@trap(numbers)
class TrueBeforeOne(nn.Module):
    """The same in another order, so that each of the three is once the first."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mask = x > 2
        return tuple((mask * one) + 3 for one in (True, 1.0, 1))


@trap()
class ComplexOne(nn.Module):
    """`1 == 1 + 0j`, and only one of them makes a result complex."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.abs(x * one) for one in (1, 1 + 0j, 1.0))


@trap(numbers)
class EqualFillings(nn.Module):
    """The dtype of `torch.full` follows the type of its value, also on a device."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.full((8,), one, device=device) + x
            for device in (x.device, "cpu")
            for one in (1, 1.0, True)
        )


class Level(enum.IntEnum):
    """An enumeration whose members are integers."""

    FIRST = 1


@trap(numbers)
class SubclassesOfNumbers(nn.Module):
    """A member of an IntEnum equals its number."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(Level.FIRST) + x.sum(1) + x.float().sum(Level.FIRST)


@trap()
class NegativeDimensions(nn.Module):
    """`hash(-1) == hash(-2)`: a key that is kept as its hash alone confuses dimensions."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.sum(-1), x.sum(-2), x.unsqueeze(-1), x.softmax(-2), x.softmax(-1), x.cumsum(-2)


@trap()
class DimensionOrFlag(nn.Module):
    """A dimension and `keepdim` are equal numbers in other places."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            x.sum(0),
            x.sum(1),
            x.sum(0, True),
            x.sum(1, False),
            x.sum((0, 1), True),
            x.sum((0, 1)),
        )


@trap()
class PositionsAndKeywords(nn.Module):
    """One call in many forms, and forms that look alike and are other calls."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            torch.sum(x, 1, True),
            torch.sum(x, dim=1, keepdim=True),
            torch.sum(x, keepdim=True, dim=1),
            torch.sum(x, dim=1),
            torch.sum(input=x, dim=[1]),
            x.sum(1, keepdim=False),
            torch.sum(x),
            torch.sum(x, dim=1, dtype=torch.float64),
        )


@trap(two)
class WhichMaximum(nn.Module):
    """`max` with a tensor, with a dimension, with nothing."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        values, indices = torch.max(x, 1)
        return torch.max(x), values, indices + 1, torch.max(x, y), torch.max(x, 1, True).values


@trap(sequences)
class SizesInManyForms(nn.Module):
    """Sizes as numbers, tuple, list, `torch.Size`, negative or not."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        b = x.shape[0]
        return tuple(
            it + 1
            for it in (
                x.view(b, -1),
                x.view((b, 6, -1)),
                x.view([b, 48]),
                x.view(torch.Size([b, 48])),
                x.reshape(b * 6, 8),
                x.reshape(-1, 8).view(x.shape),
                x.expand(3, *x.shape),
                x.expand(torch.Size((3, -1, -1, -1))),
                torch.zeros(b, 3),
                torch.zeros((b, 3)),
                torch.zeros(b),
            )
        )


@trap()
class ListsAndTuples(nn.Module):
    """`x[[0, 1]]` gathers two rows, `x[(0, 1)]` is one element, `x[0, 1]` too."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = x.T
        return tuple(
            it * 2
            for it in (y[[0, 1]], y[0, 0], y[(0, 0)], y[[0, 0]], y[0], y[[0]], y[None], y[True])
        )


@trap(sequences)
class Slices(nn.Module):
    """Slices that start, stop or step differently and give as many elements."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        parts = (x[:, 0:3], x[:, 0:6:2], x[:, -3:], x[:, :3:1], x[:, slice(0, None, 2)], x[..., :3])
        return tuple(it.contiguous() + 1 for it in parts)


@trap(sequences)
class SlicesThatLieTogether(nn.Module):
    """Equal shapes of other strides: some are contiguous, which decides whether a copy is made."""

    def forward(self, x: Tensor) -> Tensor:
        first = x[0]
        return (
            first[0:3].reshape(-1)
            + first[0:6:2].reshape(-1)
            + first[3:].reshape(-1)
            + first.T[:, :3].reshape(-1)
        )


@trap()
class EmptyTensors(nn.Module):
    """Nothing at all, in several shapes; one of them can be concatenated with anything."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        none = torch.zeros(0)
        return torch.cat([none, x[0]]), x[:0].sum(0), x[:, :0].sum(1), x[:0] @ x.T, none.sum()


@trap()
class ZeroDimensionalOrNumber(nn.Module):
    """A tensor without dimensions does not decide a dtype, one with a dimension does."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        half = x.half()
        two = torch.tensor(2.0)
        return half * 2.0, half * two, half * two[None], half * torch.tensor(2), x.int() * two


@trap()
class ZeroDimensionalOfTheModel(nn.Module):
    """A scalar that is a parameter: no number, and without a say in the dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.scales = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        half = x.half()
        return half * self.scale, half * self.scales, half * 2.0, x.long() * self.scale


@trap()
class DefaultDtype(nn.Module):
    """What `torch.ones` and a division of integers give follows a global setting."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = [torch.ones(8) + 1, x.long() / 2, torch.full((2,), 1.5), torch.tensor([1.0]) + 1]
        torch.set_default_dtype(torch.float64)
        try:
            outputs += [torch.ones(8) + 1, x.long() / 2, torch.full((2,), 1.5)]
            outputs += [torch.tensor([1.0]) + 1, torch.ones(8, device=x.device) + 1]
        finally:
            torch.set_default_dtype(torch.float32)
        return (*outputs, torch.ones(8) + 1, x.long() / 2)


@trap(numbers)
class IntegersBooleansFloats(nn.Module):
    """One shape in three dtypes: sums, products and divisions of each."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            operation(it)
            for it in (x, x > 1, x.float(), x.to(torch.uint8), x.double())
            for operation in (torch.sum, lambda t: t / 2, lambda t: t * 2, lambda t: t.cumsum(0))
        ]


@trap(two)
class DtypeOfAnother(nn.Module):
    """The dtype comes from another tensor, a name, an attribute or the default."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        z = y.double()
        return (
            x.to(y) + 1,
            x.to(z) + 1,
            x.type_as(z) + 1,
            x.to(torch.float64) + 1,
            x.to(z.dtype) + 1,
        )


@trap()
class RoundingModes(nn.Module):
    """Only a word tells whether a division of integers has an integer result."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        n = x.long()
        return tuple(torch.div(n, 3, rounding_mode=it) * 2 for it in (None, "floor", "trunc"))


@trap()
class Equations(nn.Module):
    """The whole work of an `einsum` is in its text."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        texts = ("ij,kj->ik", "ij,kj->ki", "ij,kj->k", "ij,kl->ikl", "ij,ij->i")
        return tuple(torch.einsum(text, x, x) for text in texts)


@trap(images)
class ModesOfFunctions(nn.Module):
    """Words and flags of `functional` choose the operation."""

    def forward(self, x: Tensor) -> list[Tensor]:
        modes = [("nearest", None), ("bilinear", False), ("bilinear", True), ("bicubic", False)]
        pads = ["constant", "reflect", "replicate", "circular"]
        return [
            *(functional.interpolate(x, scale_factor=2, mode=m, align_corners=a) for m, a in modes),
            *(functional.pad(x, (1, 2, 0, 1), mode=mode) for mode in pads),
            functional.pad(x, (1, 2)),
            functional.pad(x, (2, 1), value=1.0),
        ]


@trap()
class WithAndWithoutBias(Weighted):
    """`None` and a tensor in the last place, given or left out."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            functional.linear(x, self.weight),
            functional.linear(x, self.weight, None),
            functional.linear(x, self.weight, self.fc.bias),
            functional.layer_norm(x, (8,)),
            functional.layer_norm(x, (8,), self.fc.bias),
            functional.layer_norm(x, (8,), None, self.fc.bias),
        )


@trap()
class Operators(nn.Module):
    """Operators with a number on either side."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return 1 - x, x - 1, 2 / x, x / 2, x // 2, x % 2, x**2, x**0.5, 2**x, -x, 1 + x, x**1, x**0


@trap()
class Comparisons(nn.Module):
    """A comparison gives booleans, whatever is compared."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x > 0, x >= 0, x == x.T[:, :1].T, x != 0, ~(x > 0), (x > 0) & (x < 1), (x > 0).sum()


@trap(numbers)
class MaskOrIndices(nn.Module):
    """Booleans select, bytes do too, integers gather."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        row = torch.arange(8)
        return row[row > 3] * 2, row[(row > 3).long()] * 2, row[row % 2 == 0] * 2, x[:, row > 5] * 2


@trap(sequences)
class ManyNumbers(nn.Module):
    """More distinct calls than a bounded cache holds; the first ones come again."""

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1500):
            x = x + i * 0.001
        for i in range(3):
            x = (x + i * 0.001) * i
        return x


@trap()
class ManyShapes(nn.Module):
    """A new shape at each step, and the way back."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(60):
            x = torch.cat([x, x[:, :1]], 1)
        for i in range(60):
            x = x[:, : 67 - i] * 2
        return x


@trap(rows)
class WrongShapesAreCaught(nn.Module):
    """An operation fails, is caught, and the module goes another way; twice."""

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for width in (3, 4, 3, 4):
            try:
                outputs.append(x.view(-1, width) + 1)
            except RuntimeError:
                outputs.append(small_or_large(x, is_large=width == 3))
        return outputs


@trap(sequences)
class IndexForms(nn.Module):
    """A number, a tensor without dimensions, a list of one and a slice of one."""

    def forward(self, x: Tensor) -> list[Tensor]:
        one = torch.tensor(1)
        indices = (1, one, [1], one[None], slice(1, 2), (..., 1), (one, 0), (..., one))
        return [x.transpose(0, 1)[it] * 2 for it in indices]


@trap(sequences)
class Assignments(nn.Module):
    """Numbers, booleans, rows, other dtypes and masks are written into a part."""

    def forward(self, x: Tensor) -> Tensor:
        y, n = x.clone(), torch.zeros(6, 8, dtype=torch.long)
        y[:, 0] = True
        y[:, 1] = 1
        y[:, 2] = y[:, 3].double()
        y[:, 4:, :2] = torch.ones(2)
        y[..., None, 0] = 3
        y[:, [0, 2]] = y[:, [1, 3]]
        y[:, torch.arange(6) > 3] = 0
        n[0] = 2.7
        n[1] = torch.ones(8)
        return y.sum() + n.sum()


@trap(images)
class Convolutions(nn.Module):
    """One shape of weights, input and output by other strides, dilations and groups."""

    def forward(self, x: Tensor) -> list[Tensor]:
        conv, w = functional.conv2d, torch.ones(4, 4, 3, 3)
        return [
            conv(x, w, padding=1),
            conv(x, w, padding=2, dilation=2),
            conv(x, w, padding="same", dilation=2),
            conv(x, w[:, :2], padding=1, groups=2),
            conv(x, w[:, :1], padding=1, groups=4),
            conv(x, w, stride=2, padding=1),
            functional.conv_transpose2d(x, w, padding=1),
            functional.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
            conv(x, w, w[0, :, 0, 0], padding=1),
        ]


@trap(images)
class Pools(nn.Module):
    """Windows that overlap, round up or give their indices."""

    def forward(self, x: Tensor) -> list[Tensor]:
        values, indices = functional.max_pool2d(x, 3, 2, 1, return_indices=True)
        return [
            functional.max_pool2d(x, 2),
            functional.max_pool2d(x, 3, 2),
            functional.max_pool2d(x, 3, 2, ceil_mode=True),
            functional.avg_pool2d(x, 2),
            functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
            functional.adaptive_avg_pool2d(x, (None, 2)),
            functional.adaptive_avg_pool2d(x, 1),
            functional.adaptive_max_pool2d(x, 2),
            functional.lp_pool2d(x, 2, 2),
            values + 1,
            indices + 1,
        ]


@trap()
class ListsThatBecomeTensors(nn.Module):
    """A list and an array change between two calls that are given them."""

    def forward(self, x: Tensor) -> list[Tensor]:
        sizes, array = [1, 2], numpy.array([1, 2])
        found = []
        for _ in range(3):
            shared = torch.from_numpy(array)
            for it in (torch.tensor(sizes), torch.tensor(array), shared, torch.as_tensor(array)):
                found.append(x @ torch.ones(8, int(it.sum())))
            sizes[0] += 1
            array += 1
            found.append(x @ torch.ones(8, int(shared.sum())))
        return found


@trap()
class DirectOperators(nn.Module):
    """Operators of the dispatcher by name: no function of torch is called."""

    def forward(self, x: Tensor) -> list[Tensor]:
        aten = torch.ops.aten
        y = x.clone()
        aten.add_.Tensor(y, x)
        return [
            aten.add.Tensor(x, x),
            aten.add.Tensor(x, y, alpha=2),
            aten.add.Scalar(x, 1),
            aten.mm(x, y.T),
            aten.linear.default(x, torch.ones(3, 8, device=x.device)),
            aten.split.Tensor(x, 4, 1)[1] * 2,
            aten.view.default(x, [-1]) * 2,
            y * 2,
        ]


@trap(two)
class ListsOfTensors(nn.Module):
    """One call works on a list of tensors, in place or not."""

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        sums = torch._foreach_add([x, y], 1.0)
        torch._foreach_mul_(sums, 2)
        grids = torch.meshgrid(x[0], y[0], indexing="ij")
        wide = torch.broadcast_tensors(x[:1], y)
        return [*sums, *torch._foreach_mul([x, x], [y, x]), *(it * 2 for it in (*grids, *wide))]
