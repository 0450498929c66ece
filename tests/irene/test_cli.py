"""The command line: tables, JSON, exit codes, and a sentence for everything that goes wrong."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import nn

import irene
from irene.cli import FINE, REFUSED, USAGE, main
from irene.cli.arguments import split_place
from irene.errors import DeviceError

ROOT = Path(__file__).parents[2]
GPT = str(ROOT / "examples" / "gpt.py")
LONE = str(ROOT / "tests" / "fixtures" / "lone_model.py")
CONVNET = str(ROOT / "examples" / "convnet.py")
SCHEMA = json.loads((ROOT / "docs" / "estimate.schema.json").read_text("utf-8"))
DEVICE = ("--device", "A100-SXM4-80GB", "--python", sys.executable)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRENE_CACHE_DIR", str(tmp_path / "cache"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse
        status = int(str(ended.code))
    out, err = capsys.readouterr()
    return status, out, err


MODELLED = ("joules", "seconds", "low", "high")
PROFILED = ("joules", "seconds")  # a measured total is surer than its division into parts


def check_tree(node: dict[str, Any], floats: tuple[str, ...] = MODELLED) -> None:
    """Children times counts add up, at every node."""
    if node["children"]:
        for key in ("flops", "bytes"):
            assert node[key] == sum(it["count"] * it[key] for it in node["children"])
        for key in floats:
            total = math.fsum(it["count"] * it[key] for it in node["children"])
            assert math.isclose(node[key], total, rel_tol=1e-9)
    for child in node["children"]:
        check_tree(child, floats)


def test_an_estimate_as_json_follows_its_schema_and_adds_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run(capsys, "estimate", GPT, *DEVICE, "--json")
    assert (status, err) == (FINE, "")
    data = json.loads(out)
    jsonschema.validate(data, SCHEMA)
    check_tree(data["tree"])
    assert data["target"]["class"] == "GPT"
    assert data["total"]["kind"] == "modelled"
    assert data["total"]["joules"] == data["tree"]["joules"]
    assert data["tree"]["line"] == 53
    assert data["inputs"]["tensors"] == [{"name": "input_ids", "dtype": "int64", "shape": [8, 128]}]


def test_an_estimate_as_a_table_names_what_it_stands_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, _ = run(capsys, "estimate", f"{GPT}:GPT", *DEVICE)
    assert status == FINE
    for words in ("GPT", "90 % interval", "modelled", "A100-SXM4-80GB", "blocks.0-5 Block", "6 x ",
                  "comment, line 52", "option --device", "launch floor"):  # fmt: skip
        assert words in out


def test_options_count_where_nothing_nearer_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Dtype from the option; the shape of the comment stays."""
    status, out, _ = run(capsys, "estimate", GPT, *DEVICE, "--dtype", "float16", "--json")
    assert status == FINE
    data = json.loads(out)
    assert data["target"]["dtype"] == "float16"
    whole, _, _ = run(capsys, "estimate", GPT, *DEVICE, "--json")
    assert whole == FINE


def test_an_option_that_loses_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.irene]\ndevice = "T4"\n')
    file = tmp_path / "net.py"
    file.write_text(Path(GPT).read_text("utf-8"))
    status, out, err = run(capsys, "estimate", str(file), *DEVICE, "--json")
    assert status == FINE
    assert json.loads(out)["device"]["id"] == "T4"
    assert "option --device (A100-SXM4-80GB) does not count: pyproject.toml, line 2" in err


def test_a_config_folder_alone_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its architecture, else AutoModel; the matrix FLOPs are those of the closed form."""
    config = {"model_type": "bert", "hidden_size": 64, "num_hidden_layers": 2,
              "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 100}  # fmt: skip
    for architectures in ([], ["BertForMaskedLM"]):
        (tmp_path / "config.json").write_text(
            json.dumps({**config, "architectures": architectures})
        )
        status, out, err = run(
            capsys, "estimate", "--hf-config", str(tmp_path), *DEVICE, "--json",
            "--batch-size", "2", "--sequence-length", "16",
        )  # fmt: skip
        assert (status, err) == (FINE, "")
        data = json.loads(out)
        jsonschema.validate(data, SCHEMA)
        assert data["target"]["class"] == (architectures[0] if architectures else "BertModel")


def test_annotate_prints_the_file_with_values_at_line_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing of the text is lost."""
    status, out, _ = run(capsys, "annotate", CONVNET, *DEVICE)
    assert status == FINE
    for line in Path(CONVNET).read_text("utf-8").splitlines():
        assert any(printed.startswith(line) for printed in out.splitlines())
    assert " mJ · " in out or " µJ · " in out
    assert "per forward" in out


def test_profile_measures_here_and_says_what_is_modelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n# irene: Net(), x=float32[4, 32]\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(32, 32)\n"
        "    def forward(self, x):\n        return self.fc(x)\n"
    )
    python = ("--python", sys.executable)
    status, out, err = run(capsys, "profile", str(file), *python, "--json")
    assert status == FINE, err
    data = json.loads(out)
    jsonschema.validate(data, SCHEMA)
    check_tree(data["tree"], PROFILED)
    assert data["total"]["kind"] in ("profiled", "measured")
    first = data["profile"]["measured_at"]
    _, again, _ = run(capsys, "profile", str(file), *python, "--json")
    assert json.loads(again)["profile"]["measured_at"] == first
    _, shown, _ = run(capsys, "estimate", str(file), *python, "--json")
    assert json.loads(shown)["total"]["kind"] == data["total"]["kind"]


def test_devices_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "devices")
    assert status == FINE
    assert "(auto)" in out
    assert len(out.splitlines()) > 60


def test_doctor_says_what_each_missing_part_would_bring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, _ = run(capsys, "doctor", "--python", sys.executable)
    assert status == FINE
    assert torch.__version__ in out
    assert "Estimates are possible." in out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["estimate", "nowhere.py"], USAGE, "nowhere.py: no such file"),
        (["estimate", str(ROOT)], USAGE, "is a folder"),
        (["estimate", f"{GPT}:Blok", *DEVICE], USAGE, "Block"),
        (["estimate", GPT, "--device", "A10O"], USAGE, "A10"),
        (["estimate", GPT, "--dtype", "half"], USAGE, "float16"),
        (["estimate", GPT, "--batch-size", "0"], USAGE, "whole number"),
        (["estimate"], USAGE, "FILE"),
        (["estimate", "--hf-config", "nowhere"], USAGE, "config.json"),
        (["estimate", GPT, "--python", "nowhere"], USAGE, "nowhere"),
        (["estimate", f"{LONE}:Lone", *DEVICE], REFUSED, "What to do"),
        (["estimate", __file__, *DEVICE], REFUSED, "no class"),
        (["bogus"], USAGE, "bogus"),
    ],
    ids=lambda it: str(it[1] if isinstance(it, list) and len(it) > 1 else "")[-20:],
)
def test_what_goes_wrong_is_said_on_standard_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (status, "")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.py:Net", ("model.py", "Net")), ("model.py", ("model.py", None)),
        ("C:\\work\\model.py", ("C:\\work\\model.py", None)),
        ("C:\\work\\model.py:Net", ("C:\\work\\model.py", "Net")), ("model.py:", ("model.py", None)),
    ],
)  # fmt: skip
def test_a_drive_letter_is_no_file(text: str, expected: tuple[str, str | None]) -> None:
    place = split_place(text)
    assert (str(place.path), place.class_name) == expected


def test_the_command_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "irene.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"irene {irene.__version__}"


def test_estimate_in_python_returns_the_tree_and_prints_well() -> None:
    """The model is a plain module; nothing of it changes."""
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    made = irene.estimate(model, torch.zeros(8, 16), device="A100-SXM4-80GB")
    data = made.to_json()
    jsonschema.validate(data, SCHEMA)
    check_tree(data["tree"])
    assert made.joules == data["total"]["joules"]
    low_j, high_j = made.interval_j
    assert low_j < made.joules < high_j
    assert "Sequential" in str(made)
    assert "<table" in made._repr_html_()
    assert model.training


def test_an_unknown_device_in_python_names_the_nearest() -> None:
    with pytest.raises(DeviceError, match="nearest are"):
        irene.estimate(nn.Linear(2, 2), torch.zeros(1, 2), device="A1OO")


def test_a_class_that_is_not_built_alone_is_shown_as_its_model_contains_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, _ = run(capsys, "estimate", f"{GPT}:Attention", *DEVICE)
    assert status == FINE
    assert out.startswith("Attention")
