"""The cache of profiles: kept, found by what was run, and never in the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from irene.cache import ProfileStore, profile_key
from irene.errors import CacheError
from irene.tree import Trace
from irene.worker.protocol import BuildSpec, CallTime, Profile
from irene.worker.tracing import trace_module

TEXT = '"""A file."""\nfrom torch import nn\n\nclass Net(nn.Linear):\n    pass  # nothing\n'
BUILD = BuildSpec("/work/net.py", TEXT, "Net", (), "2, 2", (), None, 8, 128, None, None)
TRACE: Trace = trace_module(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
PROFILE = Profile(
    trace=TRACE, times=(CallTime((), 1, 0.5, 0.01),), n_runs=9, n_runs_disturbed=1, device="cpu",
    device_name="a processor", energy_j=None, energy_std_j=None, meter="none", meter_covers="",
    load=0.9, n_threads=2, torch_version="2.13.0", measured_at="2026-01-01T00:00:00+00:00",
)  # fmt: skip


def test_a_profile_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    """By its key and device, also in another process's store."""
    key = profile_key(BUILD, TRACE)
    store = ProfileStore(tmp_path)
    store.keep(key, "cpu", PROFILE)
    store.keep(key, "T4", replace(PROFILE, device="cuda:0"))
    store.close()
    found = ProfileStore(tmp_path)
    assert found.profiles(key) == {"cpu": PROFILE, "T4": replace(PROFILE, device="cuda:0")}
    assert found.profiles("another") == {}
    found.close()


@pytest.mark.parametrize(
    ("build", "is_same"),
    [
        (replace(BUILD, text=TEXT.replace("# nothing", "# a comment")), True),
        (replace(BUILD, text=TEXT.replace("A file.", "Another docstring.")), True),
        (replace(BUILD, text=f"\n\n{TEXT}"), True),
        (replace(BUILD, text=TEXT.replace("nn.Linear", "nn.Bilinear")), False),
        (replace(BUILD, batch_size=9), False),
        (replace(BUILD, dtype="float16"), False),
        (replace(BUILD, attention="eager"), False),
        (replace(BUILD, class_name="Other"), False),
    ],
)
def test_the_key_is_what_was_really_run(build: BuildSpec, is_same: bool) -> None:
    """The code counts, not its layout."""
    assert (profile_key(build, TRACE) == profile_key(BUILD, TRACE)) == is_same


def test_another_torch_is_another_key() -> None:
    assert profile_key(BUILD, replace(TRACE, torch_version="3.0")) != profile_key(BUILD, TRACE)


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 300, b"SQLite format 3\x00" + b"x" * 5000]
)
def test_a_damaged_file_is_set_aside_and_said_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "profiles.sqlite").write_bytes(content)
    store = ProfileStore(tmp_path)
    store.keep("key", "cpu", PROFILE)
    assert store.profiles("key") == {"cpu": PROFILE}
    (notice,) = store.take_notices()
    aside = next(it for it in tmp_path.iterdir() if "damaged" in it.name)
    assert str(aside) in notice
    assert aside.read_bytes() == content
    assert store.take_notices() == ()
    store.close()


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ProfileStore(tmp_path / "file" / "below")
    with pytest.raises(CacheError, match="IRENE_CACHE_DIR"):
        store.keep("key", "cpu", PROFILE)


def _write(folder: str, first: int, n: int) -> None:
    store = ProfileStore(Path(folder))
    for i in range(first, first + n):
        store.keep(f"key {i}", "cpu", PROFILE)
        sys.stdout.flush()
        Path(folder, f"stored-{i}").touch()
    store.close()


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write, args=(str(tmp_path), 100 * i, 20)) for i in range(2)]
    for it in writers:
        it.start()
    for it in writers:
        it.join()
    assert [it.exitcode for it in writers] == [0, 0]
    store = ProfileStore(tmp_path)
    assert all(store.profiles(f"key {100 * i + k}") for i in range(2) for k in range(20))
    store.close()


def test_a_kill_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    """What `keep` returned from is there after SIGKILL at any moment."""
    writer = multiprocessing.get_context("spawn").Process(
        target=_write, args=(str(tmp_path), 0, 100_000)
    )
    writer.start()
    while len(list(tmp_path.glob("stored-*"))) < 25:
        time.sleep(0.01)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    store = ProfileStore(tmp_path)
    stored = [int(it.name.removeprefix("stored-")) for it in tmp_path.glob("stored-*")]
    assert [i for i in stored if not store.profiles(f"key {i}")] == []
    assert store.take_notices() == ()
    store.close()
