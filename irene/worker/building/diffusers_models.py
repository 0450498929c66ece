"""Models of diffusers by the `config.json` of a folder, which names its class."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping

from irene.worker.refusals import describe, refuse

CLASS_NAME = "_class_name"


def model_class(config: Mapping[str, object], folder: str) -> type:
    """The class that a config of diffusers names.

    Raises:
        Refused: diffusers is not installed, does not load, or has no such model.
    """
    name = str(config[CLASS_NAME])
    try:
        import diffusers

        cls = getattr(diffusers, name, None)
    except (ImportError, RuntimeError) as err:  # its lazy modules raise the latter
        raise refuse(
            "missing-import",
            f"{folder}/config.json is of {name} of diffusers, and {sys.executable} cannot import "
            f"it: {describe(err)}",
            advice="Install diffusers there, or select the interpreter that has it.",
        ) from err
    if not (inspect.isclass(cls) and is_model_class(cls)):
        raise refuse(
            "arguments",
            f"diffusers {diffusers.__version__} has no model {name} that a config.json describes, "
            f"as {folder}/config.json says.",
            advice="Check its `_class_name`; a newer diffusers may know it.",
        )
    return cls


def is_model_class(cls: type) -> bool:
    """Whether a class is a model with a config of diffusers, where that has been loaded."""
    diffusers = sys.modules.get("diffusers")
    bases = (getattr(diffusers, it, None) for it in ("ModelMixin", "ConfigMixin"))
    return all(inspect.isclass(it) and issubclass(cls, it) for it in bases)


def constructor_arguments(cls: type, config: Mapping[str, object]) -> dict[str, object]:
    """Of a config what the constructor of its class takes."""
    found, _, _ = cls.extract_init_dict(dict(config))  # type: ignore[attr-defined] # of ConfigMixin
    return dict(found)
