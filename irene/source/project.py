"""What people wrote down about their models: the irene comment and `[tool.irene]`.

    # irene: Net(d_model=256), x=float32[8, 3, 224, 224]

    [tool.irene]
    device = "A100-SXM4-80GB"
    [tool.irene.targets."models.net.Net"]
    arguments = "d_model=256"
    inputs = "x=float32[batch, 3, 224, 224]"

Expressions stay text: the worker evaluates them, with `batch` and `sequence` as names.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from irene.errors import SettingsError, TargetError
from irene.source.outline.scanning import NEWLINE
from irene.worker.frames import is_installed
from irene.worker.protocol import InputExpression

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "pyproject.toml"
DTYPES = ("float64", "float32", "float16", "bfloat16")
ATTENTIONS = ("eager", "sdpa", "flash_attention_2")

_COMMENT = re.compile(r"#\s*irene\s*:\s*(.*)")
_TARGET_KEYS = ("arguments", "inputs")
_Check = Callable[[object], "str | None"]


@dataclass(frozen=True, slots=True)
class Description:
    """How a person wants a class to be built and fed; None and empty: not said."""

    arguments: str | None
    inputs: tuple[InputExpression, ...]
    where: str  # "comment, line 12"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of `[tool.irene]` and the line that it stands on."""

    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Project:
    """`[tool.irene]` of one pyproject.toml; keys as written in the file."""

    folder: str  # of the file; "" where there is none
    settings: Mapping[str, Setting]
    targets: Mapping[str, Description]  # by "module.Class"


NO_PROJECT = Project("", {}, {})


def read_comment(comments: Iterable[tuple[int, str]], class_name: str) -> Description | None:
    """The description in the comment lines above a class; None where they hold none.

    A description may go on over further comment lines while a bracket is open.

    Raises:
        TargetError: it is malformed; the message names the line and what is expected.
    """
    lines = list(comments)
    for i, (line, text) in enumerate(lines):
        found = _COMMENT.match(text.strip())
        if found is None:
            continue
        written = found[1]
        for _, more in lines[i + 1 :]:
            if _parses(written):
                break
            written += "\n" + more.strip().lstrip("#")
        arguments, inputs = read_description(written, class_name, f"line {line}")
        return Description(arguments, inputs, f"comment, line {line}")
    return None


def read_description(
    written: str, class_name: str, where: str
) -> tuple[str | None, tuple[InputExpression, ...]]:
    """`Net(d_model=256), x=float32[8, 3]` to the text of arguments and the inputs by name.

    Raises:
        TargetError: it does not parse, or describes another class.
    """
    source = f"_({written}\n)"
    try:
        call = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError) as err:
        raise TargetError(_malformed(written, class_name, where)) from err
    if (
        not isinstance(call, ast.Call)
        or len(call.args) > 1
        or any(it.arg is None for it in call.keywords)
        or any(isinstance(it, ast.Starred) for it in call.args)
    ):
        raise TargetError(_malformed(written, class_name, where))
    inputs = tuple(
        InputExpression(it.arg, _segment(source, it.value)) for it in call.keywords if it.arg
    )
    arguments = None
    for positional in call.args:
        arguments = _arguments(source, positional, class_name, where)
    return arguments, inputs


def _arguments(source: str, node: ast.expr, class_name: str, where: str) -> str | None:
    """The text between the parentheses of `Net(...)`; None for the bare name."""
    named = node.func if isinstance(node, ast.Call) else node
    name = _segment(source, named)
    if name.rpartition(".")[2] != class_name.rpartition(".")[2]:
        raise TargetError(
            f"{where}: the irene comment stands above {class_name} and describes {name}: "
            f"write {class_name}(...)"
        )
    if not isinstance(node, ast.Call):
        return None
    text = _segment(source, node)
    return text[len(name) :].strip().removeprefix("(").removesuffix(")").strip()


def _malformed(written: str, class_name: str, where: str) -> str:
    return (
        f"{where}: cannot read {written.strip()!r}: write it like "
        f"`{class_name}(width=256), x=float32[8, 128, 256]`"
    )


def _parses(written: str) -> bool:
    try:
        ast.parse(f"_({written}\n)", mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True


def _segment(source: str, node: ast.expr) -> str:
    return " ".join((ast.get_source_segment(source, node) or "").split())


def find_project(path: str, roots: Iterable[str]) -> Project:
    """`[tool.irene]` of the nearest pyproject.toml above a file that has one.

    The search goes up to the workspace root that holds the file, else to the top. For a file
    of an installed library the workspace roots count too: its own folder is nobody's.

    Raises:
        SettingsError: the file cannot be read, or a key or value in it is wrong.
    """
    if not path:
        return NO_PROJECT
    stops = [Path(root) for root in roots]
    for folder in (*_up_to(path, stops), *(stops if is_installed(path) else ())):
        file = folder / FILE_NAME
        if file.is_file():
            project = read_project(_text(file), str(folder))
            if project is not None:
                return project
    return NO_PROJECT


def _up_to(path: str, stops: Sequence[Path]) -> Iterator[Path]:
    """The folders above a file, the innermost first, up to one of `stops`."""
    for folder in Path(path).parents:
        yield folder
        if folder in stops:
            return


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"{file} cannot be read: {err}") from err


def read_project(text: str, folder: str) -> Project | None:
    """`[tool.irene]` of a pyproject.toml's text; None where it has none.

    Raises:
        SettingsError: not TOML, an unknown key (the nearest is named), a wrong value.
    """
    try:
        tool = tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError as err:
        if "irene" not in text:
            return None
        raise SettingsError(f"{FILE_NAME} of {folder} is not TOML: {err}") from err
    table = tool.get("irene") if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        return None
    reader = _Table(text, folder)
    targets = table.get("targets", {})
    if not isinstance(targets, dict):
        raise reader.error("targets", 'is a table: write [tool.irene.targets."module.Class"]')
    settings = {key: reader.setting(key, value) for key, value in table.items() if key != "targets"}
    return Project(
        folder, settings, {it: reader.target(it, value) for it, value in targets.items()}
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """Reads values of one file; knows the lines for its errors."""

    text: str
    folder: str

    def error(self, key: str, what: str) -> SettingsError:
        return SettingsError(f"{FILE_NAME}, line {self.line(key)}: {key!r} {what}")

    def line(self, key: str) -> int:
        """The line of a key inside the tool.irene tables; that of the table where unsure."""
        within = False
        first = 1
        for number, line in enumerate(NEWLINE.split(self.text), 1):
            stripped = line.strip()
            if stripped.startswith("["):
                within = stripped.startswith("[tool.irene")
                first = number if within and first == 1 else first
                if within and key in stripped:
                    return number
            elif within and re.match(rf'["\']?{re.escape(key)}["\']?\s*=', stripped):
                return number
        return first

    def setting(self, key: str, value: object) -> Setting:
        if key not in _CHECKS:
            near = difflib.get_close_matches(key, [*_CHECKS, "targets"], n=1, cutoff=0.0)
            raise self.error(key, f"is not a key of [tool.irene]; the nearest is {near[0]!r}")
        wrong = _CHECKS[key](value)
        if wrong is not None:
            raise self.error(key, f"is {value!r}: {wrong}")
        return Setting(str(value), self.line(key))

    def target(self, name: str, table: object) -> Description:
        if not isinstance(table, dict):
            raise self.error(name, f"is a table with the keys {', '.join(_TARGET_KEYS)}")
        for key in table:
            if key not in _TARGET_KEYS:
                raise self.error(key, f"is not a key of a target; {' and '.join(_TARGET_KEYS)} are")
        where = f"{FILE_NAME}, line {self.line(name)}"
        arguments, inputs = table.get("arguments"), table.get("inputs", {})
        if arguments is not None and not isinstance(arguments, str):
            raise self.error("arguments", 'is text: "width=256"')
        class_name = name.rpartition(".")[2]
        try:
            written = _written(class_name, arguments, inputs)
            read, expressions = read_description(written, class_name, where)
        except TargetError as err:
            raise SettingsError(str(err)) from err
        return Description(None if arguments is None else read, expressions, where)


def _written(class_name: str, arguments: str | None, inputs: object) -> str:
    """A target's table as a comment would say it."""
    if isinstance(inputs, dict):
        inputs = ", ".join(f"{name}={expression}" for name, expression in inputs.items())
    return f"{class_name}({arguments or ''}), {inputs}"


def _positive(value: object) -> str | None:
    is_right = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return None if is_right else "a whole number from 1 is expected"


def _text_value(value: object) -> str | None:
    return None if isinstance(value, str) and value else "text is expected"


def _one_of(choices: tuple[str, ...]) -> _Check:
    expected = f"one of {', '.join(choices)} is expected"
    return lambda value: None if value in choices else expected


_CHECKS: dict[str, _Check] = {
    "device": _text_value,
    "batch-size": _positive,
    "sequence-length": _positive,
    "dtype": _one_of(DTYPES),
    "attention": _one_of(ATTENTIONS),
    "predictor": _text_value,
}
