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
    if not (inspect.isclass(cls) and issubclass(cls, diffusers.ModelMixin)):
        raise refuse(
            "arguments",
            f"diffusers {diffusers.__version__} has no model {name}, which {folder}/config.json "
            "names.",
            advice="Check the name; a newer diffusers may know it.",
        )
    return cls


def is_model_class(cls: type) -> bool:
    """Whether a class is one of diffusers, where the user's code has loaded diffusers."""
    base = getattr(sys.modules.get("diffusers"), "ModelMixin", None)
    return inspect.isclass(base) and issubclass(cls, base)


def constructor_arguments(cls: type, config: Mapping[str, object]) -> dict[str, object]:
    """Of a config what the constructor of its class takes."""
    found, _, _ = cls.extract_init_dict(dict(config))  # type: ignore[attr-defined] # of ConfigMixin
    return dict(found)
