"""The tree of a model: sums, walks, and its JSON."""

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irene.errors import TreeError
from irene.tree import (
    Assumption,
    ClassOrigin,
    Coverage,
    Location,
    Node,
    Operation,
    Primitive,
    TensorSpec,
    Trace,
    Unpriced,
    check_sums,
    coverage,
    matrix_flops,
    trace_from_json,
    trace_to_json,
    walk,
)

text = st.text(max_size=8)
count = st.integers(1, 5)
amount = st.integers(0, 10**15)
shape = st.lists(st.integers(0, 4096), max_size=4).map(tuple)
location = st.none() | st.builds(Location, text, st.integers(1, 10_000))
operation = st.builds(
    Operation,
    text,
    st.sampled_from(["float32", "bfloat16", "int64"]),
    st.lists(shape, max_size=3).map(tuple),
    st.lists(shape, max_size=2).map(tuple),
    st.integers(0, 9),
    st.integers(0, 9),
    st.none() | st.tuples(amount, amount, amount, amount),
    st.booleans(),
)
primitive = st.builds(
    Node,
    scope=text,
    class_name=text,
    kind=st.just("primitive"),
    primitive=st.sampled_from(get_args(Primitive)),
    count=count,
    flops=amount,
    n_bytes=amount,
    n_parameters=amount,
    created_at=location,
    called_at=location,
    origin=st.none(),
    operation=operation,
    children=st.just(()),
)


def parent(children: tuple[Node, ...], scope: str, calls: int, at: Location | None) -> Node:
    return Node(
        scope=scope,
        class_name="Block",
        kind="module",
        primitive=None,
        count=calls,
        flops=sum(it.count * it.flops for it in children),
        n_bytes=sum(it.count * it.n_bytes for it in children),
        n_parameters=0,
        created_at=at,
        called_at=None,
        origin=ClassOrigin("/net.py", "Block"),
        operation=None,
        children=children,
    )


def grow(below: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    children = st.lists(below, max_size=3).map(tuple)
    return st.builds(parent, children, text, count, location)


nodes = st.recursive(primitive, grow, max_leaves=12)
traces = st.builds(
    Trace,
    root=nodes,
    mode=st.just("inference"),
    arguments=text,
    inputs=st.lists(st.builds(TensorSpec, text, text, shape), max_size=2).map(tuple),
    dtype=text,
    assumptions=st.lists(st.builds(Assumption, text, location), max_size=2).map(tuple),
    unpriced=st.lists(st.builds(Unpriced, text, text, location), max_size=2).map(tuple),
    torch_version=text,
    transformers_version=st.none() | text,
)


def leaf(primitive: Primitive, flops: int, n_bytes: int, calls: int = 1) -> Node:
    return Node(
        scope="fc",
        class_name=primitive,
        kind="primitive",
        primitive=primitive,
        count=calls,
        flops=flops,
        n_bytes=n_bytes,
        n_parameters=0,
        created_at=None,
        called_at=None,
        origin=None,
        operation=Operation(primitive, "float32", (), (), 1),
        children=(),
    )


TREE = parent(
    (parent((leaf("linear", 10, 4, 2), leaf("softmax", 3, 2)), "b", 12, None),), "", 1, None
)


@given(traces)
def test_a_trace_survives_its_json(trace: Trace) -> None:
    assert trace_from_json(json.loads(json.dumps(trace_to_json(trace)))) == trace


@given(nodes)
def test_a_tree_made_of_its_children_adds_up(node: Node) -> None:
    assert check_sums(node) == []


@given(nodes)
def test_calls_multiply_on_the_way_down(node: Node) -> None:
    leaves = [(it, calls) for it, calls in walk(node) if it.kind == "primitive"]
    assert sum(calls * it.flops for it, calls in leaves) == node.flops


def test_a_walk_visits_parents_first_with_their_calls() -> None:
    assert [(it.class_name, calls) for it, calls in walk(TREE)] == [
        ("Block", 1),
        ("Block", 12),
        ("linear", 24),
        ("softmax", 12),
    ]


def test_matrix_flops_leave_out_everything_else() -> None:
    assert matrix_flops(TREE) == 12 * 2 * 10


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (replace(TREE, flops=1), "Block: children have 276 FLOP and 120 bytes, the node 1 and 120"),
        (
            replace(TREE, n_bytes=7, scope="enc"),
            "enc: children have 276 FLOP and 120 bytes, the node 276 and 7",
        ),
    ],
)
def test_a_tree_that_does_not_add_up_is_named(broken: Node, problem: str) -> None:
    assert check_sums(broken) == [problem]


def by_general_rule(node: Node, n_kernels: int = 1) -> Node:
    operation = Operation("invention", "float32", (), (), n_kernels, is_known=False)
    return replace(node, class_name="invention", operation=operation)


def test_coverage_is_the_share_of_what_has_a_rule_by_name() -> None:
    """Of launches, FLOPs and bytes, each as often as it runs."""
    guessed = by_general_rule(leaf("other", 1, 6))
    root = parent((parent((leaf("linear", 10, 4, 2), guessed), "b", 3, None),), "", 1, None)
    assert coverage(root) == Coverage(2 / 3, 20 / 21, 8 / 14, ("invention",))
    assert coverage(TREE) == Coverage(1.0, 1.0, 1.0, ())


@given(nodes)
def test_shares_of_coverage_lie_between_nothing_and_all(node: Node) -> None:
    found = coverage(node)
    for share in (found.operations, found.flops, found.n_bytes):
        assert 0.0 <= share <= 1.0


def sound_json() -> dict[str, Any]:
    return trace_to_json(Trace(TREE, "inference", "", (), "float32", (), (), "2.13.0", None))


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {**sound_json(), "mode": "training"},
        {**sound_json(), "root": {}},
        {**sound_json(), "inputs": [["x", "float32"]]},
        {**sound_json(), "root": {**sound_json()["root"], "flops": "many"}},
        {**sound_json(), "root": {**sound_json()["root"], "flops": float("inf")}},
        {**sound_json(), "root": {**sound_json()["root"], "kind": "layer"}},
        {**sound_json(), "root": {**sound_json()["root"], "children": None}},
    ],
)
def test_malformed_json_is_one_kind_of_error(data: object) -> None:
    with pytest.raises(TreeError, match="malformed trace"):
        trace_from_json(data)
