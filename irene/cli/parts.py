"""A class that cannot be built alone, as the models of its file contain it."""

from __future__ import annotations

from dataclasses import replace

from irene.cli.console import complain
from irene.energy.prices import PricedNode, outermost
from irene.estimation import DocumentPlan, Estimate, Estimator, Outcome
from irene.source.targets import Target, is_described
from irene.units import format_energy


async def outcome_of(estimator: Estimator, planned: DocumentPlan, target: Target) -> Outcome:
    """The outcome of a target; where it is refused, its part of the first model that has it.

    A target that a person described is never anything else than described.
    """
    outcome = await estimator.outcome(target)
    if isinstance(outcome, Estimate) or is_described(target):
        return outcome
    for owner in planned.order:
        if target.class_name not in planned.contents(owner.class_name):
            continue
        whole = await estimator.outcome(owner)
        part = _part(whole, target) if isinstance(whole, Estimate) else None
        if part is not None:
            complain(
                f"{outcome.refusal.message} Shown as {owner.class_name} contains it: {part[1]}"
            )
            return part[0]
    return outcome


def _part(whole: Estimate, target: Target) -> tuple[Estimate, str] | None:
    """One call of a class in a larger model, and in words which one."""

    def is_it(priced: PricedNode) -> bool:
        origin = priced.node.origin
        wanted = (target.build.path, target.class_name)
        return origin is not None and (origin.path, origin.qualified_name) == wanted

    found = list(outermost(whole.priced, is_it))
    if not found:
        return None
    first = found[0][0]
    root = replace(first, node=replace(first.node, count=1))
    part = replace(whole, target=replace(whole.target, class_name=target.class_name), priced=root)
    n_calls = sum(calls for _, calls in found)
    which = "its only call" if n_calls == 1 else f"one of {n_calls} calls"
    return part, f"{first.node.scope}, {format_energy(first.energy.joules)}, {which}."
