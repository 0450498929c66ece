"""The command line from end to end: results, exit codes, a sentence for what goes wrong."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import transformers
from rich.console import Console

from irene.cache import FOLDER_VARIABLE
from irene.cli import CANCELLED, FINE, REFUSED, USAGE, devices, main
from irene.energy.catalogue import auto, find

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "fixtures" / "cli_model.py"
SCHEMA = json.loads((ROOT / "docs" / "estimate.schema.json").read_text("utf-8"))
PYTHON = ("--python", sys.executable)
DEVICE = ("--device", "A100-SXM4-80GB", *PYTHON)

MODELLED = ("joules", "seconds", "low", "high")
PROFILED = ("joules", "seconds")  # a measured total is surer than its division into parts


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """The answer of a command that went well; it follows the schema."""
        assert self.status == FINE, self.err
        data: dict[str, Any] = json.loads(self.out)
        jsonschema.validate(data, SCHEMA)
        return data


Irene = Callable[..., Ended]


@pytest.fixture
def irene(capsys: pytest.CaptureFixture[str]) -> Irene:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Ended:
        try:
            status = main([str(it) for it in arguments])
        except SystemExit as ended:  # argparse
            status = int(str(ended.code))
        return Ended(status, *capsys.readouterr())

    return run


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


def write(folder: Path, body: str, comment: str = "# irene: Net(), x=float32[4, 32]") -> Path:
    """A file with a model of one linear layer, whose forward is `body`, on line 9."""
    file = folder / "net.py"
    file.write_text(
        f"import torch\nfrom torch import nn\n{comment}\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(32, 32)\n"
        f"    def forward(self, x):\n        {body}\n",
        "utf-8",
    )
    return file


def test_an_estimate_as_json_follows_its_schema_and_adds_up(irene: Irene) -> None:
    """The selected class, from its comment; nothing on standard error."""
    ended = irene("estimate", MODEL, *DEVICE, "--json", "--dtype", "float16", "--batch-size", 2)
    assert ended.err == ""
    data = ended.json()
    check_tree(data["tree"])
    assert data["target"]["class"] == data["tree"]["class"] == "Net"
    assert data["target"]["dtype"] == "float16"
    assert data["device"]["id"] == "A100-SXM4-80GB"
    assert data["total"]["kind"] == "modelled"
    assert data["total"]["joules"] == data["tree"]["joules"]
    assert (data["target"]["line"], data["tree"]["line"]) == (35, 35)
    assert data["inputs"] == {
        "batch_size": 2, "sequence_length": None,
        "tensors": [{"name": "x", "dtype": "float16", "shape": [2, 64, 256]}],
    }  # fmt: skip
    origins = {it["name"]: it["origin"] for it in data["conditions"]}
    assert origins == {
        "device": "option", "predictor": "default", "batch size": "option", "dtype": "option", "attention": "default",
        "model": "comment", "inputs": "comment",
    }  # fmt: skip


def test_an_estimate_as_a_table_names_what_it_stands_for(irene: Irene) -> None:
    """In a pipe without colours; a size that the comment fixes is said not to count."""
    ended = irene("estimate", f"{MODEL}:Net", *DEVICE, "--sequence-length", 7)
    assert ended.status == FINE
    assert "\x1b" not in ended.out
    for words in ("90 % interval", "modelled: physics and data sheets, nothing run",
                  "A100-SXM4-80GB · x float32[8, 64, 256] · float32", "├ cells.0-3 Cell", "4 x ",
                  "comment, line 34", "option --device", "launch floor"):  # fmt: skip
        assert words in ended.out
    assert re.fullmatch(
        r"irene: option --sequence-length \(7\) does not count: comment, line 34, gives "
        r"x=float32\[batch, 64, 256\]; write `sequence` there to let it count\n",
        ended.err,
    )


def test_a_class_that_cannot_be_built_alone_is_shown_as_a_model_contains_it(irene: Irene) -> None:
    """`Outer.Head` needs a width, `Net` gives it one."""
    ended = irene("estimate", f"{MODEL}:Head", *DEVICE, "--json")
    data = ended.json()
    check_tree(data["tree"])
    assert (data["target"]["class"], data["tree"]["scope"]) == ("Outer.Head", "head")
    assert re.fullmatch(
        r"irene: Head needs width, which has no default\. Shown as Net contains it: head, \S+ mJ, "
        r"its only call\.\n",
        ended.err,
    )


def test_a_contained_class_is_profiled_as_its_model_contains_it(irene: Irene) -> None:
    """As the lens above it does."""
    ended = irene("profile", f"{MODEL}:Head", *PYTHON, "--json")
    data = ended.json()
    check_tree(data["tree"], PROFILED)
    assert (data["target"]["class"], data["tree"]["scope"]) == ("Outer.Head", "head")
    assert data["total"]["kind"] == "profiled"
    assert re.search(r"Head needs width.* Shown as Net contains it: head, \S+ \S*J", ended.err)


def test_a_class_that_nothing_contains_says_what_it_needs(irene: Irene) -> None:
    ended = irene("estimate", f"{MODEL}:Broken", *DEVICE, "--json")
    assert (ended.status, ended.out) == (REFUSED, "")
    assert ended.err == (
        f"irene: Broken has no estimate ({MODEL}): Broken needs width, which has no default.\n"
        "  What to do: Write `# irene: Broken(width=...)` above the class.\n"
    )


def test_inputs_that_cannot_be_read_are_named_with_their_line(tmp_path: Path, irene: Irene) -> None:
    file = write(tmp_path, "return self.fc(x)", "# irene: Net(), x=float32[4, d]")
    ended = irene("estimate", file, *DEVICE)
    assert ended.err.startswith(
        f"irene: Net has no estimate ({file}, comment, line 3): The input x=float32[4, d] cannot "
        "be evaluated: d is no name there; only `batch`, `sequence` and dtypes are.\n"
    )


def test_pyproject_goes_before_options_and_says_so(tmp_path: Path, irene: Irene) -> None:
    """Nothing that the model prints is in the JSON or among these sentences."""
    (tmp_path / "pyproject.toml").write_text('[tool.irene]\ndevice = "T4"\n')
    file = write(tmp_path, "print('{' * 1_000_000); return self.fc(x)")
    ended = irene("estimate", file, *DEVICE, "--json")
    assert ended.json()["device"]["id"] == "T4"
    assert ended.err == (
        "irene: option --device (A100-SXM4-80GB) does not count: pyproject.toml, line 2, sets "
        "device to T4\n"
    )


BERT = {
    "model_type": "bert", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 128, "vocab_size": 100,
}  # fmt: skip


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM"])
def test_a_config_folder_alone_is_enough(tmp_path: Path, irene: Irene, architecture: str) -> None:
    """Its architecture, else AutoModel: BERT without one."""
    named = [] if architecture == "BertModel" else [architecture]
    (tmp_path / "config.json").write_text(json.dumps({**BERT, "architectures": named}))
    sizes = ("--batch-size", 2, "--sequence-length", 16)
    ended = irene("estimate", "--hf-config", tmp_path, *DEVICE, *sizes, "--json")
    assert ended.err == ""
    data = ended.json()
    assert (data["target"]["class"], data["target"]["file"]) == (architecture, None)
    assert [it["shape"] for it in data["inputs"]["tensors"]] == [[2, 16], [2, 16]]


def test_a_config_folder_and_a_class_meet(tmp_path: Path, irene: Irene) -> None:
    """`modeling_bert.py` as it is installed, with another config than its default."""
    file = Path(transformers.__file__).parent / "models" / "bert" / "modeling_bert.py"
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    ended = irene("estimate", f"{file}:BertModel", "--hf-config", tmp_path, *DEVICE, "--json")
    data = ended.json()
    layers = next(it for it in data["tree"]["children"] if it["scope"] == "encoder")["children"]
    assert [it["scope"] for it in layers] == ["encoder.layer.0", "encoder.layer.1"]


@pytest.mark.parametrize(("key", "by_class"), [("torch_dtype", False), ("dtype", True)])
def test_the_dtype_of_a_config_counts_unless_another_is_asked_for(
    tmp_path: Path, irene: Irene, key: str, by_class: bool
) -> None:
    """As Transformers builds: half the bytes of float32."""
    config = {**BERT, "architectures": ["BertModel"], key: "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    file = Path(transformers.__file__).parent / "models" / "bert" / "modeling_bert.py"
    place = (f"{file}:BertModel",) if by_class else ()
    command = ("estimate", *place, "--hf-config", tmp_path, *DEVICE, "--json")
    for options, dtype, origin in (((), "bfloat16", "config"),
                                   (("--dtype", "float32"), "float32", "option")):  # fmt: skip
        data = irene(*command, *options).json()
        assert data["target"]["dtype"] == dtype
        condition = next(it for it in data["conditions"] if it["name"] == "dtype")
        assert (condition["value"], condition["origin"]) == (dtype, origin)


def test_a_class_that_takes_no_config_refuses_one(tmp_path: Path, irene: Irene) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    file = write(tmp_path, "return self.fc(x)", comment="")
    ended = irene("estimate", f"{file}:Net", "--hf-config", tmp_path, *DEVICE, "--json")
    assert (ended.status, ended.out) == (REFUSED, "")
    assert "Net takes no Transformers config, so that " in ended.err


def test_a_comment_goes_before_a_config_folder(tmp_path: Path, irene: Irene) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    ended = irene("estimate", MODEL, "--hf-config", tmp_path, *DEVICE, "--json")
    assert ended.json()["target"]["arguments"] == "Net(width=256)"
    assert ended.err == (
        "irene: option --hf-config does not count: comment, line 34, says width=256\n"
    )


def masked(text: str) -> str:
    """Energies, shares and widths of intervals move with the physics; the rest must not."""
    text = re.sub(r"~?[\d.]+ [mµn]?J", "# J", text)
    return re.sub(r"[\d.]+ %|± \d+ %|x/÷ [\d.]+", "#", text)


def test_annotate_prints_the_file_with_values_at_line_ends(
    irene: Irene, golden: Callable[[str, str], None]
) -> None:
    """Lenses above the classes; what cannot be built says why; of the text nothing is lost."""
    ended = irene("annotate", MODEL, *DEVICE)
    assert ended.status == FINE
    golden("cli_annotate.txt", masked(ended.out))
    printed = iter(ended.out.splitlines())
    for line in MODEL.read_text("utf-8").splitlines():
        assert any(it.startswith(line) for it in printed), line
    assert "Broken has no estimate" in ended.err
    assert "What to do: Write `# irene: Broken(width=...)` above the class." in ended.err


def test_annotate_counts_lines_as_python_does(tmp_path: Path, irene: Irene) -> None:
    """CRLF ends a line; a form feed and a line separator in a comment do not."""
    file = write(tmp_path, "return self.fc(x)", "# \x0c \u2028\n# irene: Net(), x=float32[4, 32]")
    file.write_bytes(file.read_text("utf-8").replace("\n", "\r\n").encode())
    ended = irene("annotate", file, *DEVICE)
    assert re.search(r"self\.fc = nn\.Linear\(32, 32\)   \S+ \S?J · ", ended.out), ended.err


def test_profile_measures_here_says_what_is_modelled_and_is_kept(
    tmp_path: Path, irene: Irene
) -> None:
    """Kept until the code changes or `--fresh`; another device than this machine's is not run."""
    file = write(tmp_path, "return self.fc(x)")
    ended = irene("profile", file, *DEVICE, "--json")
    data = ended.json()
    check_tree(data["tree"], PROFILED)
    assert data["device"]["id"] == auto().id
    assert "A100-SXM4-80GB is not here: profiled on" in ended.err
    assert data["total"]["kind"] in ("profiled", "measured")
    again = irene("profile", file, *PYTHON, "--json").json()
    assert again["profile"] == data["profile"]
    shown = irene("estimate", file, *PYTHON)
    assert f"{data['total']['kind']}: " in shown.out
    fresh = irene("profile", file, *PYTHON, "--json", "--fresh").json()
    assert fresh["profile"] != data["profile"]


def test_devices_are_listed_and_this_machine_is_marked(irene: Irene) -> None:
    ended = irene("devices")
    assert ended.status == FINE
    assert re.search(rf"^{re.escape(auto().id)} \(auto\)", ended.out, re.MULTILINE)
    for identifier in ("A100-SXM4-80GB", "T4", "M1", "MI300X"):
        assert re.search(rf"^{identifier} ", ended.out, re.MULTILINE)


def test_the_table_of_devices_reads_as_reviewed(golden: Callable[[str, str], None]) -> None:
    """`?` marks what a second source does not confirm, `-` a dtype without a rate."""
    listed = [find(it) for it in ("GTX-1080", "RTX-3070", "A100-SXM4-80GB", "M1", "Xeon-8358")]
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(devices.table(listed, "A100-SXM4-80GB"))
    golden("cli_devices.txt", "".join(f"{it.rstrip()}\n" for it in capture.get().splitlines()))


def test_doctor_says_what_is_here(irene: Irene) -> None:
    ended = irene("doctor", *PYTHON)
    assert ended.status == FINE
    assert re.search(rf"ok  torch +{re.escape(torch.__version__)}", ended.out)
    assert "Estimates are possible." in ended.out


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment without torch."""
    folder = tmp_path_factory.mktemp("bare") / "environment"
    venv.create(folder, symlinks=os.name != "nt")
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def test_an_interpreter_without_torch_says_so(irene: Irene, bare_python: str) -> None:
    """Also the doctor, with what torch would bring; its exit code is that of no estimate."""
    ended = irene("estimate", MODEL, "--python", bare_python)
    assert (ended.status, ended.out) == (REFUSED, "")
    assert re.search(r"torch is not installed in .*What to do: .*--python", ended.err, re.DOTALL)
    found = irene("doctor", "--python", bare_python)
    assert found.status == REFUSED
    assert re.search(r"--  torch +torch is not installed in .* brings", found.out)
    assert "No estimate is possible yet." in found.out


def test_a_doctor_without_an_interpreter_still_answers(irene: Irene) -> None:
    ended = irene("doctor", "--python", "nowhere")
    assert ended.status == REFUSED
    assert "--python nowhere: there is no such executable" in ended.out


def test_an_interpreter_that_is_no_python_is_a_sentence(tmp_path: Path, irene: Irene) -> None:
    liar = tmp_path / "python"
    liar.write_text("#!/bin/sh\necho this is no Python >&2\nexit 3\n")
    liar.chmod(0o755)
    ended = irene("estimate", MODEL, "--python", liar)
    assert (ended.status, ended.out) == (REFUSED, "")
    assert "this is no Python" in ended.err
    assert "What to do" in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["estimate", "nowhere.py"], "nowhere.py: no such file"),
        (["annotate", str(ROOT)], "is a folder: name a Python file in it"),
        (["profile", f"{MODEL}:Cel"], "has no class Cel: its modules are Cell"),
        (["estimate", f"{MODEL}:Outer"], "Outer in .* is not a torch.nn.Module"),
        (["estimate", str(MODEL), "--device", "A100"], "ambiguous: .*A100-SXM4-80GB"),
        (["estimate", str(MODEL), "--device", "H1000-SXM5"], "nearest are H100-SXM5-80GB"),
        (["estimate", str(MODEL), "--dtype", "half"], "float16"),
        (["estimate", str(MODEL), "--batch-size", "0"], "whole number from 1"),
        (["estimate", "--hf-config", "nowhere"], "nowhere has no config.json"),
        (["estimate", str(MODEL), "--python", "nowhere"], "nowhere: there is no such executable"),
    ],
)
def test_a_wrong_command_line_is_said_and_ends_with_2(
    irene: Irene, arguments: list[str], words: str
) -> None:
    ended = irene(*arguments)
    assert (ended.status, ended.out) == (USAGE, "")
    assert re.search(words, ended.err)
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", r"no class that is a torch\.nn\.Module"),
        ("class Net(nn.Module:\n", r"mend line 1 first"),
    ],
)
def test_a_file_without_a_model_is_said_and_ends_with_1(
    tmp_path: Path, irene: Irene, text: str, words: str
) -> None:
    (tmp_path / "net.py").write_text(text)
    ended = irene("estimate", tmp_path / "net.py", *PYTHON)
    assert (ended.status, ended.out) == (REFUSED, "")
    assert re.search(words, ended.err)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return self.fc(x[:, :3])", r"line 9\): .*32"),
        ("import os; os._exit(7)", r"exit.* 7"),
    ],
)
def test_a_model_that_fails_is_said_with_its_line_and_ends_with_1(
    tmp_path: Path, irene: Irene, body: str, words: str
) -> None:
    ended = irene("estimate", write(tmp_path, body), *DEVICE, "--json")
    assert (ended.status, ended.out) == (REFUSED, "")
    assert re.search(words, ended.err)
    assert "What to do: " in ended.err
    assert "Traceback" not in ended.err


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "irene.cli", *(str(it) for it in arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_an_interrupt_cancels_and_leaves_no_worker(tmp_path: Path) -> None:
    """The constructor never returns; the worker writes down who it is."""
    file, mark = tmp_path / "net.py", tmp_path / "pid"
    file.write_text(
        "import os, time\nfrom torch import nn\n# irene: Net()\nclass Net(nn.Module):\n"
        f"    def __init__(self):\n        open({str(mark)!r}, 'w').write(str(os.getpid()))\n"
        "        time.sleep(600)\n    def forward(self, x):\n        return x\n"
    )
    command = started("estimate", file, *PYTHON)
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=30)
    assert (command.returncode, out, err) == (CANCELLED, "", "irene: cancelled\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_reader_that_leaves_is_no_error() -> None:
    """`irene devices | head -1`."""
    command = started("devices")
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    err = command.stderr.read()
    command.stderr.close()
    assert (command.wait(), err) == (FINE, "")


def test_a_terminal_of_few_letters_gets_question_marks() -> None:
    """Output that cannot be encoded is shown as far as it can."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = started("devices", env=environment)
    out, err = command.communicate()
    assert (command.returncode, err) == (FINE, "")
    assert "A100-SXM4-80GB" in out
