"""What the two halves say to each other: one JSON object per line, standard library only.

The runner writes requests to the worker's standard input; the worker answers on a saved
descriptor of its standard output, so that nothing that user code prints can mix in.
Every message carries `protocol` and the `id` of its request; a request ends with exactly
one `trace`, `profile`, `environment` or `refusal`, before which `progress` may come. The
worker's first line is `ready`, with id 0; ids of requests begin at 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from irene.errors import ProtocolError
from irene.tree import DeviceType, Trace, trace_from_json, trace_to_json

PROTOCOL = 1

RefusalKind = Literal[
    "missing-import",  # an import of the user's file fails
    "syntax",  # the text does not compile
    "constructor",  # building the module raised
    "arguments",  # constructor arguments are missing or malformed
    "inputs",  # forward's inputs are unknown, malformed or of the wrong shape
    "forward",  # the forward pass raised
    "data-dependent",  # forward needs a real value that meta tensors do not have
    "timeout",  # it did not end within the limit
    "crash",  # the process died: exit code or signal in the message
    "no-torch",  # the interpreter cannot import torch
    "no-interpreter",  # there is none, or it does not start
    "device",  # the device that was asked for is unknown
    "memory",  # a real run ran out of memory
    "untrusted",  # the folder is not trusted: nothing of it may run
    "cancelled",
    "internal",  # a fault of ours, with the traceback in the log
]


@dataclass(frozen=True, slots=True)
class InputExpression:
    """One input of forward as written by a person: `x=float32[8, 3, 224, 224]`."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """How to build one model and feed it: all that the worker needs, nothing resolved yet.

    Either `text` and `class_name` are set (a class of a buffer), or `config_dir` alone (a
    folder with a `config.json` of Transformers or diffusers), or all three.
    """

    path: str  # absolute path of the document; "" for none
    text: str  # the buffer, unsaved edits included
    class_name: str  # qualified name in the file; "" with config_dir alone
    search_paths: tuple[str, ...]  # folders put on sys.path for the user's imports
    arguments: str | None  # text between the parentheses, None: config or defaults
    inputs: tuple[InputExpression, ...]  # empty: from forward's signature
    config_dir: str | None  # folder with a config.json
    batch_size: int
    sequence_length: int
    dtype: str | None  # None: as built
    attention: str | None  # "eager" | "sdpa" | "flash_attention_2", None: as configured
    device_type: DeviceType = "cuda"  # whose kernels a trace is made of


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """Build on meta tensors and run one forward pass; nothing is computed for real."""

    build: BuildSpec


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """Build for real (random weights and inputs) and time every module on this machine."""

    build: BuildSpec
    device: str  # "cpu" or "cuda:0"
    min_seconds: float  # length of the measured window


@dataclass(frozen=True, slots=True)
class EnvironmentRequest:
    """Which Python, torch and sensors are here."""


Request = TraceRequest | ProfileRequest | EnvironmentRequest


@dataclass(frozen=True, slots=True)
class Call:
    """A request as the worker reads it; `limit_s` is the time that it may take, None: any."""

    request_id: int
    request: Request
    limit_s: float | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The answer to a request is no longer wanted: end it now."""

    request_id: int


@dataclass(frozen=True, slots=True)
class CallTime:
    """Measured time of one module per call, the modules below it included.

    `path` names the node by the scopes from the root (left out) down to it, so that a module
    that two parents call has two entries; the root's path is empty. Calls with one path share
    their mean, so that a parent's time is never below the sum of its children's.
    """

    path: tuple[str, ...]
    calls: int  # per forward pass of the whole model
    time_s: float  # of one call, mean over calls and runs
    time_std_s: float  # between runs


@dataclass(frozen=True, slots=True)
class Profile:
    """One real run of a target, repeated: the measured truth of this machine."""

    trace: Trace  # of the same build, so that scopes match
    times: tuple[CallTime, ...]
    n_runs: int
    n_runs_disturbed: int  # left out as outliers
    device: str  # "cpu" or "cuda:0"
    device_name: str  # as the system names it
    energy_j: float | None  # of one forward pass, from a meter; None: no meter
    energy_std_j: float | None
    meter: str  # "nvml", "rapl" or "none"
    meter_covers: str  # "GPU board", "CPU package + DRAM", ""
    load: float  # mean share of the processor that was busy, 0 to 1
    n_threads: int
    torch_version: str
    measured_at: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Environment:
    """What an interpreter has: None for what it cannot import."""

    python: str
    executable: str
    torch: str | None
    transformers: str | None
    cuda: str | None  # version that torch was built with and can use
    meters: tuple[str, ...]  # "nvml", "rapl"
    reasons: tuple[str, ...]  # why a meter or package is missing, and what it would bring


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker's first words; without `forks` the process serves one request and ends."""

    python: str
    forks: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Something to show while a request runs; `fraction` in 0..1, None where unknown."""

    message: str
    fraction: float | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer: what, where and what to do, for a person to read."""

    kind: RefusalKind
    message: str
    line: int | None  # 1-based, in the document of the request
    advice: str


Answer = Trace | Profile | Environment | Refusal


def encode_request(request_id: int, request: Request, limit_s: float | None = None) -> str:
    """One line, without its newline."""
    body = {"type": _REQUESTS[type(request)], **asdict(request), "limit_s": limit_s}
    return json.dumps({"protocol": PROTOCOL, "id": request_id, "request": body})


def encode_cancel(request_id: int) -> str:
    """One line, without its newline."""
    return json.dumps({"protocol": PROTOCOL, "id": request_id, "cancel": True})


def decode_request(line: str) -> Call | Cancel:
    """The inverse of `encode_request` and `encode_cancel`.

    Raises:
        ProtocolError: another version, or malformed.
    """
    request_id, body = _open(line, "request", "cancel")
    if body is True:
        return Cancel(request_id)
    try:
        limit_s = body.pop("limit_s")
        return Call(request_id, _request_from_json(body), limit_s)
    except (KeyError, TypeError, AttributeError) as err:
        raise ProtocolError(f"malformed request: {err}") from err


def encode_answer(request_id: int, answer: Answer | Progress | Ready) -> str:
    """One line, without its newline."""
    body: dict[str, Any]
    match answer:
        case Trace():
            body = {"type": "trace", "trace": trace_to_json(answer)}
        case Profile():
            body = {"type": "profile", **profile_to_json(answer)}
        case Environment():
            body = {"type": "environment", **asdict(answer)}
        case Refusal():
            body = {"type": "refusal", **asdict(answer)}
        case Progress():
            body = {"type": "progress", **asdict(answer)}
        case Ready():
            body = {"type": "ready", **asdict(answer)}
    return json.dumps({"protocol": PROTOCOL, "id": request_id, "answer": body})


def decode_answer(line: str) -> tuple[int, Answer | Progress | Ready]:
    """The inverse of `encode_answer`.

    Raises:
        ProtocolError: another version, or malformed.
    """
    request_id, body = _open(line, "answer")
    try:
        match body.pop("type"):
            case "trace":
                return request_id, trace_from_json(body["trace"])
            case "profile":
                return request_id, profile_from_json(body)
            case "environment":
                body["meters"], body["reasons"] = tuple(body["meters"]), tuple(body["reasons"])
                return request_id, Environment(**body)
            case "refusal":
                return request_id, Refusal(**body)
            case "progress":
                return request_id, Progress(**body)
            case "ready":
                return request_id, Ready(**body)
            case unknown:
                raise ProtocolError(f"unknown answer {unknown!r}")
    except (KeyError, TypeError, AttributeError) as err:
        raise ProtocolError(f"malformed answer: {err}") from err


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """A profile as plain JSON values, for the pipe and the cache."""
    data = {
        name: getattr(profile, name)
        for name in Profile.__dataclass_fields__
        if name not in ("trace", "times")
    }
    return {
        **data,
        "trace": trace_to_json(profile.trace),
        "times": [[list(it.path), it.calls, it.time_s, it.time_std_s] for it in profile.times],
    }


def profile_from_json(data: Mapping[str, Any]) -> Profile:
    """The inverse of `profile_to_json`.

    Raises:
        TreeError: the trace in it is malformed.
    """
    rest = {name: value for name, value in data.items() if name not in ("trace", "times")}
    return Profile(
        trace=trace_from_json(data["trace"]),
        times=tuple(CallTime(tuple(row[0]), *row[1:]) for row in data["times"]),
        **rest,
    )


class LineSplitter:
    """Whole lines out of the pieces in which a pipe hands them over; the rest waits."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[str]:
        """The lines that `piece` completes, without their newlines."""
        seen = len(self._rest)
        self._rest += piece
        end = self._rest.rfind(b"\n", seen)
        if end < 0:
            return []
        whole = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return [line.decode(errors="replace") for line in whole.split(b"\n")]

    @property
    def n_waiting_bytes(self) -> int:
        """Length of the line that has begun."""
        return len(self._rest)


_REQUESTS: dict[type, str] = {
    TraceRequest: "trace",
    ProfileRequest: "profile",
    EnvironmentRequest: "environment",
}


def _open(line: str, *parts: str) -> tuple[int, Any]:
    """Id and body of a message; the body is under the first of `parts` that is there."""
    try:
        message = json.loads(line)
        part = next((it for it in parts if it in message), parts[0])
        version, request_id, body = message["protocol"], int(message["id"]), message[part]
    except (ValueError, KeyError, TypeError) as err:
        raise ProtocolError(f"not a message of this protocol: {line[:80]!r}") from err
    if version != PROTOCOL:
        raise ProtocolError(f"the other side speaks protocol {version}, this one {PROTOCOL}")
    return request_id, body


def _request_from_json(body: dict[str, Any]) -> Request:
    match body.pop("type"):
        case "trace":
            return TraceRequest(_build_from_json(body["build"]))
        case "profile":
            build = _build_from_json(body.pop("build"))
            return ProfileRequest(build, **body)
        case "environment":
            return EnvironmentRequest()
        case unknown:
            raise ProtocolError(f"unknown request {unknown!r}")


def _build_from_json(data: Mapping[str, Any]) -> BuildSpec:
    fields = dict(data)
    fields["search_paths"] = tuple(fields["search_paths"])
    fields["inputs"] = tuple(InputExpression(**it) for it in fields["inputs"])
    return BuildSpec(**fields)
