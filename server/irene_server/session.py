"""What a person has chosen, and the estimates that follow from it; no LSP.

The settings of each document, the model that was picked in it, the interpreter and whether
the folder is trusted say which targets are built, and in which worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from irene.annotations import Annotations, annotate
from irene.cache import ProfileStore
from irene.errors import TargetError
from irene.estimation import (
    Document,
    DocumentPlan,
    Estimate,
    FileEstimates,
    OnProgress,
    Refused,
    plan_document,
)
from irene.source.choosing import missing_arguments
from irene.source.targets import Target
from irene.units import format_energy
from irene.worker.protocol import Refusal
from irene.worker.refusals import in_words
from irene_server.analysis import Publish, Reading, Snapshot
from irene_server.messages import InterpreterParams, ProfileAnswer, TargetChoice
from irene_server.settings import Settings, parse
from irene_server.workers import Bench, Benches

_MAY_HOLD_MODULES = re.compile(r"\bclass\b(?s:.*)(torch|transformers|Module\b|PreTrainedModel)")


class Editor(Protocol):
    """What a session asks of the other side."""

    def say(self, sentence: str) -> None: ...

    async def configuration(self, uris: Sequence[str]) -> list[object]: ...

    def progress(
        self, title: str, on_cancel: Callable[[], object] | None = None
    ) -> AbstractAsyncContextManager[OnProgress]: ...


class Session:
    """The choices that count now. Nothing runs before the first estimate asks for it."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._store = ProfileStore()
        self.roots: tuple[str, ...] = ()
        self.interpreter: InterpreterParams | None = None  # None: the client names none
        self.benches = Benches(self._store)
        self._settings: dict[str, asyncio.Task[Settings]] = {}  # of open documents, as asked for
        self._selected: dict[str, str] = {}
        self._reported: set[str] = set()

    def use(self, interpreter: InterpreterParams) -> bool:
        """Takes the extension's interpreter and trust; whether anything changed."""
        if interpreter == self.interpreter:
            return False
        self.interpreter = interpreter
        self.benches.restart()
        self.benches.is_trusted = interpreter.trusted
        return True

    def select(self, uri: str, class_name: str) -> None:
        """Makes a class the model of its document."""
        self._selected[uri] = class_name

    def forget_settings(self) -> None:
        """The settings changed: each document asks for its own again.

        Answers still to come are of before the change: they reach those who wait, and go.
        """
        self._settings.clear()

    def close(self, uri: str) -> None:
        """Forgets the settings of a closed document; its selected model stays."""
        self._settings.pop(uri, None)

    async def shut_down(self) -> None:
        """Ends the workers."""
        await self.benches.close()

    def known_settings(self, uri: str) -> Settings:
        """The settings of a document as they are known; the defaults before that."""
        asked = self._settings.get(uri)
        return asked.result() if asked is not None and asked.done() else Settings()

    async def settings(self, uri: str) -> Settings:
        """The settings of a document; asks the client once."""
        if uri not in self._settings:
            self._settings[uri] = asyncio.create_task(self._ask(uri))
        return await asyncio.shield(self._settings[uri])  # others may wait for the same answer

    def interpreter_of(self, settings: Settings) -> str | None:
        """The worker's interpreter: the client's choice, else the setting, else `python3`."""
        if self.interpreter is not None:
            return self.interpreter.path
        return settings.interpreter or shutil.which("python3") or shutil.which("python")

    async def plan(self, snapshot: Snapshot, class_name: str | None = None) -> DocumentPlan:
        """What would be estimated; `class_name` stands before the selected model."""
        settings = await self.settings(snapshot.uri)
        document = Document(snapshot.path, snapshot.text, snapshot.version)
        selected = class_name or self._selected.get(snapshot.uri)
        return await asyncio.to_thread(
            plan_document, document, settings.options, self.roots, selected
        )

    async def estimate(self, snapshot: Snapshot, publish: Publish | None) -> Reading:
        """The values of a document; nothing, at no cost, where it cannot hold a module."""
        settings = await self.settings(snapshot.uri)
        if not settings.is_enabled or _MAY_HOLD_MODULES.search(snapshot.text) is None:
            return Reading(_nothing(snapshot.version), is_whole=True)
        planned = await self.plan(snapshot)
        is_whole = not planned.text_problems
        if publish is not None:
            publish(annotate(FileEstimates(planned, (), planned.order)))
        elif not is_whole:  # the values of the last text that could be read stand
            return Reading(_nothing(snapshot.version), is_whole=False)
        estimates = await self._estimates(planned, self._bench(settings), publish)
        annotations = await asyncio.to_thread(annotate, estimates)
        return Reading(annotations, is_whole, _device_of(estimates))

    async def profile(
        self, snapshot: Snapshot, class_name: str | None, on_progress: OnProgress
    ) -> ProfileAnswer:
        """Runs the model of a document for real on this machine.

        Raises:
            TargetError: there is none, or it cannot be run; the message says what to do.
        """
        target = _target_of(await self.plan(snapshot, class_name), class_name)
        bench = self._bench(await self.settings(snapshot.uri))
        outcome = await bench.estimator.profile(target, on_progress, fresh=True)
        bench.is_warm = True
        if isinstance(outcome, Refused):
            raise TargetError(_why_not(target.class_name, outcome.refusal))
        return ProfileAnswer(target.class_name, _summary(outcome))

    async def targets(self, snapshot: Snapshot) -> tuple[TargetChoice, ...]:
        """The classes of a document that can be its model.

        A class that others contain and that cannot be built alone is none.
        """
        planned = await self.plan(snapshot)
        selected = planned.targets.selected
        missing = _missing_by_class(planned)
        return tuple(
            TargetChoice(
                class_name=it.class_name,
                detail=_how_built(it, missing.get(it.class_name, ())),
                selected=selected is not None and it.class_name == selected.class_name,
            )
            for it in planned.targets.candidates
            if it.class_name not in missing or it.class_name in planned.targets.roots
        )

    async def _ask(self, uri: str) -> Settings:
        (section,) = await self._editor.configuration([uri])
        settings, problems = parse(section)
        self._report(problems)
        return settings

    def _bench(self, settings: Settings) -> Bench:
        return self.benches.bench(self.interpreter_of(settings))

    async def _estimates(
        self, planned: DocumentPlan, bench: Bench, publish: Publish | None
    ) -> FileEstimates:
        estimates = FileEstimates(planned, (), planned.order)
        async with contextlib.AsyncExitStack() as until_first:
            await until_first.enter_async_context(self._starting(bench, planned))
            async for estimates in bench.estimator.estimate(planned):
                if estimates.outcomes:
                    await until_first.aclose()
                if publish is not None and estimates.pending:
                    publish(annotate(estimates))
        self._report(self._store.take_notices())
        return estimates

    @contextlib.asynccontextmanager
    async def _starting(self, bench: Bench, planned: DocumentPlan) -> AsyncIterator[None]:
        """Shows that a first estimate loads torch, which takes seconds."""
        if bench.is_warm or not planned.order:
            yield
            return
        async with self._editor.progress("starting torch"):
            yield
        bench.is_warm = True

    def _report(self, problems: Sequence[str]) -> None:
        """Each sentence once, however many documents have the problem."""
        for problem in problems:
            if problem not in self._reported:
                self._reported.add(problem)
                self._editor.say(problem)


def _nothing(version: int) -> Annotations:
    return Annotations(version, (), (), (), (), "")


def _why_not(class_name: str, refusal: Refusal) -> str:
    """A sentence that says which class is meant, once."""
    sentence = in_words(refusal)
    return sentence if class_name in refusal.message else f"{class_name}: {sentence}"


def _missing_by_class(planned: DocumentPlan) -> dict[str, tuple[str, ...]]:
    """The arguments that targets need and nobody gives, by class."""
    outlined = {it.name: it for it in planned.outline.classes}
    found = {
        it.class_name: missing_arguments(outlined[it.class_name])
        for it in planned.targets.candidates
        if it.arguments.origin == "default"
    }
    return {name: missing for name, missing in found.items() if missing}


def _how_built(target: Target, missing: tuple[str, ...]) -> str:
    if missing:
        return f"needs {', '.join(missing)}: give it in an irene comment above the class"
    return f"{target.arguments.value} · {target.arguments.where}"


def _device_of(estimates: FileEstimates) -> str | None:
    names = (it.device_name for it in estimates.outcomes if isinstance(it, Estimate))
    return next(names, None)


def _target_of(planned: DocumentPlan, class_name: str | None) -> Target:
    if class_name is None:
        if planned.targets.selected is not None:
            return planned.targets.selected
        raise TargetError("This file has no torch.nn.Module class that can be profiled")
    for target in planned.targets.candidates:
        if target.class_name == class_name:
            return target
    raise TargetError(f"This file has no class {class_name} that can be profiled")


def _summary(estimate: Estimate) -> str:
    energy, kind = format_energy(estimate.priced.energy.joules), estimate.priced.kind
    return f"{energy} per forward on {estimate.device_name}, {kind}"
