"""The user's file as a module object, from its unsaved text, under its package's name."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import linecache
import os
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from types import ModuleType

from irene.worker.frames import UserCode
from irene.worker.protocol import BuildSpec, RefusalKind
from irene.worker.refusals import Refused, describe, line_in, place_of, refuse

_OUR_NAMES = ("irene", "irene_server")
_OUR_FOLDER = str(Path(__file__).resolve().parent.parent) + os.sep
# Python itself has these loaded before any script, which therefore cannot shadow them.
_ALWAYS_PYTHONS = frozenset(sys.builtin_module_names) | frozenset(
    [
        "abc",
        "codecs",
        "collections",
        "encodings",
        "enum",
        "functools",
        "genericpath",
        "importlib",
        "io",
        "os",
        "os.path",
        "posixpath",
        "ntpath",
        "re",
        "site",
        "stat",
        "sys",
        "types",
        "typing",
        "warnings",
        "weakref",
        "torch",
    ]
)


_inside: ContextVar[bool] = ContextVar("inside the user's imports", default=False)


@contextlib.contextmanager
def users_imports(spec: BuildSpec) -> Iterator[None]:
    """While it lasts, imports find what the user's own interpreter would give them.

    The search paths come first, our modules and loaded ones that a file of the user's would
    shadow are out of sight, and libraries stay off the network.
    """
    if _inside.get():
        yield
        return
    folders = [path for path in _search_paths(spec) if path not in sys.path]
    hidden = _hide(_shadowed_names(_search_paths(spec)))
    _forget_loaded()
    n_loaded = len(sys.modules)
    token = _inside.set(True)
    environment = _offline()
    sys.path[:0] = folders
    try:
        yield
    finally:
        _inside.reset(token)
        _note_loaded(n_loaded, spec.path, _search_paths(spec))
        for folder in folders:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)
        for name in hidden:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
        _restore_environment(environment)


def load(spec: BuildSpec) -> ModuleType:
    """Execute the text of `spec` as its module; `users_imports` is around it.

    Raises:
        Refused: the text does not compile, an import fails, or running it raises.
    """
    text = spec.text.removeprefix("\ufeff")
    linecache.cache[spec.path] = (len(text), None, text.splitlines(keepends=True), spec.path)
    name = module_name(spec.path)
    code = _compile(text, spec.path)
    finder = _BufferFinder(name, spec.path, code, text)
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    except Refused:
        raise
    except ImportError as err:
        raise _missing_import(err, spec) from err
    except Exception as err:
        raise _failed_load(err, spec) from err
    finally:
        sys.meta_path.remove(finder)


def module_class(module: ModuleType, spec: BuildSpec) -> type:
    """The `nn.Module` class that `spec` names in the loaded file.

    Raises:
        Refused: there is none of that name, or it is something else.
    """
    import torch

    found: object = module
    for part in spec.class_name.split("."):
        found = getattr(found, part, None)
    if inspect.isclass(found) and issubclass(found, torch.nn.Module):
        return found
    file = Path(spec.path).name
    if found is None:
        raise refuse(
            "arguments",
            f"{file} has no class {spec.class_name} once it has run.",
            advice="Define the class at the top level of the file, outside of any condition.",
        )
    raise refuse(
        "arguments",
        f"{spec.class_name} in {file} is not a torch.nn.Module.",
        advice="Choose a class that derives from torch.nn.Module.",
    )


def module_name(path: str) -> str:
    """The dotted name under which Python would import the file: `package.module`."""
    file = Path(path)
    parts = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) > 1:
        return ".".join(parts)
    stem = (parts or [file.parent.name])[0].replace(".", "_")
    return f"irene_document_{stem}" if _is_taken(stem, file) else stem


def _is_taken(stem: str, file: Path) -> bool:
    """Whether a file of this name must not stand for the installed module of that name."""
    if stem in _ALWAYS_PYTHONS or stem in ("__main__", "__init__"):
        return True
    loaded = getattr(sys.modules.get(stem), "__file__", None)
    return loaded is not None and Path(loaded).resolve() != file.resolve() and "site-" in loaded


def _search_paths(spec: BuildSpec) -> list[str]:
    """The given folders, then the one that holds the document's outermost package."""
    paths = list(spec.search_paths)
    if spec.path:
        folder = Path(spec.path).parent
        while (folder / "__init__.py").is_file():
            folder = folder.parent
        paths.append(str(folder))
    return list(dict.fromkeys(paths))


def _hide(shadowed: frozenset[str]) -> dict[str, ModuleType]:
    """Take ours and the shadowed modules out of `sys.modules`."""
    names = [it for it in list(sys.modules) if _top(it) in shadowed] if shadowed else []
    return {it: sys.modules.pop(it) for it in (*names, *our_modules()) if it in sys.modules}


def our_modules() -> set[str]:
    """The names of our own modules; only those are looked at that came since the last time.

    In a forked child each look at a module copies memory of its parent's.
    """
    n_new = len(sys.modules) - _ours.n_seen + len(_ours.names)  # what was hidden comes last again
    for name, module in list(islice(reversed(sys.modules.items()), max(0, n_new))):
        if _top(name) in _OUR_NAMES and _is_ours(module):
            _ours.names.add(name)
    _ours.n_seen = len(sys.modules)
    return _ours.names


class _Ours:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.n_seen = 0


_ours = _Ours()


def _top(name: str) -> str:
    return name.partition(".")[0]


_users_modules: set[str] = set()
"""Names of modules that came from files of the user's."""


def _forget_loaded() -> None:
    """Files of the user's that an earlier request loaded may have changed since."""
    for name in _users_modules:
        sys.modules.pop(name, None)
    _users_modules.clear()


def _note_loaded(n_before: int, document: str, folders: Sequence[str]) -> None:
    """Of the modules that came since there were `n_before`, those of the user's."""
    user_code = UserCode(document, tuple(folders))
    beginnings = tuple(folders)
    n_new = max(0, len(sys.modules) - n_before)
    for name, module in list(islice(reversed(sys.modules.items()), n_new)):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.startswith(beginnings):
            continue
        if "site-packages" not in file and user_code.path_of(file) is not None:
            _users_modules.add(name)


def _is_ours(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None) or ""
    return file.startswith(_OUR_FOLDER) or "irene_server" in file


def _shadowed_names(folders: Sequence[str]) -> frozenset[str]:
    """Top-level names that the folders define, and that something else is loaded under."""
    found: dict[str, Path] = {}
    for folder in folders:
        if "site-packages" not in folder:
            found = _modules_in(folder) | found  # the first folder counts
    shadowed = set()
    for name in found.keys() & sys.modules.keys() - _ALWAYS_PYTHONS:
        loaded = getattr(sys.modules[name], "__file__", None)
        if loaded is not None and os.path.realpath(loaded) != os.path.realpath(found[name]):
            shadowed.add(name)
    return frozenset(shadowed)


def _modules_in(folder: str) -> dict[str, Path]:
    """The files that imports of top-level names would execute; a package stands before a file."""
    try:
        entries = list(Path(folder).iterdir())
    except OSError:
        return {}
    files = {it.stem: it for it in entries if it.suffix == ".py"}
    packages = {it.name: it / "__init__.py" for it in entries}
    # Not `Path.is_file`, which raises for a folder that may not be read.
    return files | {name: it for name, it in packages.items() if os.path.isfile(it)}  # noqa: PTH113


def _offline() -> dict[str, str | None]:
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:  # it read the environment when it was imported
        hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined] # of that module
    return before


def _restore_environment(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class _BufferFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Whoever imports `name` while it is installed gets the unsaved text, not the file."""

    def __init__(self, name: str, path: str, code: object, text: str) -> None:
        self._name, self._path, self._code, self._text = name, path, code, text

    def find_spec(
        self, fullname: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self._name:
            return None
        is_package = Path(self._path).stem == "__init__"
        spec = importlib.util.spec_from_file_location(
            fullname,
            self._path,
            loader=self,
            submodule_search_locations=[str(Path(self._path).parent)] if is_package else None,
        )
        if spec is not None:
            spec.cached = None
        return spec

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # type: ignore[arg-type] # a code object  # noqa: S102

    def get_source(self, fullname: str) -> str:
        del fullname
        return self._text

    def is_package(self, fullname: str) -> bool:
        del fullname
        return Path(self._path).stem == "__init__"


def _compile(text: str, path: str) -> object:
    try:
        return compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as err:  # ValueError: null bytes
        line = getattr(err, "lineno", None)
        raise refuse(
            "syntax",
            f"{Path(path).name} is not valid Python: {getattr(err, 'msg', None) or err}.",
            line=line,
            advice="Finish the line; the estimate comes back by itself.",
        ) from err


def _missing_import(error: ImportError, spec: BuildSpec) -> Refused:
    line = line_in(error, spec.path)
    what = f"No module named {error.name!r}" if _is_missing(error) else str(error)
    advice = (
        f"Install what is missing for {sys.executable}, or select another interpreter."
        if _is_missing(error)
        else "Correct the import, or install a version of the package that has the name."
    )
    return refuse(
        "missing-import",
        f"An import of {Path(spec.path).name} fails: {what}{place_of(error, spec.path)}.",
        line=line,
        advice=advice,
    )


def _is_missing(error: ImportError) -> bool:
    return isinstance(error, ModuleNotFoundError) and error.name is not None


def _failed_load(error: Exception, spec: BuildSpec) -> Refused:
    line = line_in(error, spec.path)
    kind: RefusalKind = "syntax" if isinstance(error, SyntaxError) else "constructor"
    return refuse(
        kind,
        f"{Path(spec.path).name} raises when it is imported: "
        f"{describe(error)}{place_of(error, spec.path)}",
        line=line,
        advice="What a file does when imported also runs here; move a script's work below "
        "`if __name__ == '__main__':`.",
    )
