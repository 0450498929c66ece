"""A class that cannot be built alone, as the models of its file contain it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from irene.cli.console import complain
from irene.energy.prices import PricedNode, outermost
from irene.estimation import DocumentPlan, Estimate, Estimator, Outcome, Refused
from irene.source.targets import Target, is_described
from irene.units import format_energy

Price = Callable[[Target], Awaitable[Outcome]]
"""How a target gets its value: modelled, or by a run."""


async def outcome_of(
    target: Target,
    planned: DocumentPlan,
    estimator: Estimator,
    price: Price,
    as_asked: Callable[[Target], Target] = lambda target: target,
) -> Outcome:
    """What `price` says of a target; where it cannot be built, its part of a model that has it.

    `as_asked` makes of such a model what the command line says of it. A target that a person
    described is never anything else than described.
    """
    alone = await estimator.outcome(target)
    if isinstance(alone, Estimate) or is_described(target):
        return await price(target)
    for owner in planned.order:
        if target.class_name not in planned.contents(owner.class_name):
            continue
        model = as_asked(owner)
        whole = await estimator.outcome(model)
        if isinstance(whole, Estimate) and _part(whole, target) is not None:
            return _as_contained(await price(model), target, alone)
    return alone


def _as_contained(whole: Outcome, target: Target, alone: Refused) -> Outcome:
    """The part of a model with a sentence about it; the reason where the model has no value."""
    part = _part(whole, target) if isinstance(whole, Estimate) else None
    if part is None:
        return whole
    owner = whole.target.class_name
    complain(f"{alone.refusal.message} Shown as {owner} contains it: {part[1]}")
    return part[0]


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
