"""One worker and one estimator for each interpreter, made when first needed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from irene.cache import ProfileStore
from irene.estimation import Estimator, OnProgress
from irene.runner import Worker
from irene.worker.protocol import Answer, Refusal, Request

UNTRUSTED = Refusal(
    kind="untrusted",
    message="needs trust: nothing of this folder runs until you trust it",
    line=None,
    advice="Trust the folder to see what its models cost.",
)
NO_INTERPRETER = Refusal(
    kind="no-interpreter",
    message="no Python interpreter was found to build this model in",
    line=None,
    advice="Set irene.interpreter to a Python that has torch installed.",
)


class RefusingWorker:
    """Answers every request with one refusal, where nothing may run or nothing can."""

    def __init__(self, refusal: Refusal) -> None:
        self._refusal = refusal

    async def run(
        self,
        request: Request,
        *,
        limit_s: float,
        on_progress: OnProgress | None = None,
    ) -> Answer:
        return self._refusal

    async def close(self) -> None:
        """Nothing runs."""


@dataclass(slots=True)
class Bench:
    """A worker and the estimator that sends it requests."""

    worker: Worker | RefusingWorker
    estimator: Estimator
    is_warm: bool  # has answered before: torch is loaded


class Benches:
    """All benches; while the folder is not trusted there is one, which refuses."""

    def __init__(self, store: ProfileStore) -> None:
        self._store = store
        self._benches: dict[str | None, Bench] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.is_trusted = True

    def bench(self, interpreter: str | None) -> Bench:
        """The bench of an interpreter; None: there is none."""
        if not self.is_trusted:
            return self._made(None, UNTRUSTED)
        return self._made(interpreter, NO_INTERPRETER)

    def forget(self) -> None:
        """A file changed on disk: what was built from it is no longer what it would be."""
        for bench in self._benches.values():
            bench.estimator.forget()

    def restart(self) -> None:
        """Ends all workers behind the back of the caller; the next request starts new ones."""
        benches, self._benches = list(self._benches.values()), {}
        for bench in benches:
            task = asyncio.ensure_future(bench.worker.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends all workers and waits until they are gone."""
        self.restart()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _made(self, interpreter: str | None, refusal: Refusal) -> Bench:
        if interpreter not in self._benches:
            worker = RefusingWorker(refusal) if interpreter is None else Worker(interpreter)
            estimator = Estimator(worker, self._store)
            self._benches[interpreter] = Bench(worker, estimator, is_warm=interpreter is None)
        return self._benches[interpreter]
