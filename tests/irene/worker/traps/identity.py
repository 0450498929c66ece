"""Which tensors are the same object, the same memory, or merely look alike."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

from traps.table import Weighted, rows, sequences, small_or_large, trap, two


def with_itself(batch: int) -> tuple[object, ...]:
    """One tensor given twice."""
    x = torch.ones(batch, 8)
    return x, x


def with_memory(batch: int) -> tuple[object, ...]:
    """A sequence and another of the same shape."""
    return torch.ones(batch, 6, 8), torch.ones(batch, 6, 8)


LAYOUT = {"clone": "a memory-efficient kernel of attention lays out its output in its own way"}


@trap(with_memory, aside=LAYOUT)
class SelfAttentionOrCross(nn.Module):
    """`nn.MultiheadAttention` asks whether key is value and query is key.

    Of the same shapes come one projection of three, one and one of two, or three.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            return self.attended(x, memory)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)

    def attended(self, x: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        attend = self.attention
        return (
            attend(x, x, x)[0],
            attend(x, memory, memory)[0],
            attend(x, x, memory)[0],
            attend(memory, x, x)[0],
            attend(x, x, x, need_weights=False)[0],
            attend(x, memory, memory, need_weights=False)[0],
            attend(x, x.clone(), x.clone(), need_weights=False)[0],
            attend(x, x.view_as(x), x.view_as(x), need_weights=False)[0],
        )


@trap(lambda batch: (torch.ones(6, batch, 8), torch.ones(6, batch, 8)), aside=LAYOUT)
class CrossBeforeSelf(nn.Module):
    """The same with the questions of other functions in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        attend = self.attention
        return (
            attend(x, memory, x, need_weights=False)[0],
            attend(x, memory, memory, need_weights=False)[0],
            attend(x, x, x, need_weights=False)[0],
            attend(memory, memory, memory, average_attn_weights=False)[1],
            attend(memory, memory, memory)[1],
        )


@trap(lambda batch: (torch.ones(5, batch, 8), torch.ones(5, batch, 8)), aside=LAYOUT)
class WholeTransformer(nn.Module):
    """Encoder and decoder of equal lengths: self- and cross-attention of equal shapes."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.transformer = nn.Transformer(8, 2, 1, 2, 16)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.transformer(source, target)


@trap(with_itself)
class OneInputTwice(Weighted):
    """Two parameters of `forward` are one tensor."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y if x is y else self.fc(x) * y


@trap(two)
class SquareOrProduct(nn.Module):
    """`x * x` reads one tensor, `x * y` two."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return x * x, x * y, y * x, y * y, x @ x.T, x @ y.T, torch.cat([x, x]), torch.cat([x, y])


@trap(sequences)
class OneMemoryTwoObjects(nn.Module):
    """Two views of one part are one memory; two views of two parts are not."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        left, again, right = x[..., :4], x[..., :4], x[..., 4:]
        return left * right, left * again, left * left, right * x[..., 4:], right * left


@trap()
class ViewsWithinOneList(nn.Module):
    """The same among the elements of a list, in a list within the call."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a, b = x[:, :4], x[:, 4:]
        return tuple(
            torch.stack(it) for it in ([a, b], [a, a], [a, x[:, :4]], [b, a], [a.clone(), a])
        )


@trap()
class SameOrNew(Weighted):
    """Some operations return what they were given, as long as nothing is to be done."""

    def forward(self, x: Tensor) -> list[Tensor]:
        answers = [
            x.float() is x,
            x.double() is x,
            x.contiguous() is x,
            x.T.contiguous() is x.T,
            x.to(x.dtype) is x,
            x.expand(x.shape) is x,
            x.view(x.shape) is x,
            x.clone() is x,
            x.relu_() is x,
            torch.relu(x) is x,
            functional.dropout(x, training=False) is x,
            functional.relu(x, inplace=True) is x,
            nn.Identity()(x) is x,
            torch.add(x, 1, out=x) is x,
            x.requires_grad_(False) is x,
            x.detach() is x,
            x.type(torch.float32) is x,
            x.flatten() is x,
            x[0].flatten() is x[0],
            torch.ravel(x) is x,
            torch.atleast_2d(x) is x,
            torch.as_tensor(x) is x,
            x.resolve_conj() is x,
            x.squeeze() is x,
        ]
        return [small_or_large(x, it) for it in answers]


@trap()
class EachCallGivesItsOwn(nn.Module):
    """Two equal calls give two tensors; what is done to one does not happen to the other."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a, b = x + 1, x + 1
        a.unsqueeze_(0)
        b.t_()
        return a * 2, b * 2, (x + 1) * 2, small_or_large(x, a is b)


@trap(two)
class DictionaryOfTensors(nn.Module):
    """Tensors hash by identity: equal calls are two keys, the same object is one."""

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        costs = {x: 1, y: 2, x + y: 3, x + y: 4, x.relu_(): 5, x.view(-1): 6, x.view(-1): 7}
        assert x in costs
        return [x @ torch.zeros(8, len(costs)), *(it * n for it, n in costs.items())]


@trap()
class ById(nn.Module):
    """A memo by `id`, while tensors come, go and leave their ids to others."""

    def forward(self, x: Tensor) -> Tensor:
        seen: dict[int, int] = {}
        for i in range(20):
            y = x + i
            seen[id(y)] = y.shape[0]
            x = y * 2
            del y
        kept = [x + 1 for _ in range(4)]
        return x @ torch.zeros(8, len({id(it) for it in kept}))


@trap()
class TagsOnTensors(nn.Module):
    """An attribute that somebody set on a tensor belongs to that tensor alone."""

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for i in range(4):
            y = x + 1
            outputs.append(small_or_large(x, hasattr(y, "tag")))
            if i % 2 == 0:
                y.tag = "seen"
            outputs.append(small_or_large(x, hasattr(y.view(-1), "tag")))
            outputs.append(small_or_large(x, hasattr(y.relu_(), "tag")))
        return outputs


@trap()
class TagsOnWeights(Weighted):
    """Attributes of parameters and buffers, as libraries of parallelism set them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight.is_wide = True
        self.table.is_wide = True

    def forward(self, x: Tensor) -> list[Tensor]:
        asked = (self.weight, self.table, self.fc.weight, self.fc.bias)
        return [small_or_large(x, getattr(it, "is_wide", False)) for it in asked]


@trap()
class IsParameter(Weighted):
    """Parameters are parameters, require gradients and are leaves; buffers are not."""

    def forward(self, x: Tensor) -> list[Tensor]:
        asked = (self.weight, self.table, self.fc.weight, x, self.weight + 1)
        return [
            small_or_large(x, answer)
            for it in asked
            for answer in (isinstance(it, nn.Parameter), it.requires_grad, it.is_leaf)
        ]


@trap()
class DetachedWeights(Weighted):
    """A view of a parameter requires gradients, the same memory detached does not."""

    def forward(self, x: Tensor) -> list[Tensor]:
        weight = self.fc.weight
        asked = [
            weight.view(-1),
            weight.detach(),
            weight.data,
            weight.detach().view(-1),
            weight.t(),
        ]
        return [small_or_large(x, it.requires_grad) for _ in range(3) for it in asked]


@trap()
class MyOwnWeight(Weighted):
    """A layer compares its weight with the one that it remembers, and counts its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.remembered = [self.fc.weight]
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.fc.weight

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            small_or_large(x, self.tied.weight is self.fc.weight),
            small_or_large(x, self.fc.weight is self.fc.weight),
            small_or_large(x, self.weight is self.table),
            x @ torch.zeros(8, len(list(self.parameters()))),
            self.fc(x) + self.tied(x),
        ]


@trap()
class SameMemory(Weighted):
    """Questions about memory: whose view is it, where does it begin."""

    def forward(self, x: Tensor) -> list[Tensor]:
        y = x + 1
        answers = [
            y.is_set_to(y),
            y.is_set_to(y.view(y.shape)),
            y.is_set_to(x),
            y[1:].storage_offset() == 8,
            y[:1].storage_offset() == 8,
            torch._C._is_alias_of(y, y[0]),
            torch._C._is_alias_of(y, x),
        ]
        return [small_or_large(x, it) for it in answers]


@trap()
class Addresses(nn.Module):
    """Addresses of memory: views begin where their tensor does, other tensors elsewhere."""

    def forward(self, x: Tensor) -> list[Tensor]:
        y = x + 1
        answers = [
            y.data_ptr() == y.view(-1).data_ptr(),
            y.data_ptr() == x.data_ptr(),
            y.data_ptr() == y[:, 1:].data_ptr(),
            y.data_ptr() == 0,
            y.untyped_storage().data_ptr() == y[0].untyped_storage().data_ptr(),
            y.untyped_storage().data_ptr() == x.untyped_storage().data_ptr(),
        ]
        return [small_or_large(x, it) for it in answers]


@trap()
class WeightOrActivation(Weighted):
    """One product with a weight, with a view of it, with what follows from it, and without."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        activation = x.T @ x
        return (
            x @ self.weight,
            x @ activation,
            x @ self.weight.T,
            x @ activation.T,
            x @ (self.weight + 1),
            x @ (activation + 1),
            x @ self.table,
            functional.linear(x, self.weight),
            functional.linear(x, activation),
            functional.linear(x, self.fc.weight, self.fc.bias),
            functional.linear(x, activation, activation[0]),
        )


@trap()
class PartsOfAWeight(Weighted):
    """Parts of one weight have equal shapes; each is a weight, no activation is."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        up, down = self.weight.chunk(2, dim=0)
        activation = (x.T @ x)[:4]
        return tuple(functional.linear(x, it) for it in (up, activation, down, self.weight[:4]))


@trap()
class WeightsOfWeights(Weighted):
    """A weight computed from weights, and the same function of an activation."""

    def scaled(self, w: Tensor) -> Tensor:
        return w / w.norm(dim=1, keepdim=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        activation = x.T @ x
        return tuple(x @ self.scaled(it) for it in (self.weight, activation, self.fc.weight))


@trap()
class ProductsOfManyParameters(nn.Module):
    """Two weights of one shape: both are read, both are parameters, one is tied."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.ones(8, 8))
        self.second = nn.Parameter(torch.ones(8, 8))
        self.third = self.first

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        f, s, t = self.first, self.second, self.third
        return x @ (f @ s), x @ (f @ t), x @ (s @ s), x @ (f + s), x @ (f + t)


@trap(rows)
class ResultTuples(nn.Module):
    """Operations with several results give a tuple with names, time and again."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(3):
            largest = x.topk(2)
            ordered = torch.sort(x)
            found += [largest.values + 1, largest.indices + 1, ordered.values + 1]
            found += [x.max(1).indices + 1, torch.aminmax(x).min + 1, x.min(0)[0] + 1]
            found += [x.median(1).values + 1, x.cummax(1).values + 1, x.mode(1).values + 1]
        return found


@trap(sequences)
class ResultsThatAreChanged(nn.Module):
    """The list of a result is the caller's, who may lengthen it."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(1)
        for _ in range(3):
            parts = list(x.unbind(1))
            parts.append(total)
            rest = list(x.split(2, 1))
            rest.pop()
            sizes = list(x.shape)
            sizes[1] = 1
            total = (
                torch.stack(parts, 1).sum(1) + torch.cat(rest, 1).sum(1) + x.new_ones(sizes)[:, 0]
            )
        return total


@trap(sequences)
class ArgumentsThatAreChanged(nn.Module):
    """A list is given, changed, and given again."""

    def forward(self, x: Tensor) -> Tensor:
        sizes, parts = [2, 4], [x, x]
        total = torch.zeros(())
        for i in range(3):
            first, second = x.split(sizes, 1)
            total = total + first.sum() * second.mean() + torch.cat(parts, 1).sum()
            sizes[0] += 1
            sizes[1] -= 1
            parts.append(x[:, :i])
        return total
