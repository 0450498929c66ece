"""The predictors that a person can choose: the shipped ones, and folders that `irene train` wrote.

A folder is remembered when it is written, beside the stored profiles, and listed as long as
it is there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from irene.energy.predicted.shipped import (
    SHIPPED,
    shipped_predictor,
    trained_predictor,
)
from irene.errors import PredictorError
from irene.writing import write_whole

if TYPE_CHECKING:
    from irene.energy.predicted.storing import StoredPredictor

_log = logging.getLogger(__name__)

_FILE, _SCHEMA = "predictors.json", 1


@dataclass(frozen=True, slots=True)
class KnownPredictor:
    """A predictor by the name that selects it; `reason` says why it cannot be chosen."""

    id: str  # of a shipped one, else its folder
    name: str
    detail: str
    reason: str | None


def known_predictors(folder: Path) -> tuple[KnownPredictor, ...]:
    """The shipped predictors, then the trained ones that are remembered in `folder`."""
    shipped = (_described(it, shipped_predictor(it)) for it in SHIPPED)
    return (*shipped, *(_of_folder(Path(it)) for it in _remembered(folder) if Path(it).is_dir()))


def remember(trained: Path, folder: Path) -> None:
    """Adds a folder that `irene train` wrote to those remembered in `folder`."""
    folders = list(dict.fromkeys([*_remembered(folder), str(trained.absolute())]))
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": _SCHEMA, "folders": folders}, indent=1)
    write_whole(folder / _FILE, text + "\n")


def _remembered(folder: Path) -> tuple[str, ...]:
    """The remembered folders; none where the list is missing or cannot be read."""
    try:
        data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as err:
        _log.warning("the list of trained predictors cannot be read: %s", err)
        return ()
    if not isinstance(data, dict) or data.get("schema") != _SCHEMA:
        return ()
    return tuple(it for it in data.get("folders", ()) if isinstance(it, str))


def _of_folder(folder: Path) -> KnownPredictor:
    try:
        return _described(str(folder), trained_predictor(folder))
    except PredictorError as err:
        return KnownPredictor(str(folder), folder.name, "", str(err).removeprefix(f"{folder}: "))


def _described(predictor_id: str, stored: StoredPredictor) -> KnownPredictor:
    return KnownPredictor(predictor_id, stored.name, " · ".join(_facts(stored)), None)


def _facts(stored: StoredPredictor) -> Iterator[str]:
    """How many rows of what it was fitted to, and how far off it is for a model left out."""
    origin = stored.provenance.get("calibrated_from")
    rows = f"{stored.provenance.get('n_rows', '?')} measured rows"
    yield f"{origin} calibrated by {rows}" if origin else f"fitted to {rows}"
    error = stored.provenance.get("errors_percent", {}).get("model", {}).get("model")
    if error is not None:
        yield f"{error:.2g} % off for a model left out"
