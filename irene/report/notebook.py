"""A report as an HTML table, for notebooks; no script, no style of its own beyond alignment."""

from __future__ import annotations

from html import escape

from irene.cards import KIND_MEANS
from irene.energy.device import shown_device
from irene.report.findings import Report, inputs_text
from irene.report.rows import Row, rows_of, walk_rows
from irene.units import format_energy, format_share

_COLUMNS = ("part", "calls", "energy", "share", "time", "FLOP", "bytes", "bound")
_NAME = ' style="text-align: left; padding-left: {indent}em"'


def to_html(report: Report) -> str:
    """The header, the tree as a table, and who set the conditions."""
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = "".join(
        _row(row, depth, report.class_name) for row, depth in walk_rows(rows_of(report.priced))
    )
    conditions = " · ".join(
        f"{escape(it.name)} <code>{escape(it.value)}</code> ({escape(it.where)})"
        for it in report.conditions
    )
    return (
        f"<div><p>{_headline(report)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<p>{conditions}</p></div>"
    )


def _headline(report: Report) -> str:
    energy, kind = report.priced.energy, report.priced.kind
    interval = f"{format_energy(energy.low_j)} to {format_energy(energy.high_j)}"
    device = shown_device(report.device_id, report.device_name)
    stands_for = [device, inputs_text(report.trace.inputs), report.trace.dtype]
    return (
        f"<b>{escape(report.class_name)}</b>: <b>{format_energy(energy.joules)}</b> per forward "
        f"pass ({interval}, 90 % interval), {kind}: {escape(KIND_MEANS[kind])}<br>"
        f"{escape(' · '.join(it for it in stands_for if it))}"
    )


def _row(row: Row, depth: int, class_name: str) -> str:
    name = escape(row.name) if depth else f"<b>{escape(class_name)}</b>"
    of_class = f" <i>{escape(row.class_name)}</i>" if depth and row.class_name else ""
    cells = (
        row.calls,
        row.energy,
        format_share(row.share),
        row.time,
        row.flops,
        row.n_bytes,
        row.bound,
    )
    rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr><td{_NAME.format(indent=depth)}>{name}{of_class}</td>{rest}</tr>"
