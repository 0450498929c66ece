"""Inputs before they exist: dtype, shape and content, and how they become tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from irene.tree import Assumption, TensorSpec
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch

Content = Literal["random", "ones"]
Values = tuple["float | Values", ...]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A tensor to be made: random normal, random ids, ones for masks, or of given values.

    `values`, where there are any, are nested as the last dimensions are, and repeat over the
    others: sizes of images, boxes of tokens.
    """

    dtype: str
    shape: tuple[int, ...]
    content: Content = "random"
    values: Values = ()

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Session:
    """An object of a library that forward changes: made anew for each run."""

    name: str
    make: Callable[[], object]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Inputs:
    """Arguments of forward with placeholders for tensors, at any depth."""

    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # of the positional ones
    assumptions: tuple[Assumption, ...] = ()

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The tensors by name; those in lists by their index."""
        names = [*self.names, *(f"input {i}" for i in range(len(self.names), len(self.args)))]
        named = [*zip(names, self.args, strict=False), *self.kwargs.items()]
        return tuple(
            TensorSpec(path, it.dtype, it.shape)
            for name, value in named
            for path, it in _placeholders(name, value)
        )

    def on_meta(self, values: KnownValues) -> tuple[tuple[object, ...], dict[str, object]]:
        """The arguments as meta tensors; of masks the values are known: all ones."""
        import torch

        def make(placeholder: Placeholder) -> torch.Tensor:
            dtype = getattr(torch, placeholder.dtype)
            if placeholder.values and not dtype.is_floating_point:
                return _given(placeholder)  # sizes and positions, which models read
            tensor = torch.empty(placeholder.shape, dtype=dtype, device="meta")
            if placeholder.content == "ones":
                values.remember(tensor, torch.ones(placeholder.shape, dtype=dtype))
            return tensor

        return self._filled(make)

    def for_real(
        self, model: torch.nn.Module, device: str, seed: int
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """The arguments with random values that the model can take."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        n_ids = _number_of_ids(model)

        def make(placeholder: Placeholder) -> torch.Tensor:
            dtype = getattr(torch, placeholder.dtype)
            if placeholder.values:
                tensor = _given(placeholder)
            elif placeholder.content == "ones" or dtype is torch.bool:
                tensor = torch.ones(placeholder.shape, dtype=dtype)
            elif dtype.is_floating_point or dtype.is_complex:
                tensor = torch.randn(placeholder.shape, generator=generator).to(dtype)
            else:
                tensor = torch.randint(0, n_ids, placeholder.shape, generator=generator).to(dtype)
            return tensor.to(device)

        return self._filled(make)

    def _filled(
        self, make: Callable[[Placeholder], torch.Tensor]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        args = tuple(_fill(it, make) for it in self.args)
        return args, {name: _fill(it, make) for name, it in self.kwargs.items()}


def _given(placeholder: Placeholder) -> torch.Tensor:
    """The given values, repeated to the shape."""
    import torch

    values = torch.tensor(placeholder.values, dtype=getattr(torch, placeholder.dtype))
    return values.broadcast_to(placeholder.shape).contiguous()


def _fill(value: object, make: Callable[[Placeholder], torch.Tensor]) -> object:
    if isinstance(value, Placeholder):
        return make(value)
    if isinstance(value, Session):
        return value.make()
    if isinstance(value, dict):
        return {name: _fill(it, make) for name, it in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_fill(it, make) for it in value)
    return value


def _placeholders(name: str, value: object) -> Iterator[tuple[str, Placeholder]]:
    if isinstance(value, Placeholder):
        yield name, value
    elif isinstance(value, dict):
        for key, it in value.items():
            yield from _placeholders(f"{name}[{key!r}]", it)
    elif isinstance(value, (list, tuple)):
        for i, it in enumerate(value):
            yield from _placeholders(f"{name}[{i}]", it)


def _number_of_ids(model: torch.nn.Module) -> int:
    """Ids below this are valid everywhere: the vocabulary, else the smallest embedding."""
    import torch

    vocabulary = getattr(getattr(model, "config", None), "vocab_size", None)
    if isinstance(vocabulary, int) and vocabulary > 0:
        return vocabulary
    sizes = [it.num_embeddings for it in model.modules() if isinstance(it, torch.nn.Embedding)]
    return max(1, min(sizes, default=2))
