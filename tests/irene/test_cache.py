"""The cache of profiles: kept, found by what was run, and never in the way."""

from __future__ import annotations

import importlib.util
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from irene import cache
from irene.cache import ProfileStore, profile_key
from irene.errors import CacheError
from irene.tree import ClassOrigin, Node, Primitive, TensorSpec, Trace
from irene.worker.protocol import BuildSpec, InputExpression, Profile

WRITER = Path(__file__).parent.parent / "fixtures" / "process_writer.py"
_spec = importlib.util.spec_from_file_location("process_writer", WRITER)
assert _spec is not None
assert _spec.loader is not None
process_writer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(process_writer)
PROFILE, TRACE = process_writer.PROFILE, process_writer.TRACE

TEXT = '"""A file."""\nfrom torch import nn\n\nclass Net(nn.Linear):\n    pass  # nothing\n'
BUILD = BuildSpec(
    "/work/net.py", TEXT, "Net", ("/work",), "2, 2", (), None, 8, 128, None, None
)  # fmt: skip


def kernel(primitive: Primitive, flops: int) -> Node:
    """An operation of the model itself."""
    return replace(
        TRACE.root, class_name="addmm", kind="primitive", primitive=primitive, flops=flops
    )


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path)


def test_a_profile_comes_back_as_it_was_stored(store: ProfileStore, tmp_path: Path) -> None:
    """By its key, one for each device; an older one of the same key and device is replaced."""
    on_gpu = replace(PROFILE, device="cuda:0")
    store.keep("key", "EPYC", replace(PROFILE, n_runs=3))
    store.keep("key", "EPYC", PROFILE)
    store.keep("key", "T4", on_gpu)
    found = ProfileStore(tmp_path)
    assert found.profiles("key") == {"EPYC": PROFILE, "T4": on_gpu}
    assert found.profiles("another key") == {}
    assert found.take_notices() == ()


@pytest.mark.parametrize(
    ("build", "is_same"),
    [
        (replace(BUILD, text=TEXT.replace("# nothing", "# a comment")), True),
        (replace(BUILD, text=TEXT.replace("A file.", "Another docstring.")), True),
        (replace(BUILD, text=TEXT.replace("pass", '"""A class."""')), False),  # no `pass`
        (replace(BUILD, text=f"\n\n{TEXT}".replace("(nn.Linear)", "(\n    nn.Linear\n)")), True),
        (replace(BUILD, text=TEXT.replace("\n", "\r\n")), True),
        (replace(BUILD, text=TEXT.replace("nn.Linear", "nn.Bilinear")), False),
        (replace(BUILD, text=TEXT + "class Broken(:"), False),
        (replace(BUILD, class_name="Other"), False),
        (replace(BUILD, arguments="2, 3"), False),
        (replace(BUILD, inputs=(InputExpression("x", "float32[1, 2]"),)), False),
        (replace(BUILD, batch_size=9, sequence_length=9), True),
        (replace(BUILD, dtype=TRACE.dtype), True),
        (replace(BUILD, attention="sdpa"), True),
    ],
)
def test_the_key_is_what_was_run(build: BuildSpec, is_same: bool) -> None:
    """The code counts, not its layout; an option does in what it changes in the trace."""
    assert (profile_key(build, TRACE) == profile_key(BUILD, TRACE)) == is_same


def test_a_number_among_the_inputs_counts_with_its_size() -> None:
    steps = replace(BUILD, inputs=(InputExpression("n_steps", "sequence"),))
    assert profile_key(steps, TRACE) == profile_key(replace(steps, batch_size=9), TRACE)
    assert profile_key(steps, TRACE) != profile_key(replace(steps, sequence_length=9), TRACE)


@pytest.mark.parametrize(
    "trace",
    [
        replace(TRACE, torch_version="3.0"),
        replace(TRACE, transformers_version="5.0"),
        replace(TRACE, arguments="Net(4)"),
        replace(TRACE, dtype="float16"),
        replace(TRACE, inputs=(TensorSpec("x", "float32", (1,)),)),
        replace(TRACE, root=replace(TRACE.root, children=(kernel("linear", 1),))),
        replace(TRACE, root=replace(TRACE.root, children=(TRACE.root,))),
    ],
)
def test_the_key_is_what_was_seen(trace: Trace) -> None:
    """A size that the file imports from elsewhere shows in the costs of the tree."""
    assert profile_key(BUILD, trace) != profile_key(BUILD, TRACE)


def test_the_key_is_the_same_for_the_kernels_of_another_device() -> None:
    """An LSTM is one kernel of a GPU, and products with a loop around them on a CPU."""
    on_gpu = kernel("recurrent", 4), kernel("softmax", 1)
    on_cpu = kernel("linear", 2), kernel("linear", 2), kernel("elementwise", 3)
    gpu, cpu = (replace(TRACE, root=replace(TRACE.root, children=it)) for it in (on_gpu, on_cpu))
    assert profile_key(BUILD, gpu) == profile_key(BUILD, cpu)


def test_the_user_s_other_files_count_as_the_document_does(tmp_path: Path) -> None:
    other = tmp_path / "layers.py"
    build = replace(BUILD, search_paths=(str(tmp_path),))
    origin = ClassOrigin(str(other), "Layer")
    trace = replace(TRACE, root=replace(TRACE.root, origin=origin))

    def key_with(text: str) -> str:
        other.write_text(text)
        return profile_key(build, trace)

    assert key_with("x = 1\n") == key_with("x = 1  # a comment\n")
    assert key_with("x = 1\n") != key_with("x = 2\n")


def newer_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE profile (of TEXT, another TEXT, shape TEXT)")
        connection.execute("PRAGMA user_version = 99")


def empty_database(path: Path) -> None:
    """It says that it is ours, and has no table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")


def foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE profile (of TEXT, another TEXT)")


def cut_database(path: Path) -> None:
    """A real one whose middle is overwritten, as a bad disk does."""
    process_writer.write(path.parent, 0, 20)
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xff" * len(content[4096:-4096])
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"not a database at all" * 300),
        lambda path: path.write_bytes(b"SQLite format 3\x00" + b"x" * 5000),
        newer_database,
        empty_database,
        foreign_database,
        cut_database,
    ],
    ids=["text", "header alone", "newer", "no table", "another table", "damaged pages"],
)
def test_a_file_that_cannot_be_used_is_set_aside_and_said_once(
    store: ProfileStore, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    path = tmp_path / "profiles.sqlite"
    damage(path)
    content = path.read_bytes()
    assert store.profiles("key 7") == {}
    store.keep("key", "cpu", PROFILE)
    assert store.profiles("key") == {"cpu": PROFILE}
    aside = tmp_path / "profiles.sqlite.damaged-1"
    (notice,) = store.take_notices()
    assert str(aside) in notice
    assert aside.read_bytes() == content
    assert store.take_notices() == ()


def test_a_file_that_is_deleted_or_replaced_takes_no_later_profile_with_it(
    store: ProfileStore, tmp_path: Path
) -> None:
    """People empty their caches while the editor is open."""
    store.keep("key", "cpu", PROFILE)
    for path in tmp_path.iterdir():
        path.unlink()
    assert store.profiles("key") == {}
    store.keep("key", "cpu", PROFILE)
    assert ProfileStore(tmp_path).profiles("key") == {"cpu": PROFILE}
    (tmp_path / "profiles.sqlite").rename(tmp_path / "moved.sqlite")
    store.keep("another key", "cpu", PROFILE)
    assert ProfileStore(tmp_path).profiles("another key") == {"cpu": PROFILE}
    assert store.take_notices() == ()


def test_threads_share_a_store(store: ProfileStore, tmp_path: Path) -> None:
    """Also where they all find the same damaged file: it is set aside once."""
    (tmp_path / "profiles.sqlite").write_text("damaged" * 1000)

    def keep(number: int) -> dict[str, Profile]:
        store.keep(f"key {number}", "cpu", PROFILE)
        return store.profiles(f"key {number}")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(keep, range(20))) == [{"cpu": PROFILE}] * 20
    assert len(store.take_notices()) == 1


def test_files_set_aside_are_never_overwritten(tmp_path: Path) -> None:
    for text in ("first", "second"):
        (tmp_path / "profiles.sqlite").write_text(text * 1000)
        assert ProfileStore(tmp_path).profiles("key") == {}
    kept = sorted(path.read_text()[:5] for path in tmp_path.glob("*.damaged-?"))
    assert kept == ["first", "secon"]


def test_a_profile_of_another_shape_is_measured_again(store: ProfileStore, tmp_path: Path) -> None:
    """A row of an earlier or later program is passed over."""
    store.keep("key", "cpu", PROFILE)
    store.keep("key", "T4", PROFILE)
    with closing(sqlite3.connect(tmp_path / "profiles.sqlite")) as connection, connection:
        connection.execute("UPDATE profile SET body = '{}' WHERE device_id = 'T4'")
    assert store.profiles("key") == {"cpu": PROFILE}


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ProfileStore(tmp_path / "file" / "below")
    with pytest.raises(CacheError, match="IRENE_CACHE_DIR"):
        store.keep("key", "cpu", PROFILE)
    with pytest.raises(CacheError, match="IRENE_CACHE_DIR"):
        store.profiles("key")


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        store = ProfileStore(folder)
        with unprivileged(), pytest.raises(CacheError, match="writable"):
            store.keep("key", "cpu", PROFILE)
        folder.chmod(0o755)


def test_a_full_disk_is_an_error_and_what_was_stored_stays(
    store: ProfileStore, tmp_path: Path
) -> None:
    """No file of the writer may grow beyond a size, which SQLite sees as a full disk."""
    said = subprocess.run(
        [sys.executable, WRITER, tmp_path, "0", "20", "60000"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    stored = [line.split()[1] for line in said if line.startswith("stored")]
    refused = [line for line in said if line.startswith("refused")]
    assert stored
    assert refused
    assert "free some space" in refused[0]
    assert [it for it in stored if store.profiles(f"key {it}") != {"cpu": PROFILE}] == []


def test_processes_write_at_once(store: ProfileStore, tmp_path: Path) -> None:
    """Also where they all find the same damaged file: one sets it aside, and says so."""
    (tmp_path / "profiles.sqlite").write_text("damaged" * 1000)
    writers = [writing(tmp_path, 100 * i, 20) for i in range(3)]
    said = [line for it in writers for line in it.communicate()[0].splitlines()]
    stored = {int(line.split()[1]) for line in said if line.startswith("stored")}
    assert stored == {100 * i + k for i in range(3) for k in range(20)}
    assert [it for it in stored if store.profiles(f"key {it}") != {"cpu": PROFILE}] == []
    assert len([line for line in said if line.startswith("notice")]) == 1
    assert len(list(tmp_path.glob("*.damaged-?"))) == 1


def test_a_kill_loses_nothing_that_was_stored(store: ProfileStore, tmp_path: Path) -> None:
    """What `keep` returned from is there after SIGKILL at any moment."""
    stored = []
    for i in range(4):
        writer = writing(tmp_path, 100_000 * i, 100_000)
        assert writer.stdout is not None
        for _ in range(random.Random(i).randrange(1, 40)):
            stored.append(writer.stdout.readline().removeprefix("stored").strip())
        writer.kill()
        stored += [
            it.split()[1] for it in writer.communicate()[0].splitlines() if it[-1:].isdigit()
        ]
    assert [it for it in stored if store.profiles(f"key {it}") != {"cpu": PROFILE}] == []
    assert store.take_notices() == ()


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"IRENE_CACHE_DIR": "/elsewhere", "XDG_CACHE_HOME": "/xdg"}, "/elsewhere"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/irene"),
        ("linux", {}, "/home/me/.cache/irene"),
        ("darwin", {}, "/home/me/Library/Caches/irene"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/irene"),
        ("win32", {}, "/home/me/AppData/Local/irene"),
    ],
)
def test_the_folder_is_the_platform_s_unless_it_is_chosen(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("IRENE_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache.default_folder() == Path(expected)


def writing(folder: Path, first: int, n: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), str(folder), str(first), str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may do everything: as root this becomes `nobody` for a while."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)
