"""The irene comment and `[tool.irene]`: read whole, or refused with the line and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from irene.errors import SettingsError, TargetError
from irene.source.project import find_project, read_comment, read_description, read_project


@pytest.mark.parametrize(
    ("written", "arguments", "inputs"),
    [
        ("Net(d_model=256), x=float32[8, 3, 224, 224]", "d_model=256",
         [("x", "float32[8, 3, 224, 224]")]),
        ("Net()", "", []),
        ("Net", None, []),
        ("x=float32[2], mask=None", None, [("x", "float32[2]"), ("mask", "None")]),
        ("Net(Config(n=[1, 2], s=')')), xs=[float32[2, 3], int64[4]]", "Config(n=[1, 2], s=')')",
         [("xs", "[float32[2, 3], int64[4]]")]),
        ("", None, []),
    ],
)  # fmt: skip
def test_a_description_has_arguments_and_inputs(
    written: str, arguments: str | None, inputs: list[tuple[str, str]]
) -> None:
    found, expressions = read_description(written, "Net", "line 1")
    assert found == arguments
    assert [(it.name, it.expression) for it in expressions] == inputs


@pytest.mark.parametrize("written", ["Net(", "x=", "Net(), 3", "*a", "Net() x=1", "**k"])
def test_a_malformed_description_names_the_line_and_an_example(written: str) -> None:
    with pytest.raises(TargetError, match=r"line 7: .*Net\(width=256\), x=float32"):
        read_description(written, "Net", "line 7")


def test_a_description_of_another_class_is_refused() -> None:
    with pytest.raises(TargetError, match="stands above Net and describes Other"):
        read_description("Other(3)", "Net", "line 7")


def test_a_comment_goes_on_while_a_bracket_is_open() -> None:
    comments = [
        (3, "# A net."),
        (4, "# irene: Net(width=64,"),
        (5, "#   depth=2), x=float32[8, 64]"),
    ]
    found = read_comment(comments, "Net")
    assert found is not None
    assert (found.arguments, found.where) == ("width=64, depth=2", "comment, line 4")


def test_comments_without_the_word_are_no_description() -> None:
    assert read_comment([(1, "# irenes are sea-snails")], "Net") is None


def test_settings_have_their_line() -> None:
    text = '[tool.ruff]\ndevice = "x"\n[tool.irene]\ndevice = "T4"\nbatch-size = 4\n'
    project = read_project(text, "/p")
    assert project is not None
    assert {key: (it.value, it.line) for key, it in project.settings.items()} == {
        "device": ("T4", 4),
        "batch-size": ("4", 5),
    }


def test_a_target_table_is_a_description() -> None:
    text = (
        '[tool.irene.targets."models.net.Net"]\narguments = "width=8"\n'
        'inputs = {x = "float32[batch, 8]", mask = "None"}\n'
    )
    project = read_project(text, "/p")
    assert project is not None
    found = project.targets["models.net.Net"]
    assert found.arguments == "width=8"
    assert [(it.name, it.expression) for it in found.inputs] == [
        ("x", "float32[batch, 8]"),
        ("mask", "None"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[tool.irene]\nbatchsize = 4",
            "line 2: 'batchsize' is not a key.*nearest is 'batch-size'",
        ),
        ("[tool.irene]\nbatch-size = 0", "line 2: 'batch-size' is 0: a whole number from 1"),
        ("[tool.irene]\nbatch-size = true", "a whole number from 1"),
        ("[tool.irene]\ndtype = 'half'", "one of float64, float32, float16, bfloat16"),
        ("[tool.irene]\ntargets = 3", "is a table"),
        ('[tool.irene.targets."a.B"]\nargs = "x"', "'args' is not a key of a target"),
        ('[tool.irene.targets."a.B"]\ninputs = "x="', "cannot read"),
        ("[tool.irene\n", "is not TOML"),
    ],
)
def test_a_wrong_key_or_value_is_named(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_project(text, "/p")


def test_the_nearest_file_with_the_table_counts(tmp_path: Path) -> None:
    """A pyproject.toml without [tool.irene] is passed over, one beyond the workspace is not seen."""
    inner = tmp_path / "work" / "pkg"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.irene]\ndevice = "T4"\n')
    (inner / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (inner.parent / "pyproject.toml").write_text('[tool.irene]\ndevice = "A30"\n')
    file = str(inner / "net.py")
    assert find_project(file, [str(inner.parent)]).settings["device"].value == "A30"
    assert find_project(file, [str(inner)]).settings == {}
