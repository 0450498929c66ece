"""The libraries whose architectures are traced: which they have, and how each builds them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rows import short

if TYPE_CHECKING:
    import torch

SMALLEST_CONFIGS = Path(__file__).parent / "diffusers_configs.json"


@dataclass(frozen=True, slots=True)
class Library:
    """One library, asked for its architectures by their names."""

    name: str
    page: str  # in docs/
    names: Callable[[], list[str]]
    write_config: Callable[[str, str], None]  # of an architecture, as config.json of a folder
    flaw: Callable[[str], str]  # why the library itself builds no model; "" where it does
    plain_model: Callable[[str], torch.nn.Module]  # of a folder, as the library builds it


def _names_of_transformers() -> list[str]:
    import transformers
    import transformers.modeling_utils  # loaded once, for all children

    transformers.logging.set_verbosity_error()
    return list(transformers.CONFIG_MAPPING.keys())


def _write_config_of_transformers(name: str, folder: str) -> None:
    from transformers import CONFIG_MAPPING

    CONFIG_MAPPING[name]().save_pretrained(folder)


def _flaw_of_transformers(name: str) -> str:
    import torch
    import transformers

    from irene.worker.building.architectures import architecture_of

    config = transformers.CONFIG_MAPPING[name]()
    cls = architecture_of(config, (), transformers)
    if cls is None:
        return "Transformers has no model class for its config"
    try:
        with torch.device("meta"):
            cls(config)
    except Exception as meta_err:  # noqa: BLE001 - whatever a constructor raises
        return f"{cls.__name__} is not built: {short(meta_err)}"
    return ""


def _plain_model_of_transformers(folder: str) -> torch.nn.Module:
    import transformers

    from irene.worker.building.architectures import architecture_of

    config = transformers.AutoConfig.from_pretrained(folder)
    cls = architecture_of(config, (), transformers)
    assert cls is not None  # it was built before
    model: torch.nn.Module = cls(config)
    return model


def _names_of_diffusers() -> list[str]:
    import diffusers
    from diffusers.utils import logging

    logging.set_verbosity_error()
    found = {name: getattr(diffusers, name) for name in dir(diffusers)}
    base = diffusers.ModelMixin
    return [
        name
        for name, it in sorted(found.items())
        if inspect.isclass(it) and issubclass(it, base) and it is not base
    ]


def _config_of_diffusers(name: str) -> Mapping[str, object]:
    """The default one; of classes whose defaults do not do, one as small as it gets."""
    configs = json.loads(SMALLEST_CONFIGS.read_text(encoding="utf-8"))
    return {"_class_name": name, **configs.get(name, {})}


def _write_config_of_diffusers(name: str, folder: str) -> None:
    text = json.dumps(_config_of_diffusers(name))
    (Path(folder) / "config.json").write_text(text, encoding="utf-8")


def _flaw_of_diffusers(name: str) -> str:
    import diffusers
    import torch

    cls = getattr(diffusers, name)
    if not issubclass(cls, diffusers.ConfigMixin):
        return "it is made of other models, and has no config.json of its own"
    try:
        with torch.device("meta"):
            cls.from_config(dict(_config_of_diffusers(name)))
    except Exception as meta_err:  # noqa: BLE001 - whatever a constructor raises
        return short(meta_err)
    return ""


def _plain_model_of_diffusers(folder: str) -> torch.nn.Module:
    import diffusers

    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    model: torch.nn.Module = getattr(diffusers, config["_class_name"]).from_config(config)
    return model


TRANSFORMERS = Library(
    "transformers", "coverage.md", _names_of_transformers, _write_config_of_transformers,
    _flaw_of_transformers, _plain_model_of_transformers,
)  # fmt: skip
DIFFUSERS = Library(
    "diffusers", "coverage-diffusers.md", _names_of_diffusers, _write_config_of_diffusers,
    _flaw_of_diffusers, _plain_model_of_diffusers,
)  # fmt: skip
LIBRARIES = {it.name: it for it in (TRANSFORMERS, DIFFUSERS)}
