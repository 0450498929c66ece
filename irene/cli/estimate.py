"""`irene estimate`: what a model costs, part by part, with nothing run."""

from __future__ import annotations

from collections.abc import Awaitable

from irene.cli import asking, console
from irene.cli.arguments import Asked
from irene.cli.parts import outcome_of
from irene.estimation import Estimate, Estimator, Outcome
from irene.report import layout, report_of, to_json
from irene.source.outline import Outline
from irene.source.targets import Target


def run(asked: Asked) -> bool:
    """Whether there is an estimate; it has been printed."""
    if asked.place is None:
        target = asking.target_of_config(asked)
        outcome = asking.ask(asked, lambda estimator: estimator.outcome(target))
        return _conclude(asked, outcome, None)
    planned = asking.plan_of(asked, asked.place)
    target = asking.with_config(asking.target_of(planned, asked.place), asked)
    asking.report_overridden(planned)

    def question(estimator: Estimator) -> Awaitable[Outcome]:
        def as_asked(owner: Target) -> Target:
            return asking.with_config(owner, asked)

        return outcome_of(target, planned, estimator, estimator.outcome, as_asked)

    outcome = asking.ask(asked, question)
    return _conclude(asked, outcome, class_line(planned.outline, target.class_name))


def _conclude(asked: Asked, outcome: Outcome, line: int | None) -> bool:
    estimate = asking.estimate_or_complain(asked, outcome)
    if estimate is not None:
        show(estimate, line, as_json=asked.as_json)
    return estimate is not None


def show(estimate: Estimate, line: int | None, *, as_json: bool) -> None:
    """Print an estimate as a table or as JSON; `line` is that of the class statement."""
    report = report_of(estimate, line)
    if as_json:
        console.show_json(to_json(report))
    else:
        console.show(layout(report, console.width()))


def class_line(outline: Outline, class_name: str) -> int | None:
    return next((it.name_span.start_line for it in outline.classes if it.name == class_name), None)
