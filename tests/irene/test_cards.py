"""Hover cards: rows that add up, merged siblings, what a value stands for."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irene.cards import (
    BAR_WIDTH,
    MAX_ROWS,
    Card,
    Occurrence,
    bar,
    calls_text,
    card,
    markdown,
    total_of,
)
from irene.energy.catalogue import find
from irene.energy.physics import price
from irene.energy.prices import PricedNode
from irene.estimation import Estimate
from irene.source.targets import Chosen, Target
from irene.tree import (
    Assumption,
    ClassOrigin,
    Location,
    Node,
    Operation,
    TensorSpec,
    Trace,
    Unpriced,
)
from irene.worker.protocol import BuildSpec

PATH = "/work/net.py"
DEVICE = find("A100-SXM4-80GB")


def linear(scope: str, width: int, line: int = 20, count: int = 1) -> Node:
    flops, n_bytes = 2 * 1024 * width * width, 4 * (2 * 1024 * width + width * width)
    operation = Operation("addmm", "float32", ((1024, width), (width, width)), ((1024, width),), 1)
    return Node(
        scope, "addmm", "primitive", "linear", count, flops, n_bytes, 0,
        None, Location(PATH, line), None, operation, (),
    )  # fmt: skip


def module(
    scope: str, name: str, children: tuple[Node, ...], line: int = 9, count: int = 1
) -> Node:
    return Node(
        scope, name, "module" if scope else "model", None, count,
        sum(it.count * it.flops for it in children), sum(it.count * it.n_bytes for it in children),
        1000, Location(PATH, line), None, ClassOrigin(PATH, name), None, children,
    )  # fmt: skip


def block(scope: str, width: int = 768) -> Node:
    return module(
        scope, "Block", (module(f"{scope}.fc", "Linear", (linear(f"{scope}.fc", width),)),)
    )


def estimate_of(root: Node) -> Estimate:
    build = BuildSpec(PATH, "", "Net", (), None, (), None, 8, 128, None, None)
    chosen = Chosen("8", "default", "default")
    target = Target("Net", build, *(8 * [chosen]))
    trace = Trace(
        root, "inference", "Net()", (TensorSpec("x", "float32", (8, 128)),), "float32",
        (Assumption("no padding", None),), (Unpriced("custom::op", "no rule", None),), "2.13", None,
    )  # fmt: skip
    return Estimate(
        target, DEVICE.id, DEVICE.name, trace, price(root, DEVICE), ("a note",), "physics", None, ()
    )


def blocks_of(estimate: Estimate) -> list[Occurrence]:
    return [(it, it.node.count) for it in estimate.priced.children if it.node.class_name == "Block"]


def printed_j(text: str) -> float:
    value, unit = text.split()
    return float(value) * {"J": 1.0, "mJ": 1e-3, "µJ": 1e-6, "nJ": 1e-9}[unit]


def test_calls_that_are_alike_show_one_call_times_its_calls() -> None:
    """`12 x 31.0 mJ = 372 mJ` stands for twelve blocks of one size."""
    estimate = estimate_of(module("", "Net", tuple(block(f"h.{i}") for i in range(12))))
    total = total_of(blocks_of(estimate))
    assert total.n_calls == 12
    found = re.fullmatch(r"12 x (\S+ \S+) = (\S+ \S+)", calls_text(total))
    assert found is not None
    assert printed_j(found[2]) == pytest.approx(12 * printed_j(found[1]), rel=0.01)


def test_calls_that_differ_show_their_mean_and_sum() -> None:
    estimate = estimate_of(module("", "Net", (block("a", 64), block("b", 512))))
    assert re.fullmatch(r"2 x ~\S+ \S+ = \S+ \S+", calls_text(total_of(blocks_of(estimate))))


def test_numbered_siblings_are_one_row() -> None:
    """`h.0` to `h.11` are one row of twelve calls, not twelve rows."""
    estimate = estimate_of(module("", "Net", tuple(block(f"h.{i}") for i in range(12))))
    made = card("Net", [(estimate.priced, 1)], estimate, PATH)
    assert [(row.name, row.line) for row in made.rows] == [("h.* · Block", 9)]
    assert made.rows[0].calls.startswith("12 x ")
    assert made.rows[0].share == pytest.approx(1.0)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=30))
def test_printed_rows_add_up_to_the_printed_sum(widths: list[int]) -> None:
    """To the last digit, also where rows beyond the longest table are merged."""
    estimate = estimate_of(
        module("", "Net", tuple(block(f"m{i}x", w) for i, w in enumerate(widths)))
    )
    made = card("Net", [(estimate.priced, 1)], estimate, PATH)
    shown = [row.energy for row in made.rows if not row.energy.startswith("<")]
    assert sum(Decimal(it.split()[0]) for it in shown) == Decimal(made.row_total.split()[0])
    assert len(made.rows) <= MAX_ROWS


def test_the_model_itself_has_no_share_and_its_parts_do() -> None:
    estimate = estimate_of(module("", "Net", (block("a"), block("b"))))
    whole = card("Net", [(estimate.priced, 1)], estimate, PATH)
    part = card("Block", blocks_of(estimate)[:1], estimate, PATH)
    assert whole.total.endswith(" per forward")
    assert part.total.endswith(" per forward · 50 % of Net")


def test_a_card_says_what_it_stands_for() -> None:
    """Interval with its level, conditions with their source, what was assumed or left out."""
    estimate = estimate_of(module("", "Net", (block("a"),)))
    made = card("Net", [(estimate.priced, 1)], estimate, PATH)
    text = markdown(made)
    assert "(90 % interval), modelled: physics and data sheets, nothing run" in text
    assert "device `NVIDIA A100-SXM4-80GB` _(default)_" in text
    assert "- not priced: custom::op (no rule)" in text
    assert text.index("not priced") < text.index("no padding") < text.index("a note")


def table_of(made: Card) -> list[list[str]]:
    """The cells of the card's table, header first, without the row of alignments."""
    lines = [it for it in markdown(made).splitlines() if it.startswith("|")]
    return [it[1:-1].split(" | ") for it in (lines[0], *lines[2:])]


def test_neighbouring_columns_of_a_card_keep_apart() -> None:
    """Editors put next to nothing between columns: where right meets left there is a space."""
    estimate = estimate_of(module("", "Net", (block("a"), block("b"))))
    for cells in table_of(card("Net", [(estimate.priced, 1)], estimate, PATH)):
        assert len(cells) == 8
        for left_aligned in (cells[2], cells[-1]):
            assert left_aligned.strip() == "" or left_aligned.startswith("&nbsp;")


def test_names_of_usual_length_stay_on_one_line() -> None:
    estimate = estimate_of(module("", "Net", (block("tokens"), block("a_very_long_name_" * 3))))
    rows = table_of(card("Net", [(estimate.priced, 1)], estimate, PATH))[1:]
    names = sorted((row[0].strip() for row in rows), key=len)
    assert "tokens\u00a0·\u00a0Block\u00a0·\u00a0line\u00a09" in names
    assert names[-1].endswith(" · Block · line 9")


def test_a_card_has_a_column_of_calls_where_a_part_has_several() -> None:
    several = estimate_of(module("", "Net", tuple(block(f"h.{i}") for i in range(12))))
    single = estimate_of(module("", "Net", (block("a"), block("b"))))
    headers = [table_of(card("Net", [(it.priced, 1)], it, PATH))[0] for it in (several, single)]
    assert [("calls" in [cell.strip() for cell in it], len(it)) for it in headers] == [
        (True, 9),
        (False, 8),
    ]


def test_own_operations_are_rows_with_their_line() -> None:
    """A primitive's row names the kind and the line that issued it."""
    root = module("", "Net", (linear("", 256, line=31, count=3), block("a", 64)))
    estimate = estimate_of(root)
    made = card("Net", [(estimate.priced, 1)], estimate, PATH)
    assert ("linear", 31) in [(row.name, row.line) for row in made.rows]


@given(st.floats(0.0, 1.0))
def test_a_bar_has_one_width(share: float) -> None:
    assert len(bar(share)) == BAR_WIDTH


def test_a_call_without_cost_is_zero_and_no_calls_make_no_rows() -> None:
    """An identity costs nothing: that is known, not missing."""
    estimate = estimate_of(module("", "Net", (block("a"), module("drop", "Dropout", ()))))
    dropout: PricedNode = estimate.priced.children[1]
    made = card("Dropout", [(dropout, 1)], estimate, PATH)
    assert made.total.startswith("0 J per forward")
    assert made.rows == ()
