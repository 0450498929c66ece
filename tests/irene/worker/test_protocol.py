"""The messages between the two halves: encoded and decoded they are the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irene.errors import ProtocolError
from irene.tree import Node, Trace
from irene.worker.protocol import (
    Answer,
    BuildSpec,
    Call,
    CallTime,
    Cancel,
    Environment,
    EnvironmentRequest,
    InputExpression,
    LineSplitter,
    Profile,
    ProfileRequest,
    Progress,
    Ready,
    Refusal,
    Request,
    TraceRequest,
    decode_answer,
    decode_request,
    encode_answer,
    encode_cancel,
    encode_request,
    profile_from_json,
    profile_to_json,
)

BUILD = BuildSpec(
    path="/work/größe.py", text="class Net:\n\t'🦀\r\n'", class_name="Net", search_paths=("/a", "/b"),
    arguments="1, x='2'", inputs=(InputExpression("x", "float32[8, 4]"),), config_dir=None,
    batch_size=8, sequence_length=128, dtype="float16", attention=None,
)  # fmt: skip
ROOT = Node("", "Net", "model", None, 1, 6, 4, 2, None, None, None, None, ())
TRACE = Trace(ROOT, "inference", "Net()", (), "float32", (), (), "2.13.0", None)
PROFILE = Profile(
    trace=TRACE, times=(CallTime((), 1, 0.5, 0.1), CallTime(("a", "a.0"), 2, 0.1, 0.0)),
    n_runs=9, n_runs_disturbed=1, device="cpu", device_name="a processor", energy_j=1.5,
    energy_std_j=0.5, meter="rapl", meter_covers="CPU package", load=0.9, n_threads=2,
    torch_version="2.13.0", measured_at="2026-01-01T00:00:00+00:00",
)  # fmt: skip


@pytest.mark.parametrize("limit_s", [None, 2.5])
@pytest.mark.parametrize(
    "request_", [TraceRequest(BUILD), ProfileRequest(BUILD, "cuda:0", 5.0), EnvironmentRequest()]
)
def test_a_request_arrives_as_it_was_sent(request_: Request, limit_s: float | None) -> None:
    line = encode_request(7, request_, limit_s)
    assert "\n" not in line
    assert decode_request(line) == Call(7, request_, limit_s)


def test_a_cancellation_arrives_as_it_was_sent() -> None:
    assert decode_request(encode_cancel(7)) == Cancel(7)


@pytest.mark.parametrize(
    "answer",
    [
        TRACE,
        PROFILE,
        Environment("3.11.2", "/bin/python", None, None, None, ("rapl",), ("no torch.",)),
        Refusal("crash", "It died.\nSIGSEGV", 3, "Look."),
        Progress("run 3 of ~9", 0.25),
        Progress("tracing", None),
        Ready("3.11.2", forks=True),
    ],
)
def test_an_answer_arrives_as_it_was_sent(answer: Answer | Progress | Ready) -> None:
    line = encode_answer(7, answer)
    assert "\n" not in line
    assert decode_answer(line) == (7, answer)


def test_a_profile_is_the_same_as_json() -> None:
    assert profile_from_json(json.loads(json.dumps(profile_to_json(PROFILE)))) == PROFILE


@pytest.mark.parametrize(
    "line",
    [
        "",
        "what user code printed",
        "[]",
        "7",
        '{"protocol": 1}',
        '{"protocol": 1, "id": "x", "request": {}, "answer": {}}',
        '{"protocol": 99, "id": 1, "request": {"type": "environment"}, "answer": {}}',
        '{"protocol": 1, "id": 1, "request": {"type": "dance"}, "answer": {"type": "dance"}}',
        '{"protocol": 1, "id": 1, "request": {"type": "trace"}, "answer": {"type": "trace"}}',
        '{"protocol": 1, "id": 1, "request": 7, "answer": 7}',
        '{"protocol": 1, "id": 1, "cancel": "maybe", "answer": null}',
    ],
)
def test_what_is_no_message_is_an_error(line: str) -> None:
    with pytest.raises(ProtocolError):
        decode_request(line)
    with pytest.raises(ProtocolError):
        decode_answer(line)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"))), st.data())
def test_lines_come_out_whole_however_the_pipe_cuts_them(
    lines: list[str], data: st.DataObject
) -> None:
    stream = b"".join(line.encode() + b"\n" for line in lines) + b"rest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    splitter = LineSplitter()
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [line for piece in pieces for line in splitter.feed(piece)] == lines
    assert splitter.n_waiting_bytes == len(b"rest")
