"""A file is whole or as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from irene.writing import write_whole


def test_a_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    for text in ("one\n", "two, longer\n", "µ\r\n"):
        write_whole(file, text)
        assert file.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [file]


def test_what_was_there_stays_where_writing_fails(tmp_path: Path) -> None:
    """A lone surrogate is no UTF-8; nothing of it is left behind."""
    file = tmp_path / "file.json"
    write_whole(file, "one")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "two" * 10_000 + "\ud800")
    assert file.read_text() == "one"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        write_whole(tmp_path / "nowhere" / "file", "")
