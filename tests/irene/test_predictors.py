"""The list of predictors: the shipped ones, and folders that were trained here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from irene.energy.predicted.shipped import SHIPPED, shipped_predictor
from irene.energy.predicted.storing import save, to_json
from irene.predictors import known_predictors, remember

CALIBRATED = {"calibrated_from": "IrEne device 1", "n_rows": 20}


def trained(folder: Path, provenance: dict[str, object] | None = None) -> Path:
    stored = shipped_predictor("IrEne-device-1")
    save(
        type(stored)("mine", provenance or {"n_rows": 99}, stored.predictor),
        folder / "predictor.json",
    )
    return folder


def test_shipped_ones_come_first(tmp_path: Path) -> None:
    """With how many rows they rest on, and how far off they are."""
    known = known_predictors(tmp_path)
    assert [it.id for it in known] == list(SHIPPED)
    assert all("measured rows" in it.detail and "% off" in it.detail for it in known)


@pytest.mark.parametrize(
    ("provenance", "detail"),
    [
        ({"n_rows": 99}, "fitted to 99 measured rows"),
        (CALIBRATED, "IrEne device 1 calibrated by 20 measured rows"),
    ],
)
def test_trained_folders_are_remembered_once(
    tmp_path: Path, provenance: dict[str, object], detail: str
) -> None:
    folder = trained(tmp_path / "model", provenance)
    for _ in range(2):
        remember(folder, tmp_path / "cache")
    (found,) = known_predictors(tmp_path / "cache")[len(SHIPPED) :]
    assert (found.id, found.name, found.detail) == (str(folder), "mine", detail)
    assert found.reason is None


def test_a_folder_that_is_gone_is_not_listed(tmp_path: Path) -> None:
    remember(trained(tmp_path / "model"), tmp_path / "cache")
    shutil.rmtree(tmp_path / "model")
    assert len(known_predictors(tmp_path / "cache")) == len(SHIPPED)


def test_one_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    """Another version, and the paper's method."""
    older = trained(tmp_path / "older") / "predictor.json"
    older.write_text(json.dumps({**to_json(shipped_predictor("IrEne-device-1")), "schema": 0}))
    (tmp_path / "paper").mkdir()
    for name in ("older", "paper"):
        remember(tmp_path / name, tmp_path / "cache")
    reasons = [it.reason for it in known_predictors(tmp_path / "cache")[len(SHIPPED) :]]
    assert ["version 0" in reasons[0], "measured trees" in reasons[1]] == [True, True]  # type: ignore[operator] # texts


@pytest.mark.parametrize("text", ["", "{", '{"schema": 7}', "[]"])
def test_a_broken_list_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "predictors.json").write_text(text, encoding="utf-8")
    assert len(known_predictors(tmp_path)) == len(SHIPPED)
