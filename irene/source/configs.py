"""Whether a class is built from a Transformers config, and where that config comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from irene.source.outline import ClassOutline, Outline
from irene.source.project import DTYPES

_SUFFIX = "Config"


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """The config that a class is built from, by the text alone; the worker makes it."""

    value: str  # "BertConfig()"
    where: str
    folder: str | None  # of a config.json beside the file


def config_source(
    outlined_class: ClassOutline, outlined: Outline, path: str
) -> ConfigSource | None:
    """The config.json beside the file where it names the class, else the config's defaults."""
    name = _config_class(outlined_class, outlined)
    if name is None:
        return None
    folder = Path(path).parent if path else None
    if folder is not None and outlined_class.name in _architectures(folder / "config.json"):
        file = str(folder / "config.json")
        return ConfigSource(f"{name} of config.json", file, str(folder))
    return ConfigSource(f"{name}()", f"defaults of {name}", None)


def _config_class(outlined_class: ClassOutline, outlined: Outline) -> str | None:
    """`BertConfig` of `def __init__(self, config: BertConfig)` or `config_class = BertConfig`."""
    init = outlined_class.init
    needed = [it for it in init.parameters if it.default is None] if init else []
    named = next((it for it in needed if it.name == "config"), None)
    if init is not None and named is None:
        return None
    if named is not None and named.annotation:
        return _class_name(named.annotation)
    by_name = {it.name: it for it in outlined.classes}
    for holder in (outlined_class, *(by_name[it] for it in outlined_class.bases if it in by_name)):
        declared = dict((*holder.class_annotations, *holder.class_variables))
        for variable in ("config_class", "config"):
            if declared.get(variable, "").endswith(_SUFFIX):
                return _class_name(declared[variable])
    return None


def _class_name(annotation: str) -> str | None:
    """The first name of an annotation that is one of a config: `"BertConfig" | None`."""
    names = annotation.replace("|", " ").replace('"', " ").replace("'", " ").split()
    last = [it.rpartition(".")[2] for it in names]
    return next((it for it in last if it.endswith(_SUFFIX)), None)


def config_dtype(folder: str) -> str | None:
    """The dtype of the parameters by the config.json of a folder; None where it names none.

    Transformers builds with it: `torch_dtype`, since version 4.56 `dtype`.
    """
    data = _config(Path(folder) / "config.json")
    named = data.get("dtype") or data.get("torch_dtype")
    dtype = named.removeprefix("torch.") if isinstance(named, str) else None
    return dtype if dtype in DTYPES else None


def _architectures(file: Path) -> tuple[str, ...]:
    found = _config(file).get("architectures")
    return tuple(it for it in found if isinstance(it, str)) if isinstance(found, list) else ()


def _config(file: Path) -> Mapping[str, object]:
    """The object of a config.json; empty where there is none that can be read."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
