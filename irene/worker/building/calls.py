"""Which constructor a `BuildSpec` calls: that of a class of a file, or of a config's class."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from irene.tree import Assumption
from irene.worker.building.architectures import architecture_of
from irene.worker.building.arguments import (
    Arguments,
    config_from_folder,
    config_in,
    find_arguments,
    read_config,
)
from irene.worker.building.attention import Attention
from irene.worker.building.diffusers_models import CLASS_NAME, model_class
from irene.worker.loading import load, module_class
from irene.worker.protocol import BuildSpec
from irene.worker.refusals import refuse

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class ConstructorCall:
    """A constructor with its arguments, ready to be called, and as a person would write it."""

    make: Callable[[Attention], torch.nn.Module]
    text: str


def constructor_call(spec: BuildSpec) -> tuple[ConstructorCall, tuple[Assumption, ...]]:
    """The call that makes the model of `spec`, and what it takes for granted.

    Raises:
        Refused: the file, the class, its arguments or the folder are wrong.
    """
    if not spec.class_name:
        return _call_of_folder(spec.config_dir or ""), ()
    module = load(spec)
    cls = module_class(module, spec)
    arguments = find_arguments(cls, module, spec)
    return _call_of_class(cls, arguments), arguments.assumptions


def _call_of_class(cls: type, arguments: Arguments) -> ConstructorCall:
    def make(attention: Attention) -> torch.nn.Module:
        return attention.build(
            config_in(arguments), lambda: cls(*arguments.args, **arguments.kwargs)
        )

    return ConstructorCall(make, arguments.text)


def _call_of_folder(folder: str) -> ConstructorCall:
    """Of the class of diffusers that a `config.json` names, else of one of Transformers."""
    data = read_config(folder)
    return _of_diffusers(folder, data) if CLASS_NAME in data else _of_transformers(folder, data)


def _of_diffusers(folder: str, data: Mapping[str, object]) -> ConstructorCall:
    cls = model_class(data, folder)

    def make(attention: Attention) -> torch.nn.Module:
        return attention.build(None, lambda: cls.from_config(dict(data)))  # type: ignore[attr-defined] # of ConfigMixin

    return ConstructorCall(make, f"{cls.__name__}.from_config({folder!r})")


def _of_transformers(folder: str, data: Mapping[str, object]) -> ConstructorCall:
    """The architecture that the config names, else the `AutoModel` for it."""
    try:
        import transformers
    except ImportError as err:
        raise refuse(
            "missing-import",
            f"{sys.executable} cannot import transformers: {err}.",
            advice="Install transformers there, or select the interpreter that has it.",
        ) from err
    config = config_from_folder(folder, None)
    cls = architecture_of(config, _architectures(data), transformers)
    if cls is None:
        raise refuse(
            "arguments",
            f"Transformers has no model class for the {type(config).__name__} of "
            f"{folder}/config.json.",
            advice="Name an architecture in its `architectures`.",
        )

    def make(attention: Attention) -> torch.nn.Module:
        return attention.build(config, lambda: cls(config))

    text = f"{cls.__name__}({type(config).__name__}.from_pretrained({folder!r}))"
    return ConstructorCall(make, text)


def _architectures(data: Mapping[str, object]) -> tuple[str, ...]:
    named = data.get("architectures")
    return tuple(map(str, named)) if isinstance(named, list) else ()
