"""The settings of section `irene`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from irene.source.targets import Options
from irene_server import messages
from irene_server.settings import Settings, parse

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        pytest.param(None, Settings(), id="the client has none"),
        pytest.param({}, Settings(), id="nothing set"),
        pytest.param(
            {
                "enabled": True,
                "interpreter": None,
                "server": {"interpreter": None},
                "device": "auto",
                "predictor": "auto",
                "batchSize": None,
                "sequenceLength": None,
                "dtype": "auto",
                "attention": "auto",
                "inlayHints": {"enabled": True},
                "codeLens": {"enabled": True},
            },
            Settings(),
            id="the defaults of the extension",
        ),
        pytest.param(
            {
                "enabled": False,
                "interpreter": "/usr/bin/python3",
                "device": "A100-SXM4-80GB",
                "predictor": "IrEne-device-1",
                "batchSize": 4,
                "sequenceLength": 512,
                "dtype": "bfloat16",
                "attention": "sdpa",
                "inlayHints": {"enabled": False},
                "codeLens.enabled": False,
            },
            Settings(
                is_enabled=False,
                shows_hints=False,
                shows_lenses=False,
                interpreter="/usr/bin/python3",
                options=Options(
                    "settings", "A100-SXM4-80GB", 4, 512, "bfloat16", "sdpa", "IrEne-device-1"
                ),
            ),
            id="all set",
        ),
    ],
)
def test_values(section: object, expected: Settings) -> None:
    """JSON becomes typed values; `auto` and null leave a choice open."""
    assert parse(section) == (expected, ())


@pytest.mark.parametrize(
    ("section", "problems"),
    [
        (
            {"batchSize": 0, "dtype": "float99", "enabled": "yes"},
            (
                "irene.batchSize is 0, but must be a whole number from 1",
                "irene.dtype is 'float99', but must be auto, float32, float16 or bfloat16",
                "irene.enabled is 'yes', but must be true or false",
            ),
        ),
        (
            {"sequenceLength": True, "device": 3},
            (
                "irene.sequenceLength is True, but must be a whole number from 1",
                "irene.device is 3, but must be a text",
            ),
        ),
        (
            {"batchsize": 4},
            ("irene.batchsize is not a setting of IrEne; did you mean irene.batchSize?",),
        ),
        ([1], ("The settings of irene are not an object: [1]",)),
    ],
)
def test_problems(section: object, problems: tuple[str, ...]) -> None:
    """All problems are reported at once, and a wrong value is as if it were not set."""
    assert parse(section) == (Settings(), problems)


def test_every_setting_of_the_extension_is_known() -> None:
    """What the manifest contributes is read here, and nothing else is."""
    manifest = json.loads((REPOSITORY / "package.json").read_text(encoding="utf-8"))
    contributed = manifest["contributes"]["configuration"]
    sections = contributed if isinstance(contributed, list) else [contributed]
    names = {name for section in sections for name in section["properties"]}
    known = {f"irene.{it}" for it in (*messages.SERVER_SETTINGS, *messages.CLIENT_SETTINGS)}
    assert names == known
    for name in known:
        _, problems = parse({name.removeprefix("irene."): object()})
        assert problems, f"{name} is not read"
        assert "is not a setting" not in problems[0]
