"""What was typed, as typed values; the only reader of the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from irene import __version__
from irene.errors import IreneError
from irene.source.targets import Options
from irene.training.arguments import add_commands

DTYPES = ("float32", "float16", "bfloat16")
ATTENTIONS = ("eager", "sdpa", "flash_attention_2")

_EPILOG = """\
The model is built in your own Python, the first of:
  1. --python PATH
  2. the activated environment (VIRTUAL_ENV)
  3. .venv beside the file, or in the nearest folder above it
  4. python3 on the PATH, then the Python that runs irene: the first that has torch

A comment above the class (`# irene: Net(width=64), x=float32[8, 3]`) goes before
[tool.irene] in pyproject.toml, that before the options here, these before the defaults;
an option that is not used is reported.

Exit code: 0 fine, 1 there is no estimate (standard error says why), 2 the command line is
wrong, 130 cancelled.
"""


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


class UsageError(IreneError):
    """What was typed cannot be meant: a file, class, device or interpreter is not there."""


@dataclass(frozen=True, slots=True)
class Place:
    """`FILE[:CLASS]`."""

    path: Path
    class_name: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One command with all that was typed for it."""

    command: str
    place: Place | None
    config_dir: Path | None
    python: str | None
    options: Options
    as_json: bool
    fresh: bool
    typed: Mapping[str, object] = field(default_factory=dict, compare=False)
    """All of it, for the commands of the training room."""


def parse(argv: Sequence[str]) -> Asked:
    """Exits with 2 and a message where an option is unknown or malformed."""
    parser = _parser()
    typed = vars(parser.parse_args(argv))
    place, config_dir = typed.get("place"), typed.get("hf_config")
    if typed["command"] == "estimate" and place is None and config_dir is None:
        parser.error("estimate needs FILE[:CLASS], or --hf-config DIR")
    return Asked(
        command=typed["command"],
        place=None if place is None else split_place(place),
        config_dir=None if config_dir is None else Path(config_dir),
        python=typed.get("python"),
        options=Options(
            origin="option",
            device=typed.get("device"),
            predictor=typed.get("predictor"),
            batch_size=typed.get("batch_size"),
            sequence_length=typed.get("sequence_length"),
            dtype=typed.get("dtype"),
            attention=typed.get("attention"),
        ),
        as_json=typed.get("json", False),
        fresh=typed.get("fresh", False),
        typed=typed,
    )


def split_place(text: str) -> Place:
    r"""`model.py:Net -> (model.py, Net)`; the colon of a drive letter does not split."""
    path, colon, class_name = text.rpartition(":")
    is_drive = re.fullmatch("[A-Za-z]", path) is not None
    if not colon or not path or is_drive or re.search(r"[\\/]", class_name):
        return Place(Path(text), None)
    return Place(Path(path), class_name or None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="irene",
        description="The energy of a PyTorch model, per module and line, with nothing run.",
    )
    parser.add_argument("--version", action="version", version=f"irene {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    estimate = _model_command(commands, "estimate", "print what a model costs, part by part", "?")
    estimate.add_argument(
        "--hf-config",
        metavar="DIR",
        help="folder with a config.json of Transformers (its architecture, else AutoModel) or of "
        "diffusers (its class); "
        "with FILE:CLASS the config of that class",
    )
    _model_command(commands, "annotate", "print a file with joules at the line ends")
    profile = _model_command(commands, "profile", "run a model here and time its parts")
    profile.add_argument(
        "--fresh", action="store_true", help="measure again where a stored profile would do"
    )
    for command in (estimate, profile):
        command.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    _command(commands, "devices", "list the devices that a model can be estimated for")
    _command(commands, "predictors", "list the predictors that were fitted to measurements")
    doctor = _command(commands, "doctor", "say what is here, and what each missing part brings")
    _add_python(doctor)
    add_commands(commands)
    return parser


def _command(commands: _Commands, name: str, what: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _model_command(
    commands: _Commands, name: str, what: str, n_files: str | None = None
) -> argparse.ArgumentParser:
    command = _command(commands, name, what)
    command.add_argument(
        "place",
        nargs=n_files,
        metavar="FILE[:CLASS]",
        help="a Python file and a class in it; without a class, the one that the editor selects",
    )
    _add_python(command)
    command.add_argument("--device", metavar="D", help="a name of `irene devices`; default: auto")
    command.add_argument(
        "--predictor", metavar="P", help="a name of `irene predictors`; default: the device's"
    )
    command.add_argument("--batch-size", type=_count, metavar="N", help="default: 8")
    command.add_argument("--sequence-length", type=_count, metavar="N", help="default: 128")
    command.add_argument("--dtype", choices=DTYPES, help="default: as the model is built")
    command.add_argument("--attention", choices=ATTENTIONS, help="kernel of Transformers models")
    return command


def _add_python(command: argparse.ArgumentParser) -> None:
    command.epilog = _EPILOG
    command.add_argument(
        "--python", metavar="PATH", help="interpreter that the model is built in (order: below)"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
