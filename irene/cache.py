"""Profiles that were measured, kept: SQLite, shared by all processes of a user.

A profile is found again by what was really run (`profile_key`) and the device that it ran
on. What is stored is committed before `keep` returns. A file that is no database, or that
a newer version wrote, is set aside and begun anew, never deleted; only a folder that
cannot be written, or a full disk, is an error, and then everything else goes on without.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from irene.errors import CacheError, TreeError
from irene.tree import Node, Trace, matrix_flops, walk
from irene.worker.protocol import BuildSpec, Profile, profile_from_json, profile_to_json

FOLDER_VARIABLE = "IRENE_CACHE_DIR"
"""Environment variable; overrides where the cache is."""

_FILE_NAME = "profiles.sqlite"
_VERSION = 1
_BUSY_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS profile (
    key TEXT NOT NULL,
    device_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    stored_at REAL NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (key, device_id)
) WITHOUT ROWID
"""
_COLUMNS = ("key", "device_id", "subject", "stored_at", "body")

T = TypeVar("T")


class ProfileStore:
    """The cache file of a folder; for any number of threads and processes.

    The file is open only while it is read or written: one that was deleted or replaced
    meanwhile takes nothing with it, and an opening costs a fifth of a millisecond.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or default_folder()) / _FILE_NAME
        self._notices: list[str] = []

    def keep(self, key: str, device_id: str, profile: Profile, subject: str = "") -> None:
        """Store a profile, in place of an older one of the same key and device.

        `subject` is for people who look into the file: "model.py:GPT".

        Raises:
            CacheError: the folder cannot be written or the disk is full.
        """
        row = (key, device_id, subject, time.time(), json.dumps(profile_to_json(profile)))
        self._try(lambda it: it.execute("INSERT OR REPLACE INTO profile VALUES (?,?,?,?,?)", row))

    def profiles(self, key: str) -> dict[str, Profile]:
        """What is stored for a key, by device id; a row that cannot be read is left out.

        Raises:
            CacheError: the file cannot be opened.
        """
        query = "SELECT device_id, body FROM profile WHERE key = ? ORDER BY stored_at"
        rows = self._try(lambda it: it.execute(query, (key,)).fetchall())
        found = ((device_id, _decode(body)) for device_id, body in rows)
        return {device_id: profile for device_id, profile in found if profile is not None}

    def take_notices(self) -> tuple[str, ...]:
        """Sentences for the person, each once: what was set aside, and where it is now."""
        notices = tuple(self._notices)
        del self._notices[: len(notices)]  # another thread may add one meanwhile
        return notices

    def _try(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Act in one transaction; once more on a new file where this one is damaged."""
        found = _identity(self._path)
        try:
            return self._act(act)
        except _DamagedError as damaged:
            self._set_aside(found, damaged)
        try:
            return self._act(act)
        except _DamagedError as damaged:
            raise CacheError(f"{self._path} was damaged twice: {damaged}") from damaged

    def _act(self, act: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with closing(_open(self._path)) as connection, connection:
                return act(connection)
        except (OSError, sqlite3.OperationalError) as err:
            raise _unusable(self._path, err) from err
        except sqlite3.DatabaseError as err:
            raise _DamagedError(str(err)) from err

    def _set_aside(self, found: tuple[int, int] | None, damaged: _DamagedError) -> None:
        """Move the file that was found damaged, where it is still there."""
        try:
            with _alone(self._path):
                if _identity(self._path) != found:
                    return  # another process or thread was faster
                aside = _free_name(self._path)
                for suffix in ("-wal", "-shm", ""):  # the file itself last: then it is free
                    with suppress(FileNotFoundError):
                        Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        except (OSError, sqlite3.Error) as err:
            raise _unusable(self._path, err) from err
        self._notices.append(
            f"The cache of profiles could not be used ({damaged}). It was set aside as {aside}; "
            "profiles are stored in a new file."
        )


def default_folder() -> Path:
    """Where the platform keeps what can be made again, or `IRENE_CACHE_DIR`."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "irene"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "irene"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "irene"


def profile_key(build: BuildSpec, trace: Trace) -> str:
    """What was really run, as a hash: the same key means that a profile still stands.

    The code counts, not its layout: comments, blank lines, docstrings and formatting of the
    document and of the user's own files that the model came from do not matter. What comes
    from elsewhere, such as a size from a settings module, is seen in the modules of the tree
    and their matrix products. So are the options: a dtype that the model has anyway, or a size
    that no input has, is another way to say what was run; fused attention shows in its FLOPs.
    The device is not in it: a key has a profile for each device, whose other kernels differ.
    """
    parts = {
        "code": _code_digest(build.text),
        "files": [[str(path), _file_digest(path, build)] for path in _other_files(build, trace)],
        "class": build.class_name,
        "config": build.config_dir and _config_text(Path(build.config_dir)),
        "arguments": trace.arguments,
        "inputs": [[it.name, it.dtype, list(it.shape)] for it in trace.inputs],
        "written": [build.arguments, [[it.name, it.expression] for it in build.inputs]],
        "sizes": _named_sizes(build),
        "dtype": trace.dtype,
        "tree": [
            [
                node.scope,
                node.class_name,
                calls,
                matrix_flops(node),
                _fused_flops(node),
                node.n_parameters,
            ]
            for node, calls in walk(trace.root)
            if node.kind != "primitive"
        ],
        "versions": [trace.torch_version, trace.transformers_version],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _fused_flops(node: Node) -> int:
    """FLOPs of fused attention, for one call."""
    return sum(calls * it.flops for it, calls in walk(node) if it.primitive == "attention")


class _DamagedError(Exception):
    """The file is there but is not our database."""


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells a file from another one that took its name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process sets a file aside meanwhile; the lock dies with its holder."""
    with closing(sqlite3.connect(f"{path}.lock", timeout=_BUSY_S)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_BUSY_S)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise _DamagedError(f"a newer IrEne wrote it, version {version}")
    columns = tuple(row[1] for row in connection.execute("PRAGMA table_info(profile)"))
    is_begun = version == _VERSION or columns
    if is_begun and columns != _COLUMNS:
        raise _DamagedError("its table of profiles is missing or has other columns")
    if version < _VERSION:
        _use_wal(connection)
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Readers beside a writer; SQLite does not wait by itself for this change of mode."""
    deadline_s = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as err:
            if "locked" not in str(err) or time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
        else:
            return


def _unusable(path: Path, err: Exception) -> CacheError:
    return CacheError(
        f"profiles cannot be stored in {path} ({err}): free some space, make the folder "
        f"writable, or set {FOLDER_VARIABLE} to another folder"
    )


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


def _decode(body: str) -> Profile | None:
    try:
        return profile_from_json(json.loads(body))
    except (TreeError, ValueError, KeyError, TypeError, IndexError):
        return None  # of another version of Profile: measured again when asked for


def _other_files(build: BuildSpec, trace: Trace) -> list[Path]:
    """Files beside the document that the model's classes and operations come from."""
    places = (
        place.path
        for node, _ in walk(trace.root)
        for place in (node.origin, node.created_at, node.called_at)
        if place is not None
    )
    return sorted({Path(it) for it in places if it and it != build.path})


def _file_digest(path: Path, build: BuildSpec) -> str | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if any(path.is_relative_to(folder) for folder in build.search_paths):
        return _code_digest(content.decode(errors="replace"))
    return hashlib.sha256(content).hexdigest()


def _config_text(folder: Path) -> str | None:
    try:
        return (folder / "config.json").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _named_sizes(build: BuildSpec) -> dict[str, int]:
    """The sizes that written inputs name: of numbers among these the trace has no values."""
    written = " ".join(it.expression for it in build.inputs)
    sizes = {"batch": build.batch_size, "sequence": build.sequence_length}
    return {name: size for name, size in sizes.items() if re.search(rf"\b{name}\b", written)}


@lru_cache(maxsize=64)
def _code_digest(text: str) -> str:
    try:
        code = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()
    for node in ast.walk(code):
        _drop_docstring(node)
    return hashlib.sha256(ast.dump(code).encode(errors="replace")).hexdigest()


def _drop_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if ast.get_docstring(node, clean=False) is not None:
        del node.body[0]
