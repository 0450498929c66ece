"""Which class is built, with which arguments, on which inputs, and who said so.

Order of precedence, everywhere: a comment above the class, `[tool.irene]` of
`pyproject.toml`, the editor's settings or the command line's options, a Transformers
config, the constructor's defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from irene.errors import IreneError, SettingsError, TargetError
from irene.source.choosing import default_choice, is_buildable, roots_of
from irene.source.configs import ConfigSource, config_dtype, config_source
from irene.source.outline import ClassOutline, Outline
from irene.source.project import (
    FILE_NAME,
    NO_PROJECT,
    Description,
    Project,
    find_project,
    read_comment,
)
from irene.worker.protocol import BuildSpec, Refusal

Origin = Literal["comment", "pyproject.toml", "settings", "option", "config", "default"]

BATCH_SIZE = 8
SEQUENCE_LENGTH = 128
AS_BUILT = "as built"
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value and who chose it; `where` is for people: "pyproject.toml, line 12"."""

    value: str
    origin: Origin
    where: str


@dataclass(frozen=True, slots=True)
class Options:
    """What the editor's settings or the command line's options say; None: nothing."""

    origin: Origin  # "settings" or "option"
    device: str | None = None
    batch_size: int | None = None
    sequence_length: int | None = None
    dtype: str | None = None
    attention: str | None = None
    predictor: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A class of a file that can be tried, and how."""

    class_name: str  # qualified in the file; "" for a bare config folder
    build: BuildSpec
    device: Chosen
    predictor: Chosen
    batch_size: Chosen
    sequence_length: Chosen
    dtype: Chosen
    attention: Chosen
    arguments: Chosen  # value: as shown to people
    inputs: Chosen
    flaw: Refusal | None = None  # what was written about it cannot be read


@dataclass(frozen=True, slots=True)
class Plan:
    """The targets of a file."""

    candidates: tuple[Target, ...]  # every class that could be tried, in order of the file
    selected: Target | None  # the one that shares refer to
    roots: tuple[str, ...]  # candidates that no other class of the file contains
    overridden: tuple[str, ...]  # options that lose against pyproject.toml, as sentences


def plan(
    path: str,
    text: str,
    outlined: Outline,
    options: Options,
    roots: tuple[str, ...],
    selected: str | None,
) -> Plan:
    """The targets of a file, from its text and the pyproject.toml above it.

    `path` is absolute or "", `roots` are the workspace folders, `selected` is the class that
    a person picked in the editor or named on the command line.
    """
    try:
        project, flaw = find_project(path, roots), None
    except SettingsError as err:
        project, flaw = NO_PROJECT, _flaw(err, f"Mend {FILE_NAME}.")
    maker = _Maker(path, text, outlined, options, project, _search_paths(path, roots), flaw)
    candidates = tuple(maker.target(it) for it in outlined.classes if is_buildable(it, outlined))
    by_name = {it.class_name: it for it in candidates}
    described = [it.class_name for it in candidates if is_described(it)]
    name = selected if selected in by_name else default_choice(outlined, tuple(by_name), described)
    return Plan(
        candidates=candidates,
        selected=by_name.get(name) if name else None,
        roots=roots_of(outlined, by_name),
        overridden=_overridden(options, project),
    )


def is_described(target: Target) -> bool:
    """Whether a person wrote down how to build the target."""
    origins = (target.arguments.origin, target.inputs.origin)
    return any(it in ("comment", "pyproject.toml") for it in origins)


def config_target(config_dir: str, options: Options, path: str = "") -> Target:
    """The target of a folder with a `config.json` of a model, no text beside it."""
    maker = _Maker(path, "", Outline((), ()), options, NO_PROJECT, (), None)
    where = str(Path(config_dir) / "config.json")
    arguments = Chosen(f"config of {Path(config_dir).name}", "option", where)
    return maker.make("", None, arguments, config_dir)


def with_config(target: Target, config_dir: str) -> Target:
    """The target built from the config.json of a folder that was named beside its file."""
    arguments = Chosen(f"config of {config_dir}", "option", "option --hf-config")
    dtype = target.dtype if target.dtype.origin != "default" else _dtype_of(config_dir)
    build = replace(
        target.build, config_dir=config_dir, arguments=None, dtype=_unless_as_built(dtype)
    )
    return replace(target, build=build, arguments=arguments, dtype=dtype)


def suggest_comment(outlined: ClassOutline) -> str:
    """An irene comment for a class, with placeholders from its parameters to fill in."""
    arguments = [
        f"{it.name}={_example(it.annotation, it.name)}"
        for it in (outlined.init.parameters if outlined.init else ())
        if it.default is None and it.kind in ("positional", "keyword-only")
    ]
    inputs = [
        f"{it.name}={_example_input(it.annotation, it.name)}"
        for it in (outlined.forward.parameters if outlined.forward else ())
        if it.default is None and it.kind in ("positional", "keyword-only")
    ]
    name = outlined.name.rpartition(".")[2]
    return f"# irene: {', '.join([_call(name, arguments), *inputs])}"


def _call(name: str, arguments: list[str]) -> str:
    return f"{name}({', '.join(arguments)})"


_EXAMPLES = {"int": "64", "float": "0.1", "bool": "True", "str": '"..."'}
_WORDS = (("head", "8"), ("layer", "2"), ("vocab", "1000"), ("class", "10"), ("channel", "3"))
_ID_NAMES = ("ids", "tokens", "idx", "indices", "index", "labels")
_IMAGE_NAMES = ("image", "images", "img", "pixel_values", "pixels")


def _example(annotation: str | None, name: str) -> str:
    for word, example in _WORDS:
        if word in name.lower() and annotation in (None, "int"):
            return example
    return _EXAMPLES.get(annotation or "int", f"{annotation}()" if annotation else "64")


def _example_input(annotation: str | None, name: str) -> str:
    if name.lower().endswith(_ID_NAMES):
        return "int64[batch, sequence]"
    if name.lower() in _IMAGE_NAMES:
        return "float32[batch, 3, 224, 224]"
    if annotation in _EXAMPLES:
        return _EXAMPLES[annotation]
    return "float32[batch, sequence, 64]"


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes targets of one file."""

    path: str
    text: str
    outlined: Outline
    options: Options
    project: Project
    search_paths: tuple[str, ...]
    flaw: Refusal | None

    def target(self, outlined: ClassOutline) -> Target:
        try:
            described = read_comment(outlined.comments, outlined.name)
            flaw = self.flaw
        except TargetError as err:
            described, flaw = None, _flaw(err, "Mend the comment above the class.")
        written = described or self._in_project(outlined.name)
        config = config_source(outlined, self.outlined, self.path)
        return self.make(outlined.name, written, *self._arguments(written, config), flaw=flaw)

    def make(
        self,
        class_name: str,
        written: Description | None,
        arguments: Chosen,
        config_dir: str | None,
        flaw: Refusal | None = None,
    ) -> Target:
        batch_size = self._number("batch-size", self.options.batch_size, BATCH_SIZE)
        length = self._number("sequence-length", self.options.sequence_length, SEQUENCE_LENGTH)
        dtype = self._text("dtype", self.options.dtype, AS_BUILT)
        if dtype.origin == "default" and config_dir is not None:
            dtype = _dtype_of(config_dir)
        attention = self._text("attention", self.options.attention, AS_BUILT)
        inputs = written.inputs if written else ()
        build = BuildSpec(
            path=self.path,
            text=self.text,
            class_name=class_name,
            search_paths=self.search_paths,
            arguments=written.arguments if written else None,
            inputs=inputs,
            config_dir=config_dir,
            batch_size=int(batch_size.value),
            sequence_length=int(length.value),
            dtype=_unless_as_built(dtype),
            attention=_unless_as_built(attention),
        )
        return Target(
            class_name=class_name,
            build=build,
            device=self._text("device", self.options.device, AUTO),
            predictor=self._text("predictor", self.options.predictor, AUTO),
            batch_size=batch_size,
            sequence_length=length,
            dtype=dtype,
            attention=attention,
            arguments=arguments,
            inputs=_chosen_inputs(written),
            flaw=flaw or self.flaw,
        )

    def _arguments(
        self, written: Description | None, config: ConfigSource | None
    ) -> tuple[Chosen, str | None]:
        """How the class is built, and the folder of its config.json where that is the source."""
        if written and written.arguments is not None:
            return Chosen(written.arguments, _origin(written), written.where), None
        if config is not None:
            return Chosen(config.value, "config", config.where), config.folder
        return Chosen("defaults", "default", "defaults of the constructor"), None

    def _in_project(self, class_name: str) -> Description | None:
        """The table of `[tool.irene.targets]` whose key ends in the module and class."""
        if not self.project.folder or not self.path:
            return None
        file = Path(self.path).with_suffix("")
        parts = [*file.parts[1:-1], *([file.name] if file.name != "__init__" else [])]
        for skipped in range(len(parts) + 1):
            key = ".".join([*parts[skipped:], class_name])
            if key in self.project.targets:
                return self.project.targets[key]
        return None

    def _number(self, key: str, option: int | None, default: int) -> Chosen:
        return self._text(key, None if option is None else str(option), str(default))

    def _text(self, key: str, option: str | None, default: str) -> Chosen:
        setting = self.project.settings.get(key)
        if setting is not None:
            return Chosen(setting.value, "pyproject.toml", f"{FILE_NAME}, line {setting.line}")
        if option is not None:
            name = _option_name(self.options.origin, key)
            return Chosen(option, self.options.origin, name)
        return Chosen(default, "default", "default")


def _dtype_of(config_dir: str) -> Chosen:
    dtype = config_dtype(config_dir)
    if dtype is None:
        return Chosen(AS_BUILT, "default", "default")
    return Chosen(dtype, "config", "config.json")


def _unless_as_built(chosen: Chosen) -> str | None:
    return None if chosen.value == AS_BUILT else chosen.value


def _origin(written: Description) -> Origin:
    return "pyproject.toml" if written.where.startswith(FILE_NAME) else "comment"


def _chosen_inputs(written: Description | None) -> Chosen:
    if written is None or not written.inputs:
        return Chosen("", "default", "parameters of forward")
    value = ", ".join(f"{it.name}={it.expression}" for it in written.inputs)
    return Chosen(value, _origin(written), written.where)


def _flaw(err: IreneError, advice: str) -> Refusal:
    return Refusal("arguments", str(err), None, advice)


def _option_name(origin: Origin, key: str) -> str:
    """`--batch-size` on the command line, `irene.batchSize` in an editor."""
    if origin == "option":
        return f"option --{key}"
    first, *rest = key.split("-")
    return f"setting irene.{first}{''.join(word.title() for word in rest)}"


def _overridden(options: Options, project: Project) -> tuple[str, ...]:
    asked = {
        "device": options.device,
        "predictor": options.predictor,
        "batch-size": options.batch_size,
        "sequence-length": options.sequence_length,
        "dtype": options.dtype,
        "attention": options.attention,
    }
    return tuple(
        f"{_option_name(options.origin, key)} ({value}) does not count: {FILE_NAME}, line "
        f"{project.settings[key].line}, sets {key} to {project.settings[key].value}"
        for key, value in asked.items()
        if value is not None
        and key in project.settings
        and project.settings[key].value != str(value)
    )


def _search_paths(path: str, roots: Iterable[str]) -> tuple[str, ...]:
    """Where the user's imports are looked for: the top of the file's package, then the roots."""
    folders: list[str] = []
    if path:
        folder = Path(path).parent
        while (folder / "__init__.py").is_file() and folder != folder.parent:
            folder = folder.parent
        folders.append(str(folder))
    for root in roots:
        folders.append(root)
        source = Path(root) / "src"
        if source.is_dir():
            folders.append(str(source))
    return tuple(dict.fromkeys(folders))
