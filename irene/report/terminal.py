"""A report in a terminal: a header, the tree with its columns, conditions and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from irene.assumptions import assumed
from irene.cards import KIND_MEANS, bar
from irene.energy.device import shown_device
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

FOOTNOTE = (
    "Each row is all its calls in one forward pass. Layers of torch.nn are one row; "
    "parts that cost nothing are left out."
)

COLUMNS = ("part", "calls", "energy", "", "share", "time", "FLOP", "bytes", "bound")

_LESS_WANTED = ("", "bound", "bytes", "FLOP", "time", "calls")
"""What a narrow terminal does without, in this order."""

_NAMES_WIDTH = 36
"""Longer names take several lines before a column is given up."""


def layout(report: Report, width: int | None = None) -> RenderableType:
    """Everything that a person is told, for `rich` to print; None: as wide as it takes."""
    root = rows_of(report.priced)
    columns = COLUMNS if width is None else fitting_columns(root, report.class_name, width)
    return Group(
        *headlines(report),
        Text(),
        tree_table(root, report.class_name, columns),
        Text(FOOTNOTE, style="dim"),
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
    device = shown_device(report.device_id, report.device_name)
    stands_for = [device, inputs_text(report.trace.inputs), report.trace.dtype]
    size = [
        format_time(energy.seconds),
        format_flops(node.flops),
        f"{format_count(node.n_parameters)} parameters",
    ]
    return [total, kind, Text(" · ".join(it for it in stands_for if it)), Text(" · ".join(size))]


def tree_table(root: Row, name: str, columns: Sequence[str] = COLUMNS) -> Table:
    """One line for each part; the lines below a line add up to it. `name` is the model's."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        is_text = column in ("part", "", "bound")
        justify: Literal["left", "right"] = "left" if is_text else "right"
        style = {"": "green", "bound": "dim"}.get(column, "")
        table.add_column(column, justify=justify, style=style, no_wrap=column != "part")
    for row, branch, beside in _drawn(root):
        cells = _cells(row)
        part = _Part(_name(row, name), branch, beside)
        is_root = row is root
        table.add_row(part, *(cells[it] for it in columns[1:]), style="bold" if is_root else "")
    return table


def fitting_columns(root: Row, name: str, width: int) -> tuple[str, ...]:
    """The columns that leave enough of `width` for the names of the parts."""
    rows = [(row, branch, _cells(row)) for row, branch, _ in _drawn(root)]
    longest = max(len(branch) + _name(row, name).cell_len for row, branch, _ in rows)
    columns = list(COLUMNS)
    for unwanted in _LESS_WANTED:
        widths = [max(len(it), *(len(cells[it]) for _, _, cells in rows)) for it in columns[1:]]
        if min(longest, _NAMES_WIDTH) + len(columns) + sum(widths) <= width:
            break
        columns.remove(unwanted)
    return tuple(columns)


def _drawn(row: Row, lead: str = "", branch: str = "") -> Iterator[tuple[Row, str, str]]:
    """Every row with what is drawn left of its first line and of its others."""
    yield row, branch, lead + ("│ " if row.children else "  ")
    for child in row.children:
        is_last = child is row.children[-1]
        below = lead + ("  " if is_last else "│ ")
        yield from _drawn(child, below, lead + ("└ " if is_last else "├ "))


@dataclass(frozen=True, slots=True)
class _Part:
    """The name of a row; where it needs several lines, the tree is drawn beside all of them."""

    name: Text
    branch: str
    beside: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(1, options.max_width - max(len(self.branch), len(self.beside)))
        fits = len(self.branch) + self.name.cell_len <= options.max_width
        lines = [self.name] if fits else self.name.wrap(console, width, overflow="fold")
        for i, line in enumerate(lines):
            yield Text.assemble((self.beside if i else self.branch, "dim"), line)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = len(self.branch) + self.name.cell_len
        return Measurement(min(longest, _NAMES_WIDTH), longest)


def _cells(row: Row) -> dict[str, str]:
    """The text of each column but that of the part."""
    return {
        "calls": row.calls,
        "energy": row.energy,
        "": bar(row.share),
        "share": format_share(row.share),
        "time": row.time,
        "FLOP": row.flops,
        "bytes": row.n_bytes,
        "bound": row.bound,
    }


def _name(row: Row, model: str) -> Text:
    """A module's attribute and class, an operation's name; the model has its class alone."""
    if not row.name or row.name == row.class_name:
        return Text(row.name or model)
    if not row.class_name:
        return Text(row.name, style="italic")
    return Text.assemble(row.name, (f" {row.class_name}", "dim"))


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
        ("assumed", assumed(report.trace.assumptions, "")),
        ("how it was priced", list(report.notes)),
    )
    for title, sentences in groups:
        if sentences:
            yield Text()
            yield Text(title, style="bold")
            yield _bullets(sentences)


def _bullets(sentences: Sequence[str]) -> Table:
    """Sentences of which further lines stand below the first one's words."""
    table = Table.grid()
    table.add_column(width=4)
    table.add_column(overflow="fold")
    for sentence in sentences:
        table.add_row("  - ", Text(sentence))
    return table
