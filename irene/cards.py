"""The hover card of a node or class: its breakdown, interval, conditions and assumptions.

`card` reads priced nodes and writes texts; `markdown` lays them out. Neither computes an
energy: rows are sums of what was priced, and they add up to the printed total.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from irene.assumptions import assumed
from irene.energy.prices import Bound, PricedNode, ValueKind
from irene.estimation import Estimate, is_open
from irene.units import (
    format_bytes,
    format_calls,
    format_column,
    format_count,
    format_energy,
    format_flops,
    format_share,
    format_time,
)

Occurrence = tuple[PricedNode, int]
"""A node and how often one forward pass of the model calls it."""

MAX_ROWS = 12
BAR_EIGHTHS = "▏▎▍▌▋▊▉█"
BAR_WIDTH = 4
MAX_UNBROKEN_NAME = 31
"""Characters; a longer name may take two lines of a hover."""

KIND_MEANS: dict[ValueKind, str] = {
    "modelled": "physics and data sheets, nothing run",
    "predicted": "by a predictor fitted to measurements, nothing run",
    "profiled": "time measured here, power modelled",
    "measured": "energy from a meter",
}


@dataclass(frozen=True, slots=True)
class CardRow:
    """A part of a node: a child module or an own operation; texts ready to show."""

    name: str  # "attn · Attention", "matmul · bmm, line 45"
    calls: str  # "12 x 14.0 mJ" or "14.0 mJ"
    energy: str  # all calls, in the card's unit: the rows add up to the card's total
    share: float  # of the card's node, 0 to 1
    time: str
    flops: str
    n_bytes: str
    bound: Bound
    line: int | None  # in this document


@dataclass(frozen=True, slots=True)
class Card:
    """A hover: one node or class with its breakdown, interval and assumptions."""

    title: str  # "Block"
    total: str  # "12 x 31.0 mJ = 372 mJ per forward · 45 % of GPT"
    interval: str  # "268 mJ to 521 mJ (90 % interval), modelled: ..."
    basis: str  # what the rows stand for: "one call", "all 5 calls"
    rows: tuple[CardRow, ...]
    row_total: str  # sum of the rows, same unit
    facts: tuple[str, ...]  # time, FLOPs, bytes, parameters, what bounds it
    conditions: tuple[tuple[str, str, str], ...]  # (name, value, where it was set)
    notes: tuple[str, ...]  # assumptions, what is not priced, what a profile says


@dataclass(frozen=True, slots=True)
class Sum:
    """Energies and costs over occurrences; `n_calls` per forward pass of the model."""

    n_calls: int
    joules: float
    low_j: float
    high_j: float
    seconds: float
    flops: int
    n_bytes: int
    uniform: bool  # every call costs the same


def total_of(occurrences: Sequence[Occurrence]) -> Sum:
    """The sum over all calls; an empty sequence sums to zero calls."""
    energies = {priced.energy for priced, _ in occurrences}
    return Sum(
        n_calls=sum(calls for _, calls in occurrences),
        joules=sum(calls * priced.energy.joules for priced, calls in occurrences),
        low_j=sum(calls * priced.energy.low_j for priced, calls in occurrences),
        high_j=sum(calls * priced.energy.high_j for priced, calls in occurrences),
        seconds=sum(calls * priced.energy.seconds for priced, calls in occurrences),
        flops=sum(calls * priced.node.flops for priced, calls in occurrences),
        n_bytes=sum(calls * priced.node.n_bytes for priced, calls in occurrences),
        uniform=len(energies) <= 1,
    )


def total_text(total: Sum, estimate: Estimate) -> str:
    """`12 x 31.0 mJ = 372 mJ per forward · 45 % of GPT`; the model itself has no share."""
    model = estimate.priced
    text = f"{calls_text(total)} per forward"
    if total.joules == model.energy.joules and total.n_calls == 1:
        return text
    return f"{text} · {format_share(share_of(total, estimate))} of {model.node.class_name}"


def calls_text(total: Sum) -> str:
    """`12 x 31.0 mJ = 372 mJ`; where calls differ, their mean: `5 x ~74.4 mJ = 372 mJ`."""
    if total.n_calls == 1 or total.joules == 0.0:
        return format_energy(total.joules)
    return f"{each_text(total)} = {format_energy(total.joules)}"


def each_text(total: Sum) -> str:
    """`12 x 31.0 mJ`; `5 x ~74.4 mJ` where that is a mean of calls that differ."""
    mean_j = total.joules / total.n_calls if total.n_calls else 0.0
    if total.uniform or total.n_calls == 1:
        return format_calls(total.n_calls, mean_j)
    return f"{total.n_calls} x ~{format_energy(mean_j)}"


def share_of(total: Sum, estimate: Estimate) -> float:
    """Share of the whole model, all calls; 0 for a model that costs nothing."""
    whole = estimate.priced.energy.joules
    return total.joules / whole if whole else 0.0


def card(
    title: str, occurrences: Sequence[Occurrence], estimate: Estimate, document_path: str
) -> Card:
    """The card of one node (a single occurrence) or of all nodes of a class or line."""
    total = total_of(occurrences)
    basis, parents = _basis(total, occurrences)
    rows, row_total = _rows(parents, document_path)
    return Card(
        title=title,
        total=total_text(total, estimate),
        interval=_interval(total, estimate.priced.kind),
        basis=basis,
        rows=rows,
        row_total=row_total,
        facts=_facts(parents),
        conditions=_conditions(estimate),
        notes=_notes(estimate, document_path),
    )


def markdown(card: Card) -> str:
    """The card as GitHub-flavoured Markdown, as editors show it."""
    blocks = [f"**{_escape(card.title)}** · {_escape(card.total)}  \n{_escape(card.interval)}"]
    if card.rows:
        blocks.append(_markdown_table(card))
    blocks.append(_escape(" · ".join(card.facts)))
    blocks.append("  \n".join(_condition(*it) for it in card.conditions))
    if card.notes:
        notes = (_escape(it).replace(" %", "\u00a0%") for it in card.notes)
        blocks.append("\n".join(f"- {it}" for it in notes))
    return "\n\n".join(blocks)


def _basis(total: Sum, occurrences: Sequence[Occurrence]) -> tuple[str, Sequence[Occurrence]]:
    """One call where all calls are alike, else all of them."""
    if total.uniform and occurrences:
        return "one call", [(occurrences[0][0], 1)]
    return f"all {total.n_calls} calls", occurrences


@dataclass(frozen=True, slots=True)
class _Part:
    """Children of one name, merged: the parts of a row."""

    name: str
    line: int | None
    occurrences: tuple[Occurrence, ...]


def _rows(parents: Sequence[Occurrence], document_path: str) -> tuple[tuple[CardRow, ...], str]:
    whole = total_of(parents)
    parts = sorted(
        _parts(parents, document_path), key=lambda part: -total_of(part.occurrences).joules
    )
    if not parts:
        return (), format_energy(whole.joules)
    if len(parts) > MAX_ROWS:
        rest = parts[MAX_ROWS - 1 :]
        merged = tuple(it for part in rest for it in part.occurrences)
        parts = [*parts[: MAX_ROWS - 1], _Part(f"{len(rest)} more", None, merged)]
    sums = [total_of(part.occurrences) for part in parts]
    row_total, *energies = format_column([whole.joules, *(it.joules for it in sums)])
    rows = zip(parts, sums, energies, strict=True)
    return tuple(_row(part, it, energy, whole.joules) for part, it, energy in rows), row_total


def _row(part: _Part, total: Sum, energy: str, whole_j: float) -> CardRow:
    return CardRow(
        name=part.name,
        calls=each_text(total) if total.n_calls > 1 else "",
        energy=energy,
        share=total.joules / whole_j if whole_j else 0.0,
        time=format_time(total.seconds),
        flops=format_flops(total.flops),
        n_bytes=format_bytes(total.n_bytes),
        bound=_dominant_bound(part.occurrences),
        line=part.line,
    )


def _parts(parents: Sequence[Occurrence], document_path: str) -> list[_Part]:
    """The children of all parents, those with one name together, in order of appearance."""
    merged: dict[tuple[str, int | None], list[Occurrence]] = {}
    for parent, calls in parents:
        for child in parent.children:
            key = _part_name(parent, child), _line(child, document_path)
            merged.setdefault(key, []).append((child, calls * child.node.count))
    return [_Part(name, line, tuple(found)) for (name, line), found in merged.items()]


def _part_name(parent: PricedNode, child: PricedNode) -> str:
    node = child.node
    if node.kind == "primitive":
        is_named = node.primitive not in (None, "other", "elementwise")
        return str(node.primitive) if is_named else node.class_name
    prefix = f"{parent.node.scope}." if parent.node.scope else ""
    attribute = node.scope.removeprefix(prefix)
    alike = ".".join("*" if part.isdecimal() else part for part in attribute.split("."))
    return f"{alike} · {node.class_name}" if alike else node.class_name


def _line(priced: PricedNode, document_path: str) -> int | None:
    at = priced.node.called_at if priced.node.kind == "primitive" else priced.node.created_at
    return at.line if at is not None and at.path == document_path else None


def _dominant_bound(occurrences: Sequence[Occurrence]) -> Bound:
    seconds: dict[Bound, float] = {}
    for priced, calls in occurrences:
        spent = seconds.get(priced.bound, 0.0) + calls * priced.energy.seconds
        seconds[priced.bound] = spent
    return max(seconds, key=lambda bound: seconds[bound])


def _interval(total: Sum, kind: ValueKind) -> str:
    ends = f"{format_energy(total.low_j)} to {format_energy(total.high_j)} (90 % interval)"
    return f"{ends}, {kind}: {KIND_MEANS[kind]}"


def _facts(parents: Sequence[Occurrence]) -> tuple[str, ...]:
    if not parents:
        return ()
    total = total_of(parents)
    facts = [format_time(total.seconds), format_flops(total.flops)]
    facts.append(format_bytes(total.n_bytes))
    if total.n_bytes:
        facts.append(f"{total.flops / total.n_bytes:.3g} FLOP/B")
    n_parameters = max(priced.node.n_parameters for priced, _ in parents)
    facts.append(f"{format_count(n_parameters)} parameters" if n_parameters else "no parameters")
    facts.append(f"{_dominant_bound(parents)}-bound")
    return tuple(facts)


def _conditions(estimate: Estimate) -> tuple[tuple[str, str, str], ...]:
    target, trace = estimate.target, estimate.trace
    inputs = ", ".join(f"{it.name} {it.dtype}{list(it.shape)}" for it in trace.inputs)
    return (
        ("device", estimate.device_name, target.device.where),
        ("predictor", estimate.predictor, target.predictor.where),
        *(
            (name, chosen.value, chosen.where)
            for size, name, chosen in (
                ("batch", "batch size", target.batch_size),
                ("sequence", "sequence length", target.sequence_length),
            )
            if is_open(estimate, size)
        ),
        ("dtype", trace.dtype, target.dtype.where),
        ("attention", target.attention.value, target.attention.where),
        ("model", trace.arguments, target.arguments.where),
        ("inputs", inputs, target.inputs.where),
    )


def _notes(estimate: Estimate, document_path: str) -> tuple[str, ...]:
    trace = estimate.trace
    unpriced = [f"not priced: {it.name} ({it.reason})" for it in trace.unpriced]
    return (*unpriced, *assumed(trace.assumptions, document_path), *estimate.notes)


def _markdown_table(card: Card) -> str:
    """Parts with their calls, where one has several, and costs; the last line is their sum."""
    columns = [it for it in _COLUMNS if it.title != "calls" or any(row.calls for row in card.rows)]
    aligned = "|".join(":--" if it.side == "left" else "--:" for it in columns)
    lines = [
        _table_line(_escape(card.basis), [it.title for it in columns], columns),
        f"|:--|{aligned}|",
        *(
            _table_line(_row_name(row), [it.text(row) for it in columns], columns)
            for row in card.rows
        ),
    ]
    total = [f"**{card.row_total}**" if it.title == "energy" else "" for it in columns]
    return "\n".join([*lines, _table_line("**sum**", total, columns)])


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    side: Literal["left", "right"]
    text: Callable[[CardRow], str]


_COLUMNS = (
    _Column("calls", "right", lambda row: row.calls),
    _Column("energy", "right", lambda row: row.energy),
    _Column("share", "left", lambda row: f"`{bar(row.share)}`"),
    _Column("", "right", lambda row: format_share(row.share)),
    _Column("time", "right", lambda row: row.time),
    _Column("FLOP", "right", lambda row: row.flops.removesuffix("FLOP").strip()),
    _Column("bytes", "right", lambda row: row.n_bytes),
    _Column("bound", "left", lambda row: row.bound),
)


def _row_name(row: CardRow) -> str:
    """Unbroken up to a usual length: the other columns would squeeze it into two lines."""
    name = row.name if row.line is None else f"{row.name} · line {row.line}"
    return _escape(name if len(name) > MAX_UNBROKEN_NAME else _unbroken(name))


def _table_line(name: str, values: Sequence[str], columns: Sequence[_Column]) -> str:
    """Values keep their unit on the same line, and a left-aligned one keeps off its neighbour.

    By an entity: renderers trim cells, of no-break spaces too.
    """
    cells = (
        ("&nbsp;" if value and column.side == "left" else "") + _unbroken(value)
        for value, column in zip(values, columns, strict=True)
    )
    return " | ".join(["", name, *cells, ""]).strip(" ")


def _unbroken(text: str) -> str:
    return text.replace(" ", "\u00a0")


def bar(share: float) -> str:
    """A share as a bar of fixed width, in eighths of a character."""
    eighths = round(max(0.0, min(1.0, share)) * BAR_WIDTH * 8)
    full, part = divmod(eighths, 8)
    drawn = BAR_EIGHTHS[-1] * full + (BAR_EIGHTHS[part - 1] if part else "")
    return drawn.ljust(BAR_WIDTH)


def _condition(name: str, value: str, where: str) -> str:
    return f"{name} `{value.replace('`', '')}` _({_escape(where)})_"


def _escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    for mark in "\\`*_{}[]<>|#":
        text = text.replace(mark, "\\" + mark)
    return text
