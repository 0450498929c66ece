"""The hover card of a node or class: its breakdown, interval, conditions and assumptions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CardRow:
    """A part of a node: a child module or an own operation; texts ready to show."""

    name: str  # "attn · Attention", "linear · addmm"
    calls: str  # "12 x 14.0 mJ" or "14.0 mJ"
    energy: str  # all calls, in the card's unit: the rows add up to the card's total
    share: float  # of the card's node, 0 to 1
    time: str
    flops: str
    n_bytes: str
    bound: str  # "compute", "memory", "launch"
    line: int | None  # in this document


@dataclass(frozen=True, slots=True)
class Card:
    """A hover: one node or class with its breakdown, interval and assumptions."""

    title: str  # "Block · 12 calls per forward of GPT"
    total: str  # "12 x 31.0 mJ = 372 mJ · 45 % of GPT"
    interval: str  # "268 mJ to 521 mJ (90 %), modelled"
    conditions: tuple[tuple[str, str, str], ...]  # (name, value, where it was set)
    rows: tuple[CardRow, ...]
    row_total: str  # sum of the rows, same unit
    facts: tuple[tuple[str, str], ...]  # time, FLOPs, bytes, parameters, bound
    notes: tuple[str, ...]  # assumptions, what is not priced, what a profile says
