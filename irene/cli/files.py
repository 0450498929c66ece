"""A file that was named on the command line, as a document, and its classes."""

from __future__ import annotations

import difflib
import io
import tokenize
from collections.abc import Sequence
from pathlib import Path

from irene.cli.arguments import Place, UsageError
from irene.estimation import Document
from irene.source.outline import Outline

CONFIG = "config.json"


def read(place: Place) -> Document:
    """The text as Python reads it: its declared encoding, its own line ends.

    Raises:
        UsageError: there is no such file, or it is not text.
    """
    path = place.path.absolute()
    if path.name == CONFIG and path.is_file():
        raise UsageError(_of_a_config(place.path.parent))
    try:
        content = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
    except FileNotFoundError:
        raise UsageError(f"{place.path}: no such file") from None
    except IsADirectoryError:
        if (path / CONFIG).is_file():
            raise UsageError(_of_a_config(place.path)) from None
        raise UsageError(f"{place.path} is a folder: name a Python file in it") from None
    except (SyntaxError, UnicodeDecodeError):
        raise UsageError(f"{place.path} is not Python: it is not text") from None
    except OSError as err:
        raise UsageError(f"{place.path} cannot be read: {err.strerror}") from err
    return Document(str(path), text)


def _of_a_config(folder: Path) -> str:
    return (
        f"{folder} has a {CONFIG} of a model: write `irene estimate --hf-config {folder}` "
        "for its model"
    )


def class_name(asked: str, outline: Outline, path: Path) -> str:
    """The qualified name of a class that was typed, with or without the classes around it.

    Raises:
        UsageError: no class of that name is a module; the nearest names are offered.
    """
    modules = [it.name for it in outline.classes if it.is_module]
    fitting = [name for name in modules if asked in (name, name.rpartition(".")[2])]
    if fitting:
        return fitting[0]
    if asked in [it.name for it in outline.classes]:
        raise UsageError(f"{asked} in {path} is not a torch.nn.Module, as far as its bases tell")
    raise UsageError(f"{path} has no class {asked}: {_nearest(asked, modules)}")


def _nearest(asked: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(asked, names, n=3, cutoff=0.4) or list(names[:6])
    return f"its modules are {', '.join(close)}" if close else "it has no torch.nn.Module"
