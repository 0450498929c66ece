"""Views, strides, writing in place, `out=`: what happens to memory rather than to values."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from traps.table import TO_THE_HOST, Weighted, images, numbers, sequences, small_or_large, trap, two


@trap()
class InPlaceChain(nn.Module):
    """Each operation gives back the tensor that it changed."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = x.clone()
        z = y.add_(1).mul_(2).relu_().sub_(x)
        z += x
        z *= 2
        z[0] = 1.0
        z[:, 1] += 3
        return z, small_or_large(x, z is y)


@trap()
class ShapesChangedInPlace(nn.Module):
    """Operations in place that change the shape of the tensor they are given, and no other's."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, other = x.clone(), x.clone()
        y.t_()
        first = y @ other
        y.unsqueeze_(0)
        second = y * 2
        y.squeeze_(0)
        y.transpose_(0, 1)
        y.resize_(4, 2)
        third = y + 1
        y.resize_(x.shape[0], 4)
        return first, second, third, y * 2, other * 2


@trap(sequences)
class ContiguousOrNot(nn.Module):
    """The strides of one shape decide between a view, a copy and an error."""

    def forward(self, x: Tensor) -> list[Tensor]:
        square = x[:, :4, :4]
        turned = square.transpose(1, 2)
        same = turned.contiguous()
        outputs = []
        for it in (square, turned, same, turned.clone(), turned.clone().contiguous(), x[:, 2:]):
            outputs.append(small_or_large(x, it.is_contiguous()))
            outputs.append(it.contiguous() + 1)
            outputs.append(it.reshape(-1) + 1)
            try:
                outputs.append(it.view(-1) * 2)
            except RuntimeError:
                outputs.append(it.flatten(1) * 2)
        return outputs


@trap(sequences)
class StrideBranches(nn.Module):
    """A module that reads strides, sizes and offsets to choose its way."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for it in (x, x.permute(2, 0, 1), x.permute(2, 0, 1).contiguous(), x[:, 1:], x[:, ::2]):
            found.append(small_or_large(x, it.stride(-1) == 1))
            found.append(small_or_large(x, it.stride()[0] == it[0].numel()))
            found.append(small_or_large(x, it.storage_offset() == 0))
            found.append(small_or_large(x, it.numel() > 90))
            found.append(it * 2)
        return found


@trap(sequences)
class StorageOffsets(nn.Module):
    """Two slices of one shape and strides; only the offset says which can be read as pairs."""

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for start in (0, 1, 2, 3, 1, 0):
            part = x[..., start : start + 4]
            try:
                outputs.append(torch.view_as_complex(part.unflatten(-1, (2, 2))) * 2)
            except RuntimeError:
                outputs.append(small_or_large(x, is_large=start == 1))
            try:
                outputs.append(part.view(torch.float64) + 1)
            except RuntimeError:
                outputs.append(part.contiguous().view(torch.float64) + 1)
        return outputs


@trap(images)
class ChannelsLast(nn.Module):
    """The memory format of an image goes through a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> list[Tensor]:
        last = x.to(memory_format=torch.channels_last)
        found = []
        for it in (x, last, last + 1, torch.relu(last), self.norm(last), self.norm(x)):
            y = self.conv(it)
            found += [
                y.contiguous() * 2,
                y.contiguous(memory_format=torch.channels_last) * 2,
                small_or_large(x[0, 0], it.is_contiguous(memory_format=torch.channels_last)),
                it.permute(0, 2, 3, 1).reshape(-1, 4) + 1,
            ]
        return found


@trap()
class ExpandedTensors(nn.Module):
    """Many elements of one memory: they are read once and cannot be written to."""

    def forward(self, x: Tensor) -> list[Tensor]:
        wide, real = x[:1].expand(5, 8), x[:1].repeat(5, 1)
        outputs = [it * 2 for it in (wide, real, wide.contiguous(), x[:, :1].expand(-1, 8))]
        for it in (wide, real):
            try:
                it.add_(1)
            except RuntimeError:
                it = it.clone().add_(1)  # noqa: PLW2901 - as models write it
            outputs.append(it * 3)
        return outputs


@trap(two)
class OutArguments(nn.Module):
    """`out=` gives back what was given, which grows or changes where it must."""

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        room = torch.empty(x.shape, device=x.device)
        grows = torch.empty(0, device=x.device)
        first = torch.add(x, y, out=room)
        second = torch.add(x, y, out=grows)
        values, indices = torch.empty(0), torch.empty(0, dtype=torch.long)
        torch.max(x, 1, out=(values, indices))
        product = torch.mm(x, y.T, out=torch.empty(x.shape[0], x.shape[0]))
        wide = torch.empty(x.shape, dtype=torch.float64)
        torch.mul(x, y, out=wide)
        return [
            first * 2,
            second * 2,
            grows * 2,
            values * 2,
            indices * 2,
            product * 2,
            wide * 2,
            small_or_large(x, first is room),
            small_or_large(x, first is second),
        ]


@trap()
class OutIsAnArgument(nn.Module):
    """The result is written over an operand, or over a view of it."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = x.clone()
        torch.mul(y, 2, out=y)
        torch.cumsum(x, 1, out=y)
        torch.add(y[:, :4], y[:, 4:], out=y[:, :4])
        return y * 2, small_or_large(x, torch.add(y, 1, out=y) is y)


@trap()
class WritesThroughViews(nn.Module):
    """A write through a view, a chunk or an index reaches the whole."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        left, right = y.chunk(2, 1)
        left.copy_(right)
        right.zero_()
        y.view(-1)[::2].fill_(1.0)
        y[y.shape[0] - 1 :, 2:4] = 5
        y[:, torch.tensor([0, 2])] = 0.0
        y.T[0].mul_(2)
        y.index_fill_(1, torch.tensor([1]), 2.0).index_copy_(1, torch.tensor([0]), x[:, :1])
        return y @ y.T


@trap()
class OtherData(nn.Module):
    """`.data` is the same memory, and can be exchanged behind a tensor's back."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = x.clone()
        y.data.add_(1)
        y.data = torch.ones(x.shape[0], 4, device=x.device)
        first = y * 2
        y.set_(x[:, :3].clone())
        return first, y * 2, x.data * 2, x.detach() * 3


@trap()
class SwappedTensors(nn.Module):
    """Two tensors exchange all that they are, but not their names."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a, b = x[:, :4] * 2, x.T * 2  # (batch, 4), (8, batch)
        torch.utils.swap_tensors(a, b)
        return a * 2, b * 2, a[:4] @ x


@trap(sequences)
class Strided(nn.Module):
    """Any view of the memory, by sizes, strides and offset."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            it * 2
            for it in (
                x.as_strided((3, 4), (8, 1)),
                x.as_strided((3, 4), (1, 3)),
                x.as_strided((3, 4), (0, 1)),
                x[0, 1:].as_strided((3, 4), (8, 1)),
                x.as_strided((3, 4), (8, 1), 2),
                x.unfold(1, 3, 1),
                x.unfold(1, 3, 3),
                x.diagonal(dim1=1, dim2=2),
            )
        ]


@trap(numbers)
class BytesReadAsOtherTypes(nn.Module):
    """`view(dtype)` computes nothing and changes the shape."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        half = x.half()
        return (
            x.view(torch.float64) * 2,
            x.view(torch.int32) * 2,
            x.view(torch.uint8) + 1,
            half.view(torch.int16) + 1,
            half.view(torch.bfloat16) * 2,
            half.view(torch.int32) + 1,
        )


@trap()
class Conjugates(nn.Module):
    """A conjugate is a bit on a view: same shape, strides, dtype and memory."""

    def forward(self, x: Tensor) -> list[Tensor]:
        z = torch.complex(x, x)
        found = []
        for it in (z, z.conj(), z.conj().conj(), z.conj().resolve_conj(), z.conj().clone()):
            found.append(small_or_large(x, it.is_conj()))
            found += [it.resolve_conj() * 2, it @ it.T, it.real + 1, it.imag + 1, it.abs()]
            try:
                found.append(torch.view_as_real(it) + 1)
            except RuntimeError:
                found.append(torch.view_as_real(it.resolve_conj()) * 2)
        return found


@trap()
class Negatives(nn.Module):
    """The imaginary part of a conjugate is negative by a bit."""

    def forward(self, x: Tensor) -> list[Tensor]:
        z = torch.complex(x, x)
        found = []
        for it in (z.imag, z.conj().imag, z.mH.imag.T, z.H.imag):
            found += [small_or_large(x, it.is_neg()), it.resolve_neg() + 1, it.sum(), it.exp()]
        return found


@trap()
class ComplexParts(nn.Module):
    """Real tensors as complex ones and back, written through the parts."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        z = torch.view_as_complex(x.clone().view(-1, 4, 2))
        z.real.mul_(2)
        z.imag.zero_()
        z.mul_(1j)
        return torch.view_as_real(z) * 2, z.angle(), torch.polar(z.abs(), z.angle()), z.sum()


@trap(two)
class Copies(nn.Module):
    """Copies with and without another dtype, strides or memory format."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        z = torch.empty_like(x.T)
        z.copy_(y.T)
        w = torch.empty_like(x, dtype=torch.half)
        w.copy_(y)
        w.copy_(y[:1])
        x = x.clone()
        x.copy_(y)
        return (
            z.clone() * 2,
            z.clone(memory_format=torch.contiguous_format) * 2,
            w * 2,
            x.T.clone() * 2,
        )


@trap()
class WeightsWrittenTo(Weighted):
    """Parameters and buffers change in `forward`, and with them what they are."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        self.table.copy_(x.T @ x)
        self.table[0] = 1.0
        self.weight.data.mul_(0.5)
        scratch = torch.zeros(8, 8)
        scratch.copy_(self.weight)
        other = torch.zeros(8, 8)
        other.copy_(x.T @ x)
        return x @ self.table, x @ self.weight, x @ scratch, x @ other


@trap(sequences)
class CacheOfKeys(nn.Module):
    """A buffer is filled step by step, as a cache of keys and values is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(4, 6, 8), persistent=False)
        self.to_key = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        found = []
        for step in range(x.shape[1]):
            self.keys[:batch, step] = self.to_key(x[:, step])
            found.append((self.keys[:batch, : step + 1] @ x[:, step, :, None]).sum(1))
        return torch.stack(found)


@trap(sequences)
class ResizedStorage(nn.Module):
    """Memory that grows under a tensor."""

    def forward(self, x: Tensor) -> list[Tensor]:
        y = x.clone()
        n_bytes = y.untyped_storage().nbytes()
        part = y[:1].clone()
        return [
            small_or_large(x[0], n_bytes == x.numel() * 4),
            small_or_large(x[0], y[0].untyped_storage().nbytes() == n_bytes),
            small_or_large(x[0], part.untyped_storage().nbytes() == 6 * 8 * 4),
            small_or_large(x[0], x.element_size() * x.nelement() == n_bytes),
        ]


@trap(aside=TO_THE_HOST)
class ToTheHost(Weighted):
    """What is asked for on the CPU is copied there from a device, and nothing is done on a CPU."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x.cpu() * 2, self.weight.to("cpu") @ x.T, x.to("cpu", torch.float64) * 2]


@trap(sequences)
class StridedByOffset(nn.Module):
    """An offset counts from the beginning of the memory, whichever view it is given to."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for strided in (torch.as_strided, torch.ops.aten.as_strided.default, Tensor.as_strided):
            first, again = (strided(it, (4,), (1,), 8) for it in (x[0, 0], x[0, 2]))
            found += [first * again, first * first, first * strided(x[0, 1], (4,), (1,), 12)]
        return found


@trap(aside={"clone": "a real memory is copied as bytes", "fill_": "the same"})
class CopiesOfCopies(nn.Module):
    """Tensors are copied with all that is noted on them, and the originals go."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for i in range(6):
            original = x * i
            copied = copy.deepcopy(original)
            found.append(original * copied)
            del original
            again = copy.copy(copied)
            found += [copied * again, again * copy.deepcopy(again)]
            x = again + 1
        return found
