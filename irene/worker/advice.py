"""How a person says how a class is built and fed, where they can: an irene comment or a project.

Nobody should edit the file of an installed library.
"""

from __future__ import annotations

import sys

from irene.worker.frames import is_installed

_TABLE = '[tool.irene.targets."{key}"]'


def write(cls: type, arguments: str, inputs: str = "") -> str:
    """The instruction to write a description of `cls`."""
    call = f"{cls.__name__}({arguments})"
    if not _is_installed(cls):
        return f"Write `# irene: {', '.join(it for it in (call, inputs) if it)}` above the class."
    lines = [
        f'`{name} = "{value}"`'
        for name, value in (("arguments", arguments), ("inputs", inputs))
        if value.strip(".")
    ]
    table = _TABLE.format(key=f"{cls.__module__}.{cls.__qualname__}")
    return f"Write {' and '.join(lines)} under `{table}` in pyproject.toml."


def write_inputs(cls: type, inputs: str) -> str:
    """The instruction to add inputs to a description of `cls` that exists."""
    if not _is_installed(cls):
        return f"Add it to the irene comment: `{inputs}`."
    table = _TABLE.format(key=f"{cls.__module__}.{cls.__qualname__}")
    return f"Add it to the inputs under `{table}` in pyproject.toml: `{inputs}`."


def correct(part: str, path: str, other: str) -> str:
    """The instruction after `part` of a model raised; `other` is what a person can give instead.

    `path` is the document, "" where a config folder alone was named.
    """
    if not path:
        return (
            f"Correct the config.json, or name the class beside it (FILE:CLASS) and give {other}."
        )
    if is_installed(path):
        table = _TABLE.format(key="module.Class")
        return (
            f"Give {other} under `{table}` in pyproject.toml, or another batch size or sequence "
            "length (`--batch-size`, `--sequence-length`; in an editor `irene.batchSize`, "
            "`irene.sequenceLength`)."
        )
    return f"Correct {part}, or give {other} in an irene comment above the class."


def _is_installed(cls: type) -> bool:
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return path is not None and is_installed(path)
