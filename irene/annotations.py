"""Estimates on spans of the text: what a person sees, in editor terms but without LSP.

Hints, cards, lenses, the command line and reports all read these values; none of them
computes an energy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from irene.cards import Card, Occurrence, Sum, card, each_text, share_of, total_of, total_text
from irene.energy.prices import PricedNode, outermost
from irene.estimation import Estimate, FileEstimates, Refused
from irene.source.outline import ClassOutline, Outline, Span, Submodule
from irene.source.targets import Target, suggest_comment
from irene.units import format_energy, format_share, format_spread
from irene.worker.frames import is_installed
from irene.worker.protocol import Refusal

PENDING = "…"
CONTAINERS = frozenset({"ModuleList", "ModuleDict", "ParameterList", "ParameterDict"})
"""Modules without a forward: an empty one that is filled later is not an unused layer."""

FIXED_BY_COMMENT = frozenset({"arguments", "inputs", "constructor", "forward"})
"""Refusals that another description of the target can cure."""


@dataclass(frozen=True, slots=True)
class ClassAnnotation:
    """What stands above `class Block(nn.Module):`."""

    class_name: str  # qualified
    line: int  # of the class statement
    name_span: Span
    text: str  # the lens
    state: Literal["value", "pending", "unavailable"]
    target_class: str | None  # the model that "Profile this model" runs; None: no action
    other_device: str | None  # a profile exists for this device, not for the selected one
    card: Card | None


@dataclass(frozen=True, slots=True)
class LineAnnotation:
    """What stands at the end of a line that creates a submodule."""

    line: int
    label: str  # "12 x 14.0 mJ · 20 %"
    energy_j: float | None  # all calls per forward of the model; None: never called
    share: float
    card: Card | None


@dataclass(frozen=True, slots=True)
class HoverAnnotation:
    """A range with a card: class name, assignment, call in forward."""

    span: Span
    card: Card


@dataclass(frozen=True, slots=True)
class ProblemAnnotation:
    """Why a class has no estimate; shown quietly on its name."""

    class_name: str
    span: Span
    message: str
    advice: str
    comment: str | None  # an irene comment that a code action can insert above the person's class
    insert_line: int  # where it goes


@dataclass(frozen=True, slots=True)
class Annotations:
    """All that a document shows, for one version of its text."""

    version: int
    classes: tuple[ClassAnnotation, ...]
    lines: tuple[LineAnnotation, ...]
    hovers: tuple[HoverAnnotation, ...]
    problems: tuple[ProblemAnnotation, ...]
    summary: str  # for a status bar: "GPT 372 mJ · A100-SXM4-80GB"


def annotate(estimates: FileEstimates) -> Annotations:
    """Values on the spans of the text that `estimates` were made for."""
    document, outline = estimates.plan.document, estimates.plan.outline
    shown = [it for it in estimates.outcomes if isinstance(it, Estimate)]
    found = {it.name: _find_class(it, shown, document.path) for it in outline.classes}
    lines = _lines(outline, shown, document.path)
    return Annotations(
        version=document.version,
        classes=tuple(_class_annotations(estimates, found)),
        lines=tuple(lines.values()),
        hovers=tuple(_hovers(outline, found, lines, shown, document.path)),
        problems=tuple(_problems(estimates)),
        summary=_summary(estimates),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a class occurs, in the first estimate that contains it."""

    estimate: Estimate
    occurrences: tuple[Occurrence, ...]
    card: Card


def _find_class(outlined: ClassOutline, estimates: Sequence[Estimate], path: str) -> _Found | None:
    """The estimate of the class itself, else the first that has the class in its tree."""
    own = [it for it in estimates if it.target.class_name == outlined.name]
    for estimate in (*own, *estimates):
        occurrences = tuple(outermost(estimate.priced, _is_class(outlined.name, path)))
        if occurrences:
            name = outlined.name.rpartition(".")[2]
            return _Found(estimate, occurrences, card(name, occurrences, estimate, path))
    return None


def _is_class(name: str, path: str) -> Callable[[PricedNode], bool]:
    """Whether a priced node is an instance of this class of the document."""

    def matches(priced: PricedNode) -> bool:
        origin = priced.node.origin
        return origin is not None and (origin.path, origin.qualified_name) == (path, name)

    return matches


def _created_on(line: int, path: str) -> Callable[[PricedNode], bool]:
    """Whether a priced node was constructed by this line of the document."""

    def matches(priced: PricedNode) -> bool:
        at = priced.node.created_at
        return at is not None and (at.path, at.line) == (path, line)

    return matches


def _class_annotations(
    estimates: FileEstimates, found: dict[str, _Found | None]
) -> Iterator[ClassAnnotation]:
    """A lens for each module class that is a target, or part of one."""
    for outlined in estimates.plan.outline.classes:
        if not outlined.is_module:
            continue
        value = found[outlined.name]
        lens = _value_lens(value) if value else _empty_lens(outlined, estimates)
        if lens is not None:
            text, state, target_class = lens
            yield ClassAnnotation(
                class_name=outlined.name,
                line=outlined.name_span.start_line,
                name_span=outlined.name_span,
                text=text,
                state=state,
                target_class=target_class,
                other_device=_other_device(value),
                card=value.card if value else None,
            )


_Lens = tuple[str, Literal["value", "pending", "unavailable"], str | None]


def _value_lens(found: _Found) -> _Lens:
    estimate, total = found.estimate, total_of(found.occurrences)
    kind = estimate.priced.kind
    parts = [
        total_text(total, estimate),
        estimate.shown_device,
        " x ".join(str(n) for n in estimate.trace.inputs[0].shape) if estimate.trace.inputs else "",
        estimate.trace.dtype,
        f"{kind} {format_spread(total.joules, total.high_j)}",
    ]
    return " · ".join(part for part in parts if part), "value", estimate.target.class_name


def _empty_lens(outlined: ClassOutline, estimates: FileEstimates) -> _Lens | None:
    """Why a class has no value; None for one that nothing would ever give a value."""
    name = outlined.name
    for outcome in estimates.outcomes:
        if isinstance(outcome, Refused) and outcome.target.class_name == name:
            return f"n/a · {headline(outcome.refusal)}", "unavailable", name
    if any(name in _with_contents(target, estimates) for target in estimates.pending):
        return PENDING, "pending", None
    for outcome in estimates.outcomes:
        if name in estimates.plan.contents(outcome.target.class_name):
            owner = outcome.target.class_name
            if isinstance(outcome, Refused):
                needs_trust = outcome.refusal.kind == "untrusted"
                why = "needs trust" if needs_trust else f"see {owner}"
                return f"n/a · {why}", "unavailable", None
            return f"not called in a forward pass of {owner}", "unavailable", None
    return None


def _with_contents(target: Target, estimates: FileEstimates) -> frozenset[str]:
    return estimates.plan.contents(target.class_name) | {target.class_name}


def _other_device(found: _Found | None) -> str | None:
    if found is None or found.estimate.profile is not None:
        return None
    elsewhere = found.estimate.profiled_elsewhere
    return elsewhere[0] if elsewhere else None


def headline(refusal: Refusal) -> str:
    """The first sentence of a refusal, short enough to stand over a class."""
    first = refusal.message.strip().splitlines()[0] if refusal.message.strip() else refusal.kind
    return first if len(first) <= 100 else f"{first[:99]}…"


def _lines(outline: Outline, estimates: Sequence[Estimate], path: str) -> dict[int, LineAnnotation]:
    """What each line that constructs a module costs, by line; the first estimate has it."""
    lines: dict[int, LineAnnotation] = {}
    for estimate in estimates:
        for line in sorted(_created_lines(estimate.priced, path) - lines.keys()):
            occurrences = tuple(outermost(estimate.priced, _created_on(line, path)))
            lines[line] = _line(line, occurrences, estimate, path)
        for line in _uncalled_lines(outline, estimate, path):
            lines.setdefault(line, LineAnnotation(line, "not called", None, 0.0, None))
    return dict(sorted(lines.items()))


def _created_lines(root: PricedNode, path: str) -> set[int]:
    """Lines of the document that constructed a module of the tree, the model itself left out."""
    lines: set[int] = set()
    pending = list(root.children)
    while pending:
        priced = pending.pop()
        pending.extend(priced.children)
        at = priced.node.created_at
        if at is not None and at.path == path:
            lines.add(at.line)
    return lines


def _line(
    line: int, occurrences: Sequence[Occurrence], estimate: Estimate, path: str
) -> LineAnnotation:
    total = total_of(occurrences)
    names = dict.fromkeys(priced.node.class_name for priced, _ in occurrences)
    return LineAnnotation(
        line=line,
        label=_label(total, estimate),
        energy_j=total.joules,
        share=share_of(total, estimate),
        card=card(", ".join(names), occurrences, estimate, path),
    )


def _label(total: Sum, estimate: Estimate) -> str:
    """`12 x 14.0 mJ · 20 %`: one call, times its calls; the share is of the whole model."""
    if total.joules == 0.0:
        return format_energy(0.0)
    share = format_share(share_of(total, estimate))
    return f"{each_text(total)} · {share}"


def _uncalled_lines(outline: Outline, estimate: Estimate, path: str) -> Iterator[int]:
    """Lines that construct a layer which the forward pass never calls."""
    origins = dict(outline.imports)
    modules = {it.name for it in outline.classes if it.is_module}
    for outlined in outline.classes:
        if next(outermost(estimate.priced, _is_class(outlined.name, path)), None) is None:
            continue
        for submodule in outlined.submodules:
            for name, line in zip(submodule.constructors, submodule.constructor_lines, strict=True):
                if name in modules or _is_layer(name, origins):
                    yield line


def _is_layer(name: str, origins: dict[str, str]) -> bool:
    """Whether a constructor is a layer of torch.nn, by the imports of the file."""
    first, _, rest = name.partition(".")
    dotted = f"{origins.get(first, first)}.{rest}".rstrip(".")
    last = dotted.rpartition(".")[2]
    return dotted.startswith("torch.nn.") and last not in CONTAINERS and last[:1].isupper()


def _hovers(
    outline: Outline,
    found: dict[str, _Found | None],
    lines: dict[int, LineAnnotation],
    estimates: Sequence[Estimate],
    path: str,
) -> Iterator[HoverAnnotation]:
    """Cards on class names, on statements that create submodules, on calls of them."""
    for outlined in outline.classes:
        value = found[outlined.name]
        if value is not None:
            yield HoverAnnotation(outlined.name_span, value.card)
        cards: dict[str, Card] = {}
        for submodule in outlined.submodules:
            made = _statement_card(submodule, lines, estimates, path)
            if made is not None:
                cards.setdefault(submodule.attribute, made)
                yield HoverAnnotation(submodule.span, made)
        for call in outlined.submodule_calls:
            if call.attribute in cards:
                yield HoverAnnotation(call.span, cards[call.attribute])


def _statement_card(
    submodule: Submodule,
    lines: dict[int, LineAnnotation],
    estimates: Sequence[Estimate],
    path: str,
) -> Card | None:
    """The card of all that a statement creates; that of its line where it has only one."""
    span = range(submodule.span.start_line, submodule.span.end_line + 1)
    within = [lines[line] for line in span if line in lines and lines[line].card]
    if len(within) <= 1:
        return within[0].card if within else None
    for estimate in estimates:
        occurrences = tuple(outermost(estimate.priced, _created_within(span, path)))
        if occurrences:
            return card(submodule.attribute, occurrences, estimate, path)
    return None


def _created_within(span: range, path: str) -> Callable[[PricedNode], bool]:
    def matches(priced: PricedNode) -> bool:
        at = priced.node.created_at
        return at is not None and at.path == path and at.line in span

    return matches


def _problems(estimates: FileEstimates) -> Iterator[ProblemAnnotation]:
    by_name = {it.name: it for it in estimates.plan.outline.classes}
    for outcome in estimates.outcomes:
        outlined = by_name.get(outcome.target.class_name)
        if isinstance(outcome, Refused) and outlined is not None:
            refusal = outcome.refusal
            is_own = not is_installed(estimates.plan.document.path)
            curable = refusal.kind in FIXED_BY_COMMENT and is_own
            first = min((line for line, _ in outlined.comments), default=outlined.span.start_line)
            yield ProblemAnnotation(
                class_name=outlined.name,
                span=outlined.name_span,
                message=refusal.message,
                advice=refusal.advice,
                comment=suggest_comment(outlined) if curable else None,
                insert_line=first,
            )


def _summary(estimates: FileEstimates) -> str:
    """`GPT 372 mJ · A100-SXM4-80GB`, of the selected target; why not, where it was refused."""
    if not estimates.outcomes:
        return PENDING if estimates.pending else ""
    first = estimates.outcomes[0]
    name = first.target.class_name
    if isinstance(first, Refused):
        return f"{name}: n/a"
    energy = format_energy(first.priced.energy.joules)
    return f"{name} {energy} · {first.shown_device}"
