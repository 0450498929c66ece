"""`irene devices`: the catalogue, with what each price rests on."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group
from rich.table import Table
from rich.text import Text

from irene.cli import console
from irene.cli.arguments import Asked
from irene.energy.catalogue import Device, auto, selectable
from irene.units import format_bandwidth, format_flop_rate, format_power

_SHOWN = ("float32", "float16", "bfloat16")


def run(_: Asked) -> bool:
    """Print the table."""
    here = auto()
    listed = selectable() if here in selectable() else (here, *selectable())
    console.show(Group(table(listed, here.id), Text(), *_legend(here)))
    return True


def table(listed: Iterable[Device], here: str) -> Table:
    """One line for each device; `here` is the id that `auto` stands for."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in ("device", "name"):
        drawn.add_column(name, overflow="fold")
    for name in (*_SHOWN, "memory", "power"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for device in listed:
        is_auto = device.id == here
        drawn.add_row(
            Text(f"{device.id} (auto)" if is_auto else device.id, style="bold" if is_auto else ""),
            device.name,
            *(_peak(device, dtype) for dtype in _SHOWN),
            f"{format_bandwidth(device.bandwidth_b_s)}{_doubt(device, 'bandwidth')}",
            f"{format_power(device.tdp_w)}{_doubt(device, 'tdp_w', 'tdp_per_core')}",
        )
    return drawn


def _peak(device: Device, dtype: str) -> str:
    rate = next((it for it in device.rates if it.dtype == dtype), None)
    if rate is None:
        return "-"
    peak = format_flop_rate(rate.peak_flop_s).removesuffix("FLOP/s")
    return f"{peak}{'?' if not rate.is_verified else ''}"


def _doubt(device: Device, *facts: str) -> str:
    return "?" if set(facts) & set(device.unverified) else ""


def _legend(here: Device) -> list[Text]:
    return [
        Text(f"auto is {here.id}: {here.name}. {here.provenance}"),
        Text(
            "Peaks are dense FLOP/s, a multiply-add is 2; memory is its bandwidth, power the "
            "thermal design power."
        ),
        Text(
            "?  not confirmed by a second source, which widens the interval.  -  no rate of its "
            "own: priced as float32."
        ),
    ]
