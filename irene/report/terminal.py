"""A report in a terminal: a header, the tree with its columns, conditions and notes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from irene.cards import KIND_MEANS, bar
from irene.report.findings import Report, inputs_text
from irene.report.rows import Row, rows_of
from irene.units import (
    format_count,
    format_energy,
    format_flops,
    format_share,
    format_spread,
    format_time,
)

_COLUMNS = ("part", "calls", "energy", "", "share", "time", "FLOP", "bytes", "bound")


def layout(report: Report) -> RenderableType:
    """Everything that a person is told, for `rich` to print."""
    return Group(
        *headlines(report),
        Text(),
        tree_table(rows_of(report.priced), report),
        Text(),
        _conditions(report),
        *(_notes(report)),
    )


def headlines(report: Report) -> list[Text]:
    """Total and interval, what kind of value it is, and what it stands for."""
    energy, node = report.priced.energy, report.priced.node
    total = Text.assemble(
        (report.class_name, "bold"),
        "  ",
        (format_energy(energy.joules), "bold green"),
        " per forward pass  ",
        (
            f"{format_energy(energy.low_j)} to {format_energy(energy.high_j)} "
            f"(90 % interval, {format_spread(energy.joules, energy.high_j)})",
            "dim",
        ),
    )
    kind = Text(f"{report.priced.kind}: {KIND_MEANS[report.priced.kind]}")
    stands_for = [report.device_id, inputs_text(report.trace.inputs), report.trace.dtype]
    size = [
        format_time(energy.seconds),
        format_flops(node.flops),
        f"{format_count(node.n_parameters)} parameters",
    ]
    return [total, kind, Text(" · ".join(it for it in stands_for if it)), Text(" · ".join(size))]


def tree_table(root: Row, report: Report) -> Table:
    """One line for each part; the lines below a line add up to it."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        is_text = name in ("part", "", "bound")
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(name, justify=justify, no_wrap=name != "part", overflow="fold")
    _add(table, root, "", "", report.class_name)
    return table


def _add(table: Table, row: Row, lead: str, branch: str, name: str) -> None:
    """A row and the rows below it; `lead` is drawn left of those, `branch` left of this one."""
    part = Text.assemble((branch, "dim"), *_part(row, name))
    style = "bold" if not branch else ""
    table.add_row(
        part,
        row.calls,
        row.energy,
        Text(bar(row.share), style="green"),
        format_share(row.share),
        row.time,
        row.flops,
        row.n_bytes,
        Text(row.bound, style="dim"),
        style=style,
    )
    for child in row.children:
        is_last = child is row.children[-1]
        below = lead + ("  " if is_last else "│ ")
        _add(table, child, below, lead + ("└ " if is_last else "├ "), child.name)


def _part(row: Row, name: str) -> Iterable[str | tuple[str, str]]:
    if not row.class_name:
        return [(name, "italic")]
    return [name] if name == row.class_name else [name, (f" {row.class_name}", "dim")]


def _conditions(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", style="dim")
    for condition in report.conditions:
        table.add_row(condition.name, condition.value, condition.where)
    return table


def _notes(report: Report) -> Iterable[RenderableType]:
    groups = (
        ("not priced", [f"{it.name}: {it.reason}" for it in report.trace.unpriced]),
        ("assumed", [it.text for it in report.trace.assumptions]),
        ("how it was priced", list(report.notes)),
    )
    for title, sentences in groups:
        if sentences:
            yield Text()
            yield Text(title, style="bold")
            for sentence in sentences:
                yield Padding(Text(f"- {sentence}"), (0, 0, 0, 2))
