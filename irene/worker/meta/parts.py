"""The modules of a model and the tensors that they hold, found in one walk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Container = dict[str, "torch.Tensor | None"]


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What a model consists of; shared parts once, where they come first."""

    model: torch.nn.Module
    scopes: dict[torch.nn.Module, str]  # as `named_modules()` has them, in its order
    parameters: list[torch.Tensor]
    buffers: list[torch.Tensor]
    containers: list[Container]
    """Where the tensors are held; those of scripted modules are in C++, out of reach."""

    n_parameters: dict[torch.nn.Module, int]
    """Elements of the parameters below each module; empty where any part is shared."""

    is_lazy: bool
    """Whether a part does not know its size yet."""


def parts_of(model: torch.nn.Module) -> ModelParts:
    """All parts of `model`."""
    walk = _Walk()
    walk.enter(model, "")
    return ModelParts(
        model,
        walk.scopes,
        list(walk.parameters.values()),
        list(walk.buffers.values()),
        walk.containers,
        {} if walk.is_shared else walk.n_parameters,
        walk.is_lazy,
    )


class _Walk:
    def __init__(self) -> None:
        self.scopes: dict[torch.nn.Module, str] = {}
        self.parameters: dict[int, torch.Tensor] = {}
        self.buffers: dict[int, torch.Tensor] = {}
        self.containers: list[Container] = []
        self.n_parameters: dict[torch.nn.Module, int] = {}
        self.is_shared = False
        self.is_lazy = False

    def enter(self, module: torch.nn.Module, scope: str) -> int:
        """The elements of the parameters at and below `module`."""
        if module in self.scopes:
            self.is_shared = True
            return 0
        self.scopes[module] = scope
        own = vars(module)
        parameters, buffers = own.get("_parameters"), own.get("_buffers")
        n_parameters = 0
        if type(parameters) is dict and type(buffers) is dict:
            if parameters:
                self.containers.append(parameters)
                n_parameters = self._add_parameters(parameters.values())
            if buffers:
                self.containers.append(buffers)
                self._add_buffers(buffers.values())
        else:
            n_parameters = self._add_parameters(module.parameters(recurse=False))
            self._add_buffers(module.buffers(recurse=False))
        prefix = f"{scope}." if scope else ""
        for name, child in module._modules.items():
            if child is not None:
                n_parameters += self.enter(child, prefix + name)
        self.n_parameters[module] = n_parameters
        return n_parameters

    def _add_buffers(self, buffers: Iterable[torch.Tensor | None]) -> None:
        for buffer in buffers:
            if buffer is not None:
                self.buffers[id(buffer)] = buffer
                self.is_lazy = self.is_lazy or is_lazy(buffer)

    def _add_parameters(self, parameters: Iterable[torch.Tensor | None]) -> int:
        n_parameters = 0
        for parameter in parameters:
            if parameter is None:
                continue
            if id(parameter) in self.parameters:
                self.is_shared = True
                continue
            self.parameters[id(parameter)] = parameter
            if is_lazy(parameter):
                self.is_lazy = True
            else:
                n_parameters += parameter.numel()
        return n_parameters


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether a parameter or buffer does not know its size yet."""
    if type(tensor) in _sized():
        return False
    from torch.nn.parameter import is_lazy as lacks_size

    return bool(lacks_size(tensor))


@cache
def _sized() -> frozenset[type]:
    """The types of most tensors."""
    import torch

    return frozenset((torch.Tensor, torch.nn.Parameter))
