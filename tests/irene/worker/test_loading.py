"""A module object from unsaved text: its name, its imports, what can go wrong."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import transformers

import irene
from irene.worker.loading import load, module_class, module_name, users_imports
from irene.worker.protocol import BuildSpec, Refusal
from irene.worker.refusals import Refused

SITE = Path(transformers.__file__).parents[1]


def spec(path: Path, text: str, **changes: Any) -> BuildSpec:
    fields: dict[str, Any] = {
        "path": str(path), "text": text, "class_name": "Net", "search_paths": (), "arguments": None,
        "inputs": (), "config_dir": None, "batch_size": 8, "sequence_length": 128, "dtype": None,
        "attention": None,
    }  # fmt: skip
    return BuildSpec(**{**fields, **changes})


def loaded(path: Path, text: str, **changes: Any) -> Any:
    made = spec(path, text, **changes)
    with users_imports(made):
        return load(made)


def refusal(path: Path, text: str, **changes: Any) -> Refusal:
    with pytest.raises(Refused) as raised:
        loaded(path, text, **changes)
    return raised.value.refusal


@pytest.mark.parametrize(
    ("file", "packages", "name"),
    [
        ("net.py", [], "net"),
        ("my-net.v2.py", [], "my-net_v2"),
        ("a/b/net.py", ["a", "a/b"], "a.b.net"),
        ("a/b/__init__.py", ["a", "a/b"], "a.b"),
        ("a/b/net.py", ["a/b"], "b.net"),
        ("typing.py", [], "irene_document_typing"),
        ("torch.py", [], "irene_document_torch"),
    ],
)
def test_a_file_has_the_name_that_python_would_import_it_by(
    tmp_path: Path, file: str, packages: list[str], name: str
) -> None:
    """A lone file that is called like one of Python's modules never replaces it."""
    for package in packages:
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    assert module_name(str(tmp_path / file)) == name


def test_a_file_of_transformers_loads_from_edited_text() -> None:
    path = SITE / "transformers/models/bert/modeling_bert.py"
    text = path.read_text("utf-8") + "\nEDITED = True\n"
    module = loaded(path, text, search_paths=(str(SITE),))
    assert module.EDITED
    assert module.__name__ == "transformers.models.bert.modeling_bert"
    assert module.BertModel.config_class.__name__ == "BertConfig"


def test_whoever_imports_the_document_gets_the_buffer(tmp_path: Path) -> None:
    """Also the package's own `__init__`, and a file that imports it back."""
    package = tmp_path / "circular"
    package.mkdir()
    (package / "__init__.py").write_text("from .net import WIDTH\n")
    (package / "net.py").write_text("WIDTH = 'on disk'\n")
    (package / "other.py").write_text("from circular import net\nSEEN = net.WIDTH\n")
    module = loaded(package / "net.py", "WIDTH = 'unsaved'\nfrom . import other\n")
    assert module.other.SEEN == "unsaved"
    assert sys.modules["circular"].WIDTH == "unsaved"


def test_tracebacks_show_the_lines_of_the_buffer(tmp_path: Path) -> None:
    path = tmp_path / "lines_net.py"
    path.write_text("on disk\n")
    loaded(path, "A = 1\nB = 2\n")
    assert linecache.getline(str(path), 2) == "B = 2\n"


def test_a_script_s_own_work_does_not_run(tmp_path: Path) -> None:
    module = loaded(
        tmp_path / "script_net.py", "if __name__ == '__main__':\n    raise ValueError\n"
    )
    assert module.__name__ == "script_net"


@pytest.mark.parametrize(
    ("text", "kind", "line", "words"),
    [
        ("x = (\n", "syntax", 1, "never closed"),
        ("a = 1\n\tb = 2\n", "syntax", 2, "unexpected indent"),
        ("x = '\0'\n", "syntax", None, "null"),
        ("import os\nimport no_such_thing_here\n", "missing-import", 2, "'no_such_thing_here'"),
        ("from os import no_such_name\n", "missing-import", 1, "no_such_name"),
        ("a = 1\nb = a / 0\n", "constructor", 2, "ZeroDivisionError"),
    ],
)
def test_what_does_not_load_is_refused_with_its_line(
    tmp_path: Path, text: str, kind: str, line: int | None, words: str
) -> None:
    found = refusal(tmp_path / "bad_net.py", text)
    assert (found.kind, found.line) == (kind, line)
    assert words in found.message
    assert found.advice


def test_an_import_that_fails_elsewhere_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("\nimport no_such_thing_here\n")
    found = refusal(tmp_path / "importing_net.py", "A = 1\nimport needs_more\n")
    assert (found.kind, found.line) == ("missing-import", 2)
    assert "line 2 of needs_more.py" in found.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class Other: pass\n", "has no class Net"),
        ("class Net: pass\n", "is not a torch.nn.Module"),
        ("def Net(): pass\n", "is not a torch.nn.Module"),
    ],
)
def test_a_name_that_is_no_module_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "names_net.py"
    module = loaded(path, text)
    with pytest.raises(Refused) as raised:
        module_class(module, spec(path, text))
    assert words in raised.value.refusal.message


def test_everything_is_as_before_when_the_users_imports_end(tmp_path: Path) -> None:
    """Search path, environment and our own modules, whatever the user's files are called."""
    (tmp_path / "irene.py").write_text("MINE = True\n")
    before = (list(sys.path), dict(os.environ), sys.modules["irene"])
    module = loaded(tmp_path / "clash_net.py", "import irene\nassert irene.MINE\n")
    assert module.irene.MINE
    assert (list(sys.path), dict(os.environ), sys.modules["irene"]) == before
    assert importlib.import_module("irene") is irene


@pytest.mark.parametrize("environment", ["project/.venv", "project-venv", "elsewhere"])
@pytest.mark.parametrize("own", ["regexy.py", "regexy/__init__.py"])
def test_a_file_of_the_user_s_stands_before_a_loaded_package_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str, own: str
) -> None:
    """As in a fresh Python, wherever the environment lies; afterwards the package is back."""
    packages = tmp_path / environment / "lib/python3/site-packages"
    for path, who in (
        (packages / "regexy/__init__.py", "package"),
        (tmp_path / "project" / own, "user"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"WHO = {who!r}\n")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.delitem(sys.modules, "regexy", raising=False)
    assert importlib.import_module("regexy").WHO == "package"
    module = loaded(tmp_path / "project/net.py", "from regexy import WHO\n")
    assert module.WHO == "user"
    assert sys.modules["regexy"].WHO == "package"
    monkeypatch.delitem(sys.modules, "regexy")


def test_a_folder_that_may_not_be_read_is_no_package() -> None:
    """As a database leaves one in a project; root, who may read all, becomes another user."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "data").mkdir(mode=0)
        os.seteuid(user or 65534)
        try:
            assert loaded(Path(name) / "net.py", "FOUND = True\n").FOUND
        finally:
            os.seteuid(user)


def test_what_the_first_folder_gave_is_kept_while_a_model_runs(tmp_path: Path) -> None:
    """A later search path with a file of that name brings no second module of it."""
    for folder in ("src", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twice_there.py").write_text(f"FOLDER = {folder!r}\n")
    folders = (str(tmp_path / "src"), str(tmp_path / "other"))
    made = spec(tmp_path / "src/net.py", "import twice_there\n", search_paths=folders)
    with users_imports(made):
        first = load(made).twice_there
        with users_imports(made):
            assert importlib.import_module("twice_there") is first
    assert first.FOLDER == "src"


def test_files_that_the_document_imports_are_read_anew_each_time(tmp_path: Path) -> None:
    """Also where one process answers many requests, and two projects have one name."""
    for project, width in (("a", 1), ("b", 2), ("a", 3)):
        folder = tmp_path / project
        folder.mkdir(exist_ok=True)
        (folder / "sizes_of_mine.py").write_text(f"WIDTH = {width}\n# {'-' * width}\n")
        module = loaded(folder / "net.py", "from sizes_of_mine import WIDTH\n")
        assert width == module.WIDTH


def test_libraries_are_kept_off_the_network(tmp_path: Path) -> None:
    module = loaded(tmp_path / "offline_net.py", "import os\nX = os.environ['HF_HUB_OFFLINE']\n")
    assert module.X == "1"
