"""A target run for real on this machine: every module timed, the energy metered.

Random weights and inputs, `eval` and `inference_mode`, on the CPU or a CUDA device. With a
meter there are two windows: one of plain forward passes for the energy, one in which each
call of a module is timed. Runs that something else disturbed are left out and counted.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from irene.errors import MeterError
from irene.tree import DeviceType, NvidiaGeneration, Trace
from irene.worker import endings, environment, meters, tracing
from irene.worker.building import build
from irene.worker.loading import users_imports
from irene.worker.meters import Found, Meter
from irene.worker.profiling.stopwatch import Clock, CpuClock, CudaClock, Mark, Stopwatch
from irene.worker.profiling.summary import call_times, disturbed
from irene.worker.profiling.windows import Metered, Pace, Report, metered, timed, warm_up
from irene.worker.protocol import Profile, ProfileRequest, Progress
from irene.worker.refusals import Refused, describe, line_in, refuse

if TYPE_CHECKING:
    import torch

Forward = Callable[[], object]

_SEED = 0
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")

_log = logging.getLogger(__name__)


def profile(
    request: ProfileRequest,
    report: Report,
    find_meters: Callable[[str], Found] = meters.available,
) -> Profile:
    """Measure one target on one device.

    Raises:
        Refused: it cannot be built or run, or needs more memory than there is.
    """
    with users_imports(request.build):
        return _profile(request, report, find_meters)


def _profile(
    request: ProfileRequest, report: Report, find_meters: Callable[[str], Found]
) -> Profile:
    _check_device(request.device)
    report(Progress("tracing", None))
    trace = tracing.trace(replace(request.build, device_type=_device_type(request.device)))
    _check_memory(trace, request)
    report(Progress(f"building {trace.arguments} with random weights", None))
    model, forward = _build(request)
    meter = _first(find_meters(request.device))
    if request.device == "cpu":
        return _measure(request, trace, (model, forward), CpuClock(), meter, report)
    return _measure(request, trace, (model, forward), CudaClock(request.device), meter, report)


def _device_type(device: str) -> DeviceType:
    """Whose kernels torch runs on a device of this machine."""
    import torch

    if device == "cpu":
        return "cpu"
    major, minor = torch.cuda.get_device_capability(device)
    known: tuple[NvidiaGeneration, ...] = get_args(NvidiaGeneration)
    return next((it for it in known if it == f"sm_{major}{minor}"), "cuda")


def _measure(
    request: ProfileRequest,
    trace: Trace,
    subject: tuple[torch.nn.Module, Forward],
    clock: Clock[Mark],
    meter: Meter | None,
    report: Report,
) -> Profile:
    import torch

    model, forward = subject
    pace = Pace(report, request.min_seconds, n_windows=1 if meter is None else 2)
    with torch.inference_mode():
        report(Progress("warming up", 0.0))
        run_s = warm_up(forward, clock, request.min_seconds)
        energy = None if meter is None else _metered(forward, clock, meter, run_s, pace)
        watch = Stopwatch(model, clock)
        window = timed(forward, watch, pace)
    left_out = disturbed([run.times_s[0] for run in window.runs])
    kept = [run for run, is_out in zip(window.runs, left_out, strict=True) if not is_out]
    return Profile(
        trace=trace,
        times=call_times(watch.paths, kept),
        n_runs=len(kept),
        n_runs_disturbed=sum(left_out),
        device=request.device,
        device_name=_device_name(request.device),
        energy_j=None if energy is None else energy.reading.energy_j / energy.n_runs,
        energy_std_j=None if energy is None else energy.reading.std_j / energy.n_runs,
        meter="none" if meter is None or energy is None else meter.name,
        meter_covers="" if energy is None else energy.reading.covers,
        load=window.load,
        n_threads=torch.get_num_threads(),
        torch_version=str(torch.__version__),
        measured_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def _metered(
    forward: Forward, clock: Clock[Mark], meter: Meter, run_s: float, pace: Pace
) -> Metered | None:
    """A meter that fails half-way costs its value, not the profile."""
    try:
        return metered(forward, clock, meter, run_s, pace)
    except MeterError as err:
        _log.warning("the energy stays modelled: %s", err)
        pace.next_window()
        return None


def _first(found: Found) -> Meter | None:
    for reason in found.reasons:
        _log.info("no meter: %s", reason)
    return found.meters[0] if found.meters else None


def _build(request: ProfileRequest) -> tuple[torch.nn.Module, Forward]:
    import torch

    torch.manual_seed(_SEED)
    try:
        built = build(request.build, on_meta=False)
        model = built.model.to(request.device)
        args, kwargs = built.inputs(on_meta=False, device=request.device, seed=_SEED)
    except (RuntimeError, MemoryError) as err:
        raise _refusal(err, request) from err

    def forward() -> object:
        try:
            return model(*args, **kwargs)
        except Exception as err:
            raise _refusal(err, request) from err

    return model, forward


def _check_device(device: str) -> None:
    import torch

    if device != "cpu" and not torch.cuda.is_available():
        raise refuse(
            "device",
            f"torch finds no GPU here to run the model on ({device}).",
            advice="Choose this machine's CPU as device, or an interpreter whose torch is built "
            "for the GPU.",
        )


def _check_memory(trace: Trace, request: ProfileRequest) -> None:
    """Refuse before the machine begins to swap; the activations are not counted."""
    import torch

    available_bytes = environment.available_memory_bytes()
    dtype = getattr(torch, trace.dtype, torch.float32)
    needed_bytes = trace.root.n_parameters * dtype.itemsize
    if available_bytes is not None and needed_bytes > available_bytes:
        raise Refused(endings.out_of_memory(request, needed_bytes, available_bytes))


def _refusal(err: Exception, request: ProfileRequest) -> Refused:
    message = describe(err)
    if isinstance(err, MemoryError) or any(it in message.lower() for it in _OUT_OF_MEMORY):
        return Refused(endings.out_of_memory(request))
    return refuse(
        "forward",
        f"A real run failed: {message}",
        line=line_in(err, request.build.path),
        advice="The estimate stands without a run; for a profile make forward run on "
        f"{request.device} with these inputs.",
    )


def _device_name(device: str) -> str:
    import torch

    return environment.cpu_name() if device == "cpu" else torch.cuda.get_device_name(device)
