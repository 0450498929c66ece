"""What is remembered of operations: bounded, handed on whole, and by nothing but metadata."""

from __future__ import annotations

import pickle  # noqa: TID251 - what must be refused
from collections.abc import Callable

import pytest
import torch
from torch import nn

from irene.tree import Trace
from irene.worker.meta import MEMO, sharing
from irene.worker.meta.memo import Entry, Memo, Plain
from irene.worker.tracing import forget, notes, trace_module, trees

MODEL = nn.Sequential(
    nn.Conv1d(4, 8, 3), nn.GELU(), nn.LSTM(6, 8, batch_first=True)
)  # a view, a function of C++, a tuple of outputs


def test_a_parent_learns_all_that_a_child_has_learned() -> None:
    forget()
    begin = sharing.moment()
    trace_module(MODEL, (torch.zeros(2, 4, 8),))
    assert MEMO.entries
    parent = Memo()
    sharing.learn(sharing.encoded(begin), parent)
    assert parent.entries == MEMO.entries
    assert parent.descriptions == MEMO.descriptions


def test_only_what_is_new_travels() -> None:
    trace_module(MODEL, (torch.zeros(2, 4, 8),))
    begin = sharing.moment()
    trace_module(MODEL, (torch.zeros(2, 4, 8),))
    assert sharing.encoded(begin) == b""


def test_a_parent_that_moved_on_learns_nothing() -> None:
    forget()
    begin = sharing.moment()
    trace_module(MODEL, (torch.zeros(2, 4, 8),))
    parent = Memo()
    parent.describe("another tensor")
    sharing.learn(sharing.encoded(begin), parent)
    assert parent.entries == {}


class Calls:
    """An object that is anything's call when it is unpickled."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (pytest.main, "main"),
        (Calls(eval, "1"), "eval"),
        (Calls(getattr, torch.Tensor, "add"), "getattr"),
        (Calls(type, "Type", (), {}), "type"),
        (Calls(torch.load, "file"), "load"),
        (Calls(torch.hub.load, "repository", "model"), "load"),
        (Calls(torch.from_file, "file", True, 8), "getattr"),
        (nn.Linear, "Linear"),
        (Trace, "Trace"),
    ],
)
def test_what_travels_can_name_nothing_but_metadata_and_notes(
    content: object, refused: str
) -> None:
    """None of torch's functions either: what an entry is of travels as words."""
    with pytest.raises(pickle.UnpicklingError, match=rf"{refused}\S* is in no entry"):
        sharing.learn(
            pickle.dumps((0, [], [pickle.dumps((("torch", "add"), (), content))])), Memo()
        )


@pytest.mark.parametrize(
    "place",
    [
        ("operator", "load_library", "__globals__"),
        ("operator", "aten", "__class__"),
        ("operator", "nowhere", "add"),
        ("attribute", "nowhere"),
        ("os", "system"),
        ("torch", "nowhere"),
    ],
)
def test_a_function_that_is_in_none_of_torch_s_places_is_refused(place: tuple[str, ...]) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is in no entry"):
        sharing.learn(pickle.dumps((0, [], [pickle.dumps((place, (), None))])), Memo())


def test_a_constant_is_a_dtype_or_a_layout() -> None:
    packed = pickle.dumps((("torch", "add"), (Calls(sharing._constant, "load"),), None))
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.load is in no entry"):
        sharing.learn(pickle.dumps((0, [], [packed])), Memo())


def test_a_full_memo_drops_what_came_first() -> None:
    memo = Memo()
    n = (1 << 16) + 1
    for i in range(n):
        memo.put((i,), Entry(Plain(i), ()))
    assert len(memo.entries) == n - (1 << 14)
    assert (0,) not in memo.entries
    assert (n - 1,) in memo.entries


def test_room_is_made_between_passes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal calls merge by identity, which would be lost in the middle of a pass."""
    layer = nn.Linear(8, 8)
    twice = nn.Sequential(layer, nn.ReLU(), layer)
    expected, *_ = trees_of(twice, 1)
    forget()
    monkeypatch.setattr(notes, "_LARGEST_POOL", 1)
    monkeypatch.setattr(trees, "_LARGEST", 1)
    assert trees_of(twice, 3) == [expected] * 3


def trees_of(model: nn.Module, n: int) -> list[Trace]:
    return [trace_module(model, (torch.zeros(2, 8),)) for _ in range(n)]
