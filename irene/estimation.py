"""From a document to its estimates: the one path that the editor and the command line take."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from irene.cache import ProfileStore, profile_key
from irene.energy import processor
from irene.energy.catalogue import Device, auto, find, machine_of
from irene.energy.device import shown_device
from irene.energy.measured import price_profile, profile_notes
from irene.energy.prices import PricedNode
from irene.energy.pricing import price_on
from irene.errors import CacheError, DeviceError, MeterError, PredictorError, WorkerError
from irene.source.choosing import covered_by
from irene.source.outline import Outline, Problem, outline
from irene.source.targets import AUTO, Chosen, Options, Plan, Target, is_described, plan
from irene.tree import Trace
from irene.worker.protocol import (
    Answer,
    BuildSpec,
    Profile,
    ProfileRequest,
    Progress,
    Refusal,
    Request,
    TraceRequest,
)

_log = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]

TRACE_LIMIT_S = 30.0
PROFILE_LIMIT_S = 900.0
PROFILE_WINDOW_S = 5.0
MAX_TRACES = 32
PROFILE = "profile"
"""What speaks where a model was run; no predictor does."""

PASSING = frozenset(
    {
        "cancelled",
        "timeout",
        "crash",
        "memory",
        "internal",
        "no-interpreter",
        "no-torch",
        "missing-import",
    }
)
"""Refusals that another try may not meet, as after an installation; they are not remembered."""


class Worker(Protocol):
    """Runs one request in the user's interpreter; `irene.runner.Worker` is the real one."""

    async def run(
        self, request: Request, *, limit_s: float, on_progress: OnProgress | None = None
    ) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Document:
    """A buffer: its absolute path ("" for none), its text and the version of that text."""

    path: str
    text: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A target with its price on a device; `profile` where it was run on that device."""

    target: Target
    device_id: str
    device_name: str
    trace: Trace
    priced: PricedNode
    notes: tuple[str, ...]  # how the price was made
    predictor: str  # which one spoke
    profile: Profile | None
    profiled_elsewhere: tuple[str, ...]  # other device ids with a stored profile

    @property
    def shown_device(self) -> str:
        """The device in a few words: its id, of a trained predictor its name."""
        return shown_device(self.device_id, self.device_name)


@dataclass(frozen=True, slots=True)
class Refused:
    """A target that has no estimate, and why."""

    target: Target
    refusal: Refusal


Outcome = Estimate | Refused


def is_open(estimate: Estimate, size: str) -> bool:
    """Whether the batch or sequence size counts: an input that nobody wrote down has it."""
    build = estimate.target.build
    written = {it.name: it.expression for it in build.inputs}
    found = [it for it in estimate.trace.inputs if it.name not in written]
    # Every convention gives a batch; only some inputs are sequences.
    if found and (size == "batch" or any(build.sequence_length in it.shape for it in found)):
        return True
    return any(re.search(rf"\b{size}\b", expression) for expression in written.values())


@dataclass(frozen=True, slots=True)
class DocumentPlan:
    """What to estimate in a document, and in which order; made from its text alone."""

    document: Document
    outline: Outline
    text_problems: tuple[Problem, ...]
    targets: Plan
    order: tuple[Target, ...]  # the selected target first, then what it does not cover

    def contents(self, class_name: str) -> frozenset[str]:
        """The classes of the file that a class contains, itself left out."""
        return frozenset(covered_by(self.outline, class_name))


@dataclass(frozen=True, slots=True)
class FileEstimates:
    """The outcomes of a document so far, in the order of its plan."""

    plan: DocumentPlan
    outcomes: tuple[Outcome, ...]
    pending: tuple[Target, ...]


def plan_document(
    document: Document, options: Options, roots: tuple[str, ...], selected: str | None
) -> DocumentPlan:
    """Which classes of a document are estimated; parses, never runs anything.

    `roots` are the workspace folders, `selected` the class that a person picked.
    """
    outlined, problems = outline(document.text)
    targets = plan(document.path, document.text, outlined, options, roots, selected)
    return DocumentPlan(document, outlined, problems, targets, _order(outlined, targets))


def _order(outlined: Outline, targets: Plan) -> tuple[Target, ...]:
    """The selected target, the described ones, then those that no earlier one contains."""
    by_name = {it.class_name: it for it in targets.candidates}
    first = [targets.selected] if targets.selected else []
    described = [it for it in targets.candidates if is_described(it)]
    order = dict.fromkeys(it.class_name for it in (*first, *described))
    covered = {part for name in order for part in covered_by(outlined, name)}
    order |= dict.fromkeys(name for name in targets.roots if name not in covered)
    return tuple(by_name[name] for name in order)


class Estimator:
    """Estimates in one worker; remembers the traces of targets that did not change.

    Hashing, the store and pricing run in threads: each may take long where files are large
    or another process holds the store, and the caller's loop has an editor to answer.

    The invariant: a remembered trace is what the worker would answer now. A build's key
    holds its whole text; `forget` drops all when a file on disk changed.
    """

    def __init__(self, worker: Worker, store: ProfileStore | None) -> None:
        self._worker = worker
        self._store = store
        self._traces: dict[BuildSpec, Trace | Refusal] = {}

    def forget(self) -> None:
        """Drop remembered traces: a file that they may have imported has changed."""
        self._traces.clear()

    async def estimate(self, planned: DocumentPlan) -> AsyncIterator[FileEstimates]:
        """The document's estimates, again after each target; the last one has all."""
        outcomes: tuple[Outcome, ...] = ()
        for i, target in enumerate(planned.order):
            outcomes = (*outcomes, await self.outcome(target))
            yield FileEstimates(planned, outcomes, planned.order[i + 1 :])

    async def outcome(self, target: Target) -> Outcome:
        """The profile of a target on its device where one is stored, else its price."""
        if target.flaw is not None:
            return Refused(target, target.flaw)
        note = _device_note(target)
        target = _as_predicted(target)
        device = await asyncio.to_thread(_device, target)
        if isinstance(device, Refusal):
            return Refused(target, device)
        trace = await self._trace(target.build, device)
        if isinstance(trace, Refusal):
            return Refused(target, trace)
        outcome = await asyncio.to_thread(self._priced, target, device, trace)
        if isinstance(outcome, Refused):
            return outcome
        return replace(outcome, notes=(*note, *outcome.notes))

    async def profile(
        self, target: Target, on_progress: OnProgress | None, *, fresh: bool = False
    ) -> Outcome:
        """Run the target for real on this machine and price what was measured.

        A stored profile of the same code, inputs and device is taken unless `fresh`. The
        machine's own device is used where the target's device is not here.
        """
        if target.flaw is not None:
            return Refused(target, target.flaw)
        device = await asyncio.to_thread(_device, target)
        if isinstance(device, Refusal):
            return Refused(target, device)
        local = await asyncio.to_thread(_local, device)
        if local.id != device.id:
            target = replace(target, device=Chosen(local.id, "default", "this machine"))
        trace = await self._trace(target.build, local)
        if isinstance(trace, Refusal):
            return Refused(target, trace)
        key = await asyncio.to_thread(profile_key, target.build, trace)
        stored = {} if fresh else await asyncio.to_thread(self._profiles, key, trace)
        if local.id not in stored:
            answer = await self._run_profile(target.build, local, on_progress)
            if isinstance(answer, Refusal):
                return Refused(target, answer)
            stored = {**stored, local.id: answer}
            await asyncio.to_thread(self._keep, target.build, key, answer, local)
        return await asyncio.to_thread(_estimate, target, local, trace, stored)

    async def _run_profile(
        self, build: BuildSpec, device: Device, on_progress: OnProgress | None
    ) -> Profile | Refusal:
        request = ProfileRequest(
            build, "cpu" if device.kind == "cpu" else "cuda:0", PROFILE_WINDOW_S
        )
        answer = await self._run(request, PROFILE_LIMIT_S, on_progress)
        assert isinstance(answer, Profile | Refusal)
        return answer

    async def _trace(self, wanted: BuildSpec, device: Device) -> Trace | Refusal:
        """The tree of the kernels that torch runs on `device`."""
        build = replace(wanted, device_type=device.torch_type)
        if build not in self._traces:
            answer = await self._run(TraceRequest(build), TRACE_LIMIT_S, None)
            assert isinstance(answer, Trace | Refusal)
            if isinstance(answer, Refusal) and answer.kind in PASSING:
                return answer
            while len(self._traces) >= MAX_TRACES:
                del self._traces[next(iter(self._traces))]
            self._traces[build] = answer
        return self._traces[build]

    async def _run(
        self, request: Request, limit_s: float, on_progress: OnProgress | None
    ) -> Answer:
        try:
            return await self._worker.run(request, limit_s=limit_s, on_progress=on_progress)
        except WorkerError as err:
            return Refusal("no-interpreter", str(err), None, "Choose another interpreter.")

    def _priced(self, target: Target, device: Device, trace: Trace) -> Outcome:
        if self._store is None:
            return _estimate(target, device, trace, {})
        profiles = self._profiles(profile_key(target.build, trace), trace)
        return _estimate(target, device, trace, profiles)

    def _profiles(self, key: str, trace: Trace) -> Mapping[str, Profile]:
        """Stored profiles of just this target, by device id; none where the cache fails."""
        if self._store is None:
            return {}
        try:
            found = self._store.profiles(key)
            # Equal keys are equal trees but for their lines, which comments move.
            return {device_id: replace(it, trace=trace) for device_id, it in found.items()}
        except CacheError as err:
            _log.warning("%s", err)
            return {}

    def _keep(self, build: BuildSpec, key: str, profile: Profile, device: Device) -> None:
        """Store a profile under the key of before it ran, if that is still its key."""
        if self._store is None:
            return
        subject = f"{build.path}:{build.class_name}"
        if profile_key(build, profile.trace) != key:
            _log.warning("%s changed while it ran: the profile is shown but not kept", subject)
            return
        try:
            self._store.keep(key, device.id, profile, subject)
        except CacheError as err:
            _log.warning("the profile is shown but not kept: %s", err)


def _estimate(
    target: Target, device: Device, trace: Trace, profiles: Mapping[str, Profile]
) -> Outcome:
    """The price from the profile of this device where there is one, else from physics."""
    elsewhere = tuple(it for it in profiles if it != device.id)
    profile = profiles.get(device.id)
    if profile is None:
        try:
            price = price_on(trace.root, device)
        except PredictorError as err:
            return Refused(target, _no_predictor(target, err))
        notes = (*_attention_notes(target, device, trace), *price.notes)
        return Estimate(
            target,
            device.id,
            device.name,
            trace,
            price.tree,
            notes,
            price.predictor,
            None,
            elsewhere,
        )
    try:
        priced = price_profile(profile, device)
    except MeterError as err:
        return Refused(target, Refusal("internal", str(err), None, "Profile the model again."))
    notes = profile_notes(profile, device)
    return Estimate(
        target,
        device.id,
        device.name,
        profile.trace,
        priced,
        notes,
        PROFILE,
        profile,
        elsewhere,
    )


def _attention_notes(target: Target, device: Device, trace: Trace) -> tuple[str, ...]:
    """Where the kernel that was asked for does not exist: FlashAttention-2's own requirements."""
    attention = target.attention.value
    runs = device.kind == "gpu" and trace.dtype in ("float16", "bfloat16")
    if runs or not attention.startswith("flash_attention"):
        return ()
    where = f"{trace.dtype} on {device.id}"
    return (f"{attention} runs in float16 and bfloat16 on a GPU alone, so not in {where}",)


def _as_predicted(target: Target) -> Target:
    """A predictor that was chosen speaks for its machine, whatever device was."""
    return target if target.predictor.value == AUTO else replace(target, device=target.predictor)


def _device_note(target: Target) -> tuple[str, ...]:
    """Where a device was chosen and a predictor speaks for another machine."""
    predictor, device = target.predictor, target.device
    if AUTO in (predictor.value, device.value) or device.origin == "default":
        return ()
    return (
        f"the predictor {predictor.value} ({predictor.where}) speaks for the machine that it was "
        f"fitted to: the device {device.value} ({device.where}) does not count",
    )


def _no_predictor(target: Target, err: PredictorError) -> Refusal:
    advice = "Choose one that `irene predictors` lists"
    return Refusal("device", f"{err}.", None, f"{advice}; it was set in: {target.predictor.where}.")


def _device(target: Target) -> Device | Refusal:
    if target.predictor.value != AUTO:
        try:
            return machine_of(target.predictor.value)
        except PredictorError as err:
            return _no_predictor(target, err)
    try:
        return find(target.device.value)
    except DeviceError as err:
        chosen = target.device
        how = (
            'Choose one with the command "IrEne: Select device"'
            if chosen.origin == "settings"
            else "Choose one that `irene devices` lists"
        )
        return Refusal("device", f"{err}.", None, f"{how}; it was set in: {chosen.where}.")


def _local(device: Device) -> Device:
    """The device if it is in this machine, else the one that measures here."""
    return device if device.id in (auto().id, processor.device().id) else auto()
