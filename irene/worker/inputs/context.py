"""What the conventions for inputs know: batch, length, and the sizes of the model's config."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from irene.tree import Assumption
from irene.worker.inputs.plans import Placeholder
from irene.worker.protocol import BuildSpec

if TYPE_CHECKING:
    import torch

_FIRST_PARTS = ("text_config", "vision_config", "audio_config", "encoder", "backbone_config")
_DEEPEST = 4  # levels of configs in configs


class Context:
    """The sizes that inputs follow from, and what was assumed while they were read."""

    def __init__(
        self, model: torch.nn.Module, spec: BuildSpec, dtype: str, names: tuple[str, ...] = ()
    ) -> None:
        self.model = model
        self.batch = spec.batch_size
        self.sequence = spec.sequence_length
        self.dtype = dtype
        self.names = names  # of forward's parameters
        self.config = getattr(model, "config", None)
        self._parts: list[object] | None = None
        self._texts: list[str] = []

    def assume(self, text: str) -> None:
        """Note what a convention decided, for the person who reads the estimate."""
        self._texts.append(text)

    def assumptions(self) -> tuple[Assumption, ...]:
        """What was decided by convention so far."""
        return tuple(Assumption(text, None) for text in dict.fromkeys(self._texts))

    @property
    def is_transformers(self) -> bool:
        """Whether the model has a config of Transformers."""
        return is_config(self.config)

    @property
    def is_diffusers(self) -> bool:
        """Whether the model is one of diffusers."""
        base = getattr(sys.modules.get("diffusers"), "ModelMixin", None)
        return inspect.isclass(base) and isinstance(self.model, base)

    @property
    def class_name(self) -> str:
        return type(self.model).__name__

    @property
    def model_type(self) -> str:
        return str(getattr(self.config, "model_type", ""))

    def size(self, *names: str) -> object:
        """The first of these that the config or one of its parts has."""
        if self._parts is None:
            self._parts = list(_with_parts(self.config))
        for name in names:
            for config in self._parts:
                value = getattr(config, name, None)
                if value is not None:
                    return value
        return None

    def number(self, *names: str) -> int | None:
        """The first of these that is a positive whole number somewhere in the config."""
        for name in names:
            value = self.size(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return None

    def width(self) -> int | None:
        """Of the hidden states."""
        return self.number("hidden_size", "d_model", "n_embd", "dim", "embed_dim")

    def first_width(self, *parts: str) -> int | None:
        """What the first layer takes for each position; None where it takes images."""
        from torch import nn

        for layer in self.layers(*parts):
            if isinstance(layer, nn.Conv1d):
                return layer.in_channels
            if isinstance(layer, nn.Linear):
                return layer.in_features
            if isinstance(layer, nn.LayerNorm):
                return int(layer.normalized_shape[-1])
            if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
                return None
        return None

    def layers(self, *parts: str) -> Iterator[torch.nn.Module]:
        """The modules in order of construction; those below a name with one of `parts` first."""
        named = [(name, it) for name, it in self.model.named_modules() if name]
        chosen = [it for name, it in named if any(part in name.lower() for part in parts)]
        yield from chosen
        if not chosen:
            yield from (it for _, it in named)


def is_config(value: object) -> bool:
    """Whether a value is a config of Transformers, or looks like one."""
    return value is not None and not isinstance(value, type) and hasattr(value, "to_dict")


def _with_parts(config: object) -> Iterator[object]:
    """A config and its parts, parts of the text first, the rest level by level."""
    level, seen = [config], set[int]()
    for _ in range(_DEEPEST):
        deeper: list[object] = []
        for it in level:
            if it is None or id(it) in seen:
                continue
            seen.add(id(it))
            yield it
            first = [getattr(it, name, None) for name in _FIRST_PARTS]
            deeper += [part for part in first if part is not None and not isinstance(part, Mapping)]
            deeper += [part for part in getattr(it, "__dict__", {}).values() if is_config(part)]
        level = deeper


Rule = Callable[[Context, str], Placeholder | None]
"""From a parameter's name to what it wants; None where the config does not tell."""

ParticularRule = Callable[[Context], object]
"""The value of one parameter of one architecture: a placeholder, or a list of them."""
