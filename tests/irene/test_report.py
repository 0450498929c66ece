"""Reports: rows that add up, siblings that are merged, the same values as table, HTML and JSON."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from irene.energy.prices import Bound, Energy, PricedNode
from irene.report import Condition, Report, layout, to_html, to_json
from irene.report.rows import Row, rows_of, walk_rows
from irene.report.terminal import COLUMNS, fitting_columns
from irene.tree import (
    Assumption,
    ClassOrigin,
    Location,
    Node,
    Operation,
    Primitive,
    TensorSpec,
    Trace,
    Unpriced,
)
from irene.worker.protocol import Profile

PATH = "/work/net.py"
TORCH = "/python/site-packages/torch/nn/modules/linear.py"
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "estimate.schema.json").read_text("utf-8")
)


def leaf(
    name: str, primitive: Primitive, joules: float, *, count: int = 1, bound: Bound = "compute"
) -> PricedNode:
    """An operation of 1 GFLOP and 1 MB for each joule."""
    operation = Operation(name, "float32", ((8,),), ((8,),), 1)
    node = Node(
        "", name, "primitive", primitive, count, int(joules * 1e9), int(joules * 1e6), 0,
        None, Location(PATH, 12), None, operation, (),
    )  # fmt: skip
    return PricedNode(
        node, Energy(joules, joules / 2, joules * 2, joules / 100), "modelled", bound, ()
    )


def part(
    scope: str, name: str, *children: PricedNode, count: int = 1, file: str = PATH
) -> PricedNode:
    """A module that is the sum of its children."""

    def total(value: Callable[[Energy], float]) -> float:
        return sum(it.node.count * value(it.energy) for it in children)

    node = Node(
        scope, name, "module" if scope else "model", None, count,
        sum(it.node.count * it.node.flops for it in children),
        sum(it.node.count * it.node.n_bytes for it in children),
        1000, Location(PATH, 9) if scope else None, None, ClassOrigin(file, name), None,
        tuple(it.node for it in children),
    )  # fmt: skip
    energy = Energy(
        total(lambda it: it.joules), total(lambda it: it.low_j), total(lambda it: it.high_j),
        total(lambda it: it.seconds),
    )  # fmt: skip
    bound: Bound = children[0].bound if children else "launch"
    return PricedNode(node, energy, "modelled", bound, children)


def linear(scope: str, joules: float) -> PricedNode:
    ops = leaf("addmm", "linear", joules), leaf("add", "elementwise", joules / 100, bound="memory")
    return part(scope, "Linear", *ops, file=TORCH)


def dropout(scope: str) -> PricedNode:
    return part(scope, "Dropout", leaf("dropout", "other", 0.0), file=TORCH)


def block(scope: str, joules: float = 0.02) -> PricedNode:
    return part(
        scope, "Block",
        part(
            f"{scope}.attn", "Attention", linear(f"{scope}.attn.qkv", joules),
            leaf("scaled_dot_product_attention", "attention", joules / 7, bound="memory"),
        ),
        dropout(f"{scope}.drop"),
        leaf("add", "elementwise", joules / 30, count=2, bound="launch"),
    )  # fmt: skip


def net(*children: PricedNode) -> PricedNode:
    return part("", "Net", *children)


def report_on(priced: PricedNode) -> Report:
    trace = Trace(
        priced.node, "inference", "Net(width=64)",
        (TensorSpec("input_ids", "int64", (8, 128)),), "float32",
        (Assumption("no padding: the mask is all ones", Location(PATH, 3)),),
        (Unpriced("custom::scan", "no rule for its shapes", None),), "2.13.0", None,
    )  # fmt: skip
    return Report(
        class_name="Net",
        path=PATH,
        line=40,
        device_id="A100-SXM4-80GB",
        device_name="NVIDIA A100-SXM4-80GB",
        batch_size=8,
        sequence_length=None,
        trace=trace,
        priced=priced,
        conditions=(
            Condition("device", "A100-SXM4-80GB", "option", "option --device"),
            Condition("model", "Net(width=64)", "comment", "comment, line 39"),
        ),
        notes=("launch floor 20.0 µs per kernel in eager mode",),
        profile=None,
    )


NET = net(
    linear("tokens", 0.004),
    *(block(f"blocks.{i}") for i in range(12)),
    block("blocks.12", 0.05),
    linear("head", 0.4),
)


def printed(report: Report, width: int | None) -> str:
    console = Console(file=io.StringIO(), width=width or 500, no_color=True, highlight=False)
    console.print(layout(report, width))
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def steps(text: str) -> tuple[int, str]:
    """`0.372 J -> (372, "3 J")`: a printed energy in steps of its last digit, and its unit.

    `< 0.001 J` adds no step.
    """
    number, unit = text.removeprefix("< ").split(" ")
    n_steps = 0 if text.startswith("<") else int(number.replace(".", ""))
    return n_steps, f"{len(number.partition('.')[2])} {unit}"


def check_rows_add_up(row: Row) -> None:
    if row.children:
        assert sum(steps(it.energy)[0] for it in row.children) == steps(row.energy)[0]
    for child in row.children:
        check_rows_add_up(child)


@pytest.mark.parametrize("width", [None, 100, 72])
def test_the_table_in_a_terminal_reads_as_reviewed(
    golden: Callable[[str, str], None], width: int | None
) -> None:
    golden(f"report_{width or 'wide'}.txt", printed(report_on(NET), width))


def test_siblings_that_cost_the_same_are_one_row() -> None:
    """Twelve of one size, and one of another; what costs nothing has no row."""
    rows = [(row.name, row.class_name, row.calls) for row in rows_of(NET).children]
    assert rows == [
        ("tokens", "Linear", ""),
        ("blocks.0-11", "Block", "12 x 24.4 mJ"),
        ("blocks.12", "Block", ""),
        ("head", "Linear", ""),
    ]
    names = [row.name for row, _ in walk_rows(rows_of(NET))]
    assert "drop" not in names


@pytest.mark.parametrize(
    ("scopes", "name"),
    [
        (("h.0", "h.1", "h.2"), "h.0-2"),
        (("h.0", "h.2", "h.3", "h.7"), "h.0,2-3,7"),
        (("h.0.fc", "h.1.fc"), "h.0-1.fc"),
        (("h.0.0", "h.0.1", "h.1.0", "h.1.1"), "h.*.*"),
        (("0", "1"), "0-1"),
        (("h2.0",), "h2.0"),
        (("9", "10"), "9-10"),
    ],
)
def test_a_merged_row_names_its_range(scopes: tuple[str, ...], name: str) -> None:
    root = net(*(linear(scope, 0.1) for scope in scopes))
    assert [row.name for row in rows_of(root).children] == [name]


def test_siblings_of_other_names_stay_apart() -> None:
    """query, key and value cost the same and are three rows."""
    root = net(linear("query", 0.1), linear("key", 0.1), linear("fc1", 0.1))
    assert [row.name for row in rows_of(root).children] == ["query", "key", "fc1"]


def test_a_module_called_under_another_parent_keeps_its_whole_name() -> None:
    root = net(part("a", "A", linear("shared.fc", 0.1)))
    assert [row.name for row, _ in walk_rows(rows_of(root))] == ["", "a", "shared.fc"]


def test_operations_of_one_name_are_one_row_with_their_mean() -> None:
    root = net(part("a", "A", leaf("add", "elementwise", 0.2), leaf("add", "elementwise", 0.1)))
    (operation,) = rows_of(root).children[0].children
    assert (operation.name, operation.calls) == ("elementwise · add", "2 x ~150 mJ")


joules = st.floats(0.0, 1e3).map(lambda it: it if it > 1e-12 else 0.0)
counts = st.integers(1, 50)
plans = st.recursive(
    st.tuples(joules, counts),
    lambda below: st.tuples(st.lists(below, max_size=4), counts),
    max_leaves=25,
)
"""Trees as nested tuples: joules of an operation or the parts of a module, and its count."""


def tree_of(plan: tuple[float | list[Any], int]) -> PricedNode:
    inside, count = plan
    if isinstance(inside, list):
        return part("x", "Part", *(tree_of(it) for it in inside), count=count)
    return leaf("mm", "linear", inside, count=count)


@given(plans)
def test_printed_rows_add_up_to_the_last_digit_at_every_level(
    plan: tuple[float | list[Any], int],
) -> None:
    root = rows_of(net(tree_of(plan), leaf("relu", "elementwise", 0.5)))
    check_rows_add_up(root)
    assert len({steps(row.energy)[1] for row, _ in walk_rows(root)}) == 1


def test_a_model_that_costs_nothing_is_printed() -> None:
    """`nn.Identity` alone: zeros, and no division by them."""
    text = printed(report_on(net()), 100)
    assert re.search(r"Net\s+0\.\d+ J\s+0\.0 %", text)


@given(st.integers(20, 200))
def test_a_narrow_terminal_keeps_names_energies_and_shares(width: int) -> None:
    columns = fitting_columns(rows_of(NET), "Net", width)
    assert [it for it in COLUMNS if it in columns] == list(columns)
    assert {"part", "energy", "share"} <= set(columns)
    assert set(columns) <= set(fitting_columns(rows_of(NET), "Net", width + 1))
    assert fitting_columns(rows_of(NET), "Net", 200) == COLUMNS


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_no_line_is_longer_than_the_terminal_and_no_name_is_cut(width: int) -> None:
    text = printed(report_on(NET), width)
    assert max(len(line) for line in text.splitlines()) <= width
    letters = re.sub(r"[^a-z_]", "", text)
    for name in ("scaled_dot_product_attention", "tokens", "qkv"):
        assert name in letters


class Cells(HTMLParser):
    """The texts of the cells of an HTML table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def test_a_note_of_several_lines_stands_below_its_first_word() -> None:
    report = replace(report_on(NET), notes=(" ".join(["word"] * 40),))
    _, _, notes = printed(report, 60).partition("how it was priced\n")
    first, *others = notes.splitlines()
    assert first.startswith("  - word")
    assert all(re.match(r" {4}word", it) for it in others)


def test_a_notebook_shows_the_same_rows() -> None:
    cells = Cells()
    cells.feed(to_html(report_on(NET)))
    assert cells.open == []
    assert cells.rows[0] == ["part", "calls", "energy", "share", "time", "FLOP", "bytes", "bound"]
    rows = [row for row, _ in walk_rows(rows_of(NET))]
    assert [(it[1], it[2]) for it in cells.rows[1:]] == [(it.calls, it.energy) for it in rows]


def test_html_shows_what_code_says_and_runs_none_of_it() -> None:
    report = replace(report_on(NET), class_name="<script>alert(1)</script>")
    assert "<script>" not in to_html(report)
    assert "&lt;script&gt;" in to_html(report)


def check_sums(node: dict[str, Any]) -> None:
    """Integers to the last digit, floats to their rounding, as docs/json.md says."""
    for key in ("flops", "bytes"):
        assert not node["children"] or node[key] == sum(
            it["count"] * it[key] for it in node["children"]
        )
    for key in ("joules", "seconds", "low", "high"):
        total = math.fsum(it["count"] * it[key] for it in node["children"])
        assert not node["children"] or math.isclose(node[key], total, rel_tol=1e-9)
    for child in node["children"]:
        check_sums(child)


@given(plans)
def test_json_follows_its_schema_and_adds_up(plan: tuple[float | list[Any], int]) -> None:
    data = json.loads(json.dumps(to_json(report_on(net(tree_of(plan))))))
    jsonschema.validate(data, SCHEMA)
    check_sums(data["tree"])


def test_json_says_what_the_model_stands_for() -> None:
    data = to_json(report_on(NET))
    assert data["target"] == {
        "class": "Net", "file": PATH, "line": 40, "arguments": "Net(width=64)",
        "dtype": "float32", "mode": "inference", "torch": "2.13.0", "transformers": None,
    }  # fmt: skip
    assert data["device"] == {"id": "A100-SXM4-80GB", "name": "NVIDIA A100-SXM4-80GB"}
    assert data["inputs"] == {
        "batch_size": 8, "sequence_length": None,
        "tensors": [{"name": "input_ids", "dtype": "int64", "shape": [8, 128]}],
    }  # fmt: skip
    assert data["assumptions"] == [
        {"text": "no padding: the mask is all ones", "file": PATH, "line": 3}
    ]
    assert data["unpriced"] == [
        {"name": "custom::scan", "reason": "no rule for its shapes", "file": None, "line": None}
    ]
    assert data["conditions"][1] == {
        "name": "model", "value": "Net(width=64)", "origin": "comment", "where": "comment, line 39",
    }  # fmt: skip


def test_lines_in_json_are_the_class_the_construction_and_the_call() -> None:
    model = to_json(report_on(NET))["tree"]
    tokens = model["children"][0]
    places = [(it["kind"], it["file"], it["line"]) for it in (model, tokens, tokens["children"][0])]
    assert places == [("model", PATH, 40), ("module", PATH, 9), ("primitive", PATH, 12)]


def test_json_says_what_is_counted_by_the_general_rule_and_which_sizes_a_gpu_computes() -> None:
    product = leaf("addmm", "linear", 3.0)
    other = leaf("custom::scan", "other", 1.0)
    operation = Operation("addmm", "float16", (), (), 1, product=(1, 100, 64, 20))
    guessed = Operation("custom::scan", "float32", (), (), 1, is_known=False)
    nodes = (
        replace(product, node=replace(product.node, operation=operation)),
        replace(other, node=replace(other.node, operation=guessed)),
    )
    data = to_json(report_on(part("", "Net", *nodes)))
    jsonschema.validate(data, SCHEMA)
    assert data["coverage"] == {
        "operations": 0.5, "flops": 0.75, "bytes": 0.75, "general": ["custom::scan"],
    }  # fmt: skip
    assert [it["operation"] for it in data["tree"]["children"]] == [
        {"dtype": "float16", "kernels": 1, "product": [1, 100, 64, 20],
         "padded": [1, 128, 64, 24]},
        {"dtype": "float32", "kernels": 1, "product": None, "padded": None},
    ]  # fmt: skip
    assert data["tree"]["operation"] is None


def test_json_of_a_profile_says_how_it_was_measured() -> None:
    profile = Profile(
        trace=report_on(NET).trace, times=(), n_runs=7, n_runs_disturbed=1, device="cpu",
        device_name="A CPU", energy_j=None, energy_std_j=None, meter="none", meter_covers="",
        load=0.5, n_threads=2, torch_version="2.13.0", measured_at="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    data = to_json(replace(report_on(NET), profile=profile))
    jsonschema.validate(data, SCHEMA)
    assert data["profile"] == {
        "device": "A CPU", "runs": 7, "runs_disturbed": 1, "meter": "none", "meter_covers": "",
        "joules": None, "joules_std": None, "load": 0.5, "threads": 2,
        "measured_at": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip


def test_every_key_of_the_json_is_documented() -> None:
    """docs/json.md names what the schema requires."""
    documented = (Path(__file__).parents[2] / "docs" / "json.md").read_text("utf-8")
    node = SCHEMA["$defs"]["node"]["required"]
    sections = [SCHEMA["required"], node, *(
        SCHEMA["properties"][name]["required"] for name in ("target", "device", "inputs", "total")
    )]  # fmt: skip
    keys = {key for section in sections for key in section}
    assert {key for key in keys if not re.search(rf"[`\"]{key}[`\"]", documented)} == set()


def test_a_small_row_shows_what_its_hint_says() -> None:
    """Two digits from 0.01 % of the model on; never 0, unless it costs nothing."""
    parts = (
        leaf("big", "linear", 2.2),
        leaf("rsqrt", "elementwise", 1.52e-3),
        leaf("tiny", "elementwise", 1e-6),
    )
    root = rows_of(part("", "Net", *parts))
    assert [it.energy for it in root.children] == ["2.2000 J", "0.0015 J", "< 0.0001 J"]
