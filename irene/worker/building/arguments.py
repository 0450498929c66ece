"""Constructor arguments: as a person wrote them, from a Transformers config, or defaults."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from irene.tree import Assumption
from irene.worker import advice
from irene.worker.building.diffusers_models import constructor_arguments, is_model_class
from irene.worker.protocol import BuildSpec
from irene.worker.refusals import Refused, describe, refuse


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the constructor is called with; `text` is how a person would write the call."""

    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    text: str
    assumptions: tuple[Assumption, ...] = ()


def find_arguments(cls: type, module: ModuleType, spec: BuildSpec) -> Arguments:
    """The arguments for `cls`, in the order that `irene.source.targets` documents.

    Raises:
        Refused: they are malformed, do not fit the constructor, or one is missing.
    """
    if spec.arguments is not None:
        found = _evaluate(cls, module, spec.arguments)
    elif spec.config_dir is not None:
        found = _from_folder(cls, spec.config_dir)
    else:
        found = _from_config(cls, module) or Arguments((), {}, f"{cls.__name__}()")
    _check_fit(cls, found)
    return found


def config_in(arguments: Arguments) -> object | None:
    """The Transformers config among the arguments, where there is one."""
    base = _config_base()
    for value in (*arguments.args, *arguments.kwargs.values()):
        if base is not None and isinstance(value, base):
            return value
    return None


def config_from_folder(folder: str, config_class: type | None) -> object:
    """The config of a folder's `config.json`, by its own class where one is given.

    Raises:
        Refused: there is no such file, or Transformers does not understand it.
    """
    from transformers import AutoConfig

    read_config(folder)
    reader = AutoConfig if config_class is None else config_class
    try:
        return reader.from_pretrained(folder, local_files_only=True)  # type: ignore[attr-defined] # of a config class
    except Exception as err:
        raise refuse(
            "arguments",
            f"Transformers cannot read {folder}/config.json: {describe(err)}",
            advice="Check the file and its model_type; a newer Transformers may know it.",
        ) from err


def read_config(folder: str) -> Mapping[str, object]:
    """The object in the `config.json` of a folder.

    Raises:
        Refused: there is no such file, or it holds no JSON object.
    """
    file = Path(folder) / "config.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise refuse(
            "arguments",
            f"There is no config.json in {folder}.",
            advice="Give the folder that holds the config.json of a model.",
        ) from err
    except OSError as err:
        raise _unreadable(file, describe(err)) from err
    except ValueError as err:
        raise _unreadable(file, f"it is not a valid JSON file: {err}") from err
    if not isinstance(data, dict):
        raise _unreadable(file, "it holds no object")
    return data


def _unreadable(file: Path, why: str) -> Refused:
    return refuse(
        "arguments", f"{file} cannot be read: {why}", advice="Check that the file is JSON."
    )


def _evaluate(cls: type, module: ModuleType, text: str) -> Arguments:
    def capture(*args: object, **kwargs: object) -> Arguments:
        return Arguments(args, kwargs, f"{cls.__name__}({text.strip()})")

    try:
        code = compile(f"__irene_capture__({text}\n)", "<arguments>", "eval", dont_inherit=True)
        namespace = {**vars(module), "__irene_capture__": capture}
        found = eval(code, namespace)  # noqa: S307 - the user's own expression, in their process
    except Exception as err:
        raise refuse(
            "arguments",
            f"The arguments {cls.__name__}({text}) cannot be evaluated: {_reason(err)}.",
            advice="Write a Python call whose names the file defines or imports.",
        ) from err
    if not isinstance(found, Arguments):
        raise refuse(
            "arguments",
            f"{text!r} is not a list of arguments for {cls.__name__}.",
            advice="Write what stands between the parentheses of the call, nothing more.",
        )
    return found


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else describe(error)


_CONFIG_NAMES = ("config", "cfg", "args")


def _from_folder(cls: type, folder: str) -> Arguments:
    """The config.json of a folder for the parameter that takes it; of diffusers, for all."""
    if is_model_class(cls):
        keywords = constructor_arguments(cls, read_config(folder))
        return Arguments((), keywords, f"{cls.__name__}.from_config({folder!r})")
    takes_any = _CONFIG_NAMES if _config_base() is not None else ()
    for parameter in _required(cls):
        config_class = _config_class(cls, parameter)
        is_any = config_class is None and parameter.name in takes_any
        if is_any or (config_class is not None and _is_transformers_config(config_class)):
            config = config_from_folder(folder, config_class)
            text = f"{cls.__name__}({type(config).__name__}.from_pretrained({folder!r}))"
            return Arguments((), {parameter.name: config}, text)
    raise refuse(
        "arguments",
        f"{cls.__name__} takes no Transformers config, so that {folder}/config.json says nothing "
        "about it.",
        advice="Leave the folder out, or name a class whose constructor takes a config.",
    )


def _from_config(cls: type, module: ModuleType) -> Arguments | None:
    """A config object for the first parameter without a default, where the class takes one."""
    required = list(_required(cls))
    if len(required) != 1:
        return None
    name = required[0].name
    config_class = _config_class(cls, required[0])
    if config_class is None:
        if name in _CONFIG_NAMES:
            return _only_config(cls, name, module)
        return None
    return Arguments((), {name: _default(config_class, cls)}, _call(cls, config_class))


def _call(cls: type, config_class: type) -> str:
    return f"{cls.__name__}({config_class.__name__}())"


def _default(config_class: type, cls: type) -> object:
    try:
        return config_class()
    except Exception as err:
        raise _no_default(config_class, cls, err) from err


def _no_default(config_class: type, cls: type, error: Exception) -> Refused:
    return refuse(
        "arguments",
        f"{cls.__name__} needs a {config_class.__name__}, which has no defaults: {describe(error)}",
        advice=advice.write(cls, f"{config_class.__name__}(...)"),
    )


def _config_class(cls: type, parameter: inspect.Parameter) -> type | None:
    annotated = _resolve(cls, parameter)
    if annotated is not None and _is_config(annotated):
        return annotated
    declared = getattr(cls, "config_class", None)
    if inspect.isclass(declared) and parameter.name == "config":
        return declared
    return None


def _resolve(cls: type, parameter: inspect.Parameter) -> type | None:
    """The class that annotates a parameter, also where the annotation is text."""
    annotation: object = parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = typing.get_type_hints(cls.__init__)[parameter.name]  # type: ignore[misc] # reading, not calling
        except Exception:  # noqa: BLE001 - hints may name what only a type checker imports
            return None
    return annotation if inspect.isclass(annotation) else None


def _only_config(cls: type, name: str, module: ModuleType) -> Arguments | None:
    """An unannotated `config`: the one config class that the file defines or imports."""
    candidates = {it for it in vars(module).values() if inspect.isclass(it) and _is_config(it)} - {
        _config_base()
    }
    if len(candidates) != 1:
        return None
    config_class = candidates.pop()
    text = f"{name}: {config_class.__name__}(), the only config class in the file"
    return Arguments(
        (),
        {name: _default(config_class, cls)},
        _call(cls, config_class),
        (Assumption(text, None),),
    )


def _is_config(cls: type) -> bool:
    return _is_transformers_config(cls) or (
        dataclasses.is_dataclass(cls) and cls.__name__.lower().endswith(("config", "args", "cfg"))
    )


def _is_transformers_config(cls: type) -> bool:
    base = _config_base()
    return base is not None and issubclass(cls, base)


def _config_base() -> type | None:
    """Transformers' base of configs, where the user's code has loaded Transformers."""
    transformers = sys.modules.get("transformers")
    if transformers is None:
        return None
    base = getattr(transformers, "PretrainedConfig", None)
    return base if inspect.isclass(base) else None


def _required(cls: type) -> Iterator[inspect.Parameter]:
    for parameter in _parameters(cls):
        is_variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not is_variadic:
            yield parameter


def _parameters(cls: type) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return []


def _check_fit(cls: type, arguments: Arguments) -> None:
    try:
        signature = inspect.signature(cls)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments.args, **arguments.kwargs)
    except TypeError as err:
        raise _misfit(cls, signature, arguments, err) from err


def _misfit(
    cls: type, signature: inspect.Signature, arguments: Arguments, error: TypeError
) -> Refused:
    given = set(arguments.kwargs) | set(list(signature.parameters)[: len(arguments.args)])
    missing = [it.name for it in _required(cls) if it.name not in given]
    example = ", ".join(f"{name}=..." for name in missing)
    if missing and not arguments.args and not arguments.kwargs:
        message = f"{cls.__name__} needs {_listed(missing)}, which have no default."
        if len(missing) == 1:
            message = f"{cls.__name__} needs {missing[0]}, which has no default."
    else:
        message = f"{arguments.text} does not fit the constructor: {error}."
    return refuse(
        "arguments",
        message,
        advice=advice.write(cls, example),
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
