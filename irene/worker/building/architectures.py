"""Which model class a Transformers config stands for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator
from types import ModuleType


def architecture_of(config: object, named: Iterable[str], transformers: ModuleType) -> type | None:
    """The class that the `architectures` of a config.json name, else the one for its config.

    That is the class of `AutoModel`; where it knows none that of the first other auto class
    (`AutoModelForDepthEstimation`, ...); for configs that are parts of others the class beside
    them that is built from this config.
    """
    for name in named:
        cls = getattr(transformers, name, None)
        if inspect.isclass(cls):
            return cls
    return next(_registered(config), None) or _beside(config, transformers)


def _registered(config: object) -> Iterator[type]:
    from transformers.models.auto import modeling_auto

    names = [name for name in vars(modeling_auto) if _is_mapping(name)]
    for name in sorted(names, key=lambda it: it != "MODEL_MAPPING"):
        mapping = getattr(modeling_auto, name)
        try:
            found = mapping[type(config)]
        except (KeyError, ValueError, AttributeError, ImportError):
            continue
        yield found[0] if isinstance(found, tuple) else found


def _is_mapping(name: str) -> bool:
    return name.startswith("MODEL_") and name.endswith("_MAPPING")


def _beside(config: object, transformers: ModuleType) -> type | None:
    """The class in the modeling file beside the config's that has it as its `config_class`."""
    place = type(config).__module__
    try:
        modeling = importlib.import_module(place.replace(".configuration_", ".modeling_"))
    except ImportError:
        return None
    built_from_it = [
        cls
        for cls in vars(modeling).values()
        if inspect.isclass(cls)
        and issubclass(cls, transformers.PreTrainedModel)
        and cls.__module__ == modeling.__name__
        and vars(cls).get("config_class") is type(config)
        and not cls.__name__.endswith("PreTrainedModel")
    ]
    # Bare models before heads.
    return min(built_from_it, key=lambda it: "For" in it.__name__, default=None)
