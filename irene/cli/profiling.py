"""`irene profile`: the model is run here with random weights, and its parts are timed."""

from __future__ import annotations

from collections.abc import Awaitable

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from irene.cli import asking, console, estimate
from irene.cli.arguments import Asked
from irene.cli.parts import outcome_of
from irene.estimation import Estimate, Estimator, Outcome
from irene.source.targets import Target
from irene.worker import protocol


def run(asked: Asked) -> bool:
    """Whether there is a profile; it has been printed."""
    assert asked.place is not None
    planned = asking.plan_of(asked, asked.place)
    target = asking.target_of(planned, asked.place)
    asking.report_overridden(planned)

    def question(estimator: Estimator) -> Awaitable[Outcome]:
        def price(wanted: Target) -> Awaitable[Outcome]:
            return _profile(estimator, wanted, fresh=asked.fresh)

        return outcome_of(target, planned, estimator, price)

    outcome = asking.ask(asked, question)
    profiled = asking.estimate_or_complain(asked, outcome)
    if profiled is None:
        return False
    _report_device(target, profiled)
    line = estimate.class_line(planned.outline, target.class_name)
    estimate.show(profiled, line, as_json=asked.as_json)
    return True


async def _profile(estimator: Estimator, target: Target, *, fresh: bool) -> Outcome:
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console.progress_console(),
        transient=True,
    ) as bar:
        task = bar.add_task("starting", total=None)

        def on_progress(progress: protocol.Progress) -> None:
            total = None if progress.fraction is None else 1.0
            completed = progress.fraction or 0.0
            bar.update(task, description=progress.message, total=total, completed=completed)

        return await estimator.profile(target, on_progress, fresh=fresh)


def _report_device(target: Target, profiled: Estimate) -> None:
    """A profile is of this machine, whatever device was asked for."""
    if profiled.target.device != target.device:
        console.complain(f"{target.device.value} is not here: profiled on {profiled.device_name}")
