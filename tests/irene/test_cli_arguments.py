"""What is typed: places, options, files, interpreters. No model is built here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from irene.cli import USAGE, files, interpreter, main
from irene.cli.arguments import Asked, Place, UsageError, parse, split_place
from irene.cli.interpreter import Interpreter
from irene.source.outline import outline
from irene.source.targets import Options


@pytest.mark.parametrize(
    ("text", "path", "class_name"),
    [
        ("model.py", "model.py", None),
        ("model.py:Net", "model.py", "Net"),
        ("model.py:Outer.Net", "model.py", "Outer.Net"),
        ("model.py:", "model.py", None),
        ("a:b/model.py", "a:b/model.py", None),
        ("a:b/model.py:Net", "a:b/model.py", "Net"),
        ("C:\\work\\model.py", "C:\\work\\model.py", None),
        ("C:\\work\\model.py:Net", "C:\\work\\model.py", "Net"),
        ("C:/work/model.py:Net", "C:/work/model.py", "Net"),
        ("C:model.py", "C:model.py", None),
        ("C:model.py:Net", "C:model.py", "Net"),
    ],
)
def test_a_colon_divides_file_and_class_a_drive_letter_does_not(
    text: str, path: str, class_name: str | None
) -> None:
    assert split_place(text) == Place(Path(path), class_name)


def asked(command: str, **given: object) -> Asked:
    nothing = {
        "place": None, "config_dir": None, "python": None, "options": Options("option"),
        "as_json": False, "fresh": False,
    }  # fmt: skip
    return Asked(command, **{**nothing, **given})  # type: ignore[arg-type]


ALL_OPTIONS = [
    "--device", "T4", "--batch-size", "4", "--sequence-length", "64", "--dtype", "float16",
    "--attention", "sdpa", "--predictor", "IrEne-device-1", "--python", "py",
]  # fmt: skip
ALL_VALUES = Options("option", "T4", 4, 64, "float16", "sdpa", "IrEne-device-1")
NET = Place(Path("net.py"), "Net")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["estimate", "net.py:Net"], asked("estimate", place=NET)),
        (
            ["estimate", "net.py:Net", "--hf-config", "folder", "--json", *ALL_OPTIONS],
            asked(
                "estimate", place=NET, config_dir=Path("folder"), as_json=True, python="py",
                options=ALL_VALUES,
            ),
        ),
        (["estimate", "--hf-config", "folder"], asked("estimate", config_dir=Path("folder"))),
        (
            ["annotate", "net.py:Net", *ALL_OPTIONS],
            asked("annotate", place=NET, python="py", options=ALL_VALUES),
        ),
        (
            ["profile", "net.py:Net", "--json", "--fresh", *ALL_OPTIONS],
            asked("profile", place=NET, as_json=True, fresh=True, python="py", options=ALL_VALUES),
        ),
        (["devices"], asked("devices")),
        (["doctor", "--python", "py"], asked("doctor", python="py")),
    ],
    ids=lambda it: " ".join(it) if isinstance(it, list) else "",
)  # fmt: skip
def test_every_command_and_option_is_read(argv: list[str], expected: Asked) -> None:
    assert parse(argv) == expected


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "COMMAND"),
        (["bogus"], "invalid choice: 'bogus'"),
        (["estimate"], "estimate needs FILE[:CLASS], or --hf-config DIR"),
        (["annotate"], "FILE[:CLASS]"),
        (["profile"], "FILE[:CLASS]"),
        (["estimate", "net.py", "--batch-size", "0"], "'0' is not a whole number from 1"),
        (["estimate", "net.py", "--batch-size", "-3"], "whole number from 1"),
        (["estimate", "net.py", "--sequence-length", "1.5"], "'1.5' is not a whole number"),
        (["estimate", "net.py", "--dtype", "half"], "float32, float16, "),
        (["estimate", "net.py", "--attention", "flash"], "flash_attention_2"),
        (["estimate", "net.py", "--fresh"], "--fresh"),
        (["annotate", "net.py", "--json"], "--json"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_ends_with_usage(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err.replace("'float", "float").replace("', ", ", ")


@pytest.mark.parametrize("command", ["estimate", "annotate", "profile", "doctor"])
def test_help_tells_the_order_of_interpreters_and_descriptions(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    order = [out.index(it) for it in ("1. --python", "2. the activated", "3. .venv", "4. python3")]
    assert order == sorted(order)
    for words in ("comment above the class", "pyproject.toml", "Exit code: 0 fine, 1"):
        assert words in out


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"x = 1\r\ny = 2\r\n", "x = 1\r\ny = 2\r\n"),
        (b"\xef\xbb\xbfx = 1\n", "x = 1\n"),
        (b"# -*- coding: latin-1 -*-\ns = '\xe9'\n", "# -*- coding: latin-1 -*-\ns = 'é'\n"),
        ("s = '🔋'\n".encode(), "s = '🔋'\n"),
        (b"", ""),
    ],
)
def test_a_file_is_read_as_python_reads_it(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "net.py").write_bytes(content)
    document = files.read(Place(tmp_path / "net.py", None))
    assert (document.path, document.text) == (str(tmp_path / "net.py"), text)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.py", None, "no such file"),
        (".", None, "is a folder"),
        ("picture.py", b"\x89PNG\r\n\x1a\n\xff\xfe", "is not text"),
        ("lies.py", b"# coding: no-such-codec\n", "is not text"),
    ],
)
def test_what_is_no_python_file_is_named(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words) as raised:
        files.read(Place(tmp_path / name, None))
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("typed", ["llama/config.json", "llama"])
def test_a_config_in_place_of_a_file_leads_to_its_option(tmp_path: Path, typed: str) -> None:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text("{}")
    with pytest.raises(UsageError) as raised:
        files.read(Place(tmp_path / typed, None))
    assert f"`irene estimate --hf-config {tmp_path / 'llama'}`" in str(raised.value)


TEXT = """
from torch import nn
class Config: ...
class Encoder(nn.Module): ...
class Outer:
    class Decoder(nn.Module): ...
"""


@pytest.mark.parametrize(
    ("typed", "expected"), [("Encoder", "Encoder"), ("Decoder", "Outer.Decoder"),
                            ("Outer.Decoder", "Outer.Decoder")],
)  # fmt: skip
def test_a_class_may_be_named_without_those_around_it(typed: str, expected: str) -> None:
    assert files.class_name(typed, outline(TEXT)[0], Path("net.py")) == expected


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("Encodr", "net.py has no class Encodr: its modules are Encoder"),
        ("xyz", "its modules are Encoder, Outer.Decoder"),
        ("Config", "Config in net.py is not a torch.nn.Module"),
    ],
)
def test_an_unknown_class_names_the_nearest(typed: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        files.class_name(typed, outline(TEXT)[0], Path("net.py"))


def test_a_file_without_modules_says_so() -> None:
    with pytest.raises(UsageError, match=r"it has no torch\.nn\.Module"):
        files.class_name("Net", outline("x = 1\n")[0], Path("net.py"))


def environment(folder: Path) -> str:
    """A folder that looks like an environment, with an executable that is no Python."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    return str(python)


def choose(start: Path, environ: Mapping[str, str], python: str | None = None) -> Interpreter:
    return interpreter.choose(python, start, environ)


def test_interpreters_are_chosen_in_the_documented_order(tmp_path: Path) -> None:
    """Each is taken away in turn, and the next one is chosen."""
    start = tmp_path / "project" / "package"
    start.mkdir(parents=True)
    active = environment(tmp_path / "active")
    near = environment(start / ".venv")
    far = environment(tmp_path / "project" / ".venv")
    environ = {"VIRTUAL_ENV": str(tmp_path / "active"), "PATH": ""}
    assert choose(start, environ, sys.executable) == Interpreter(sys.executable, "--python")
    assert choose(start, environ) == Interpreter(active, "VIRTUAL_ENV")
    del environ["VIRTUAL_ENV"]
    assert choose(start, environ).path == near
    Path(near).unlink()
    assert choose(start, environ).path == far
    Path(far).unlink()
    assert choose(start, environ) == Interpreter(sys.executable, "the Python that runs irene")


def test_an_activated_environment_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    python = environment(tmp_path / ".venv")
    assert choose(tmp_path, {"VIRTUAL_ENV": str(tmp_path / "gone"), "PATH": ""}).path == python


def test_a_python_on_the_path_without_torch_is_passed_over(tmp_path: Path) -> None:
    """The Python that runs irene is no worse: it has torch here."""
    python = Path(environment(tmp_path / "system"))
    python.rename(python.with_name("python3"))
    found = choose(tmp_path, {"PATH": str(python.parent)})
    assert found == Interpreter(sys.executable, "the Python that runs irene")


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--python nowhere/python: there is no such executable"):
        choose(tmp_path, {}, "nowhere/python")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, "irene 0.1.0\n")
