"""The tree of a model: model, modules, ML primitives, with their costs in integers.

IrEne (ACL 2021) breaks a model down into modules and these into primitives. Here every
operation that a forward pass issues belongs to exactly one primitive leaf, so that at
each node the children times their counts add up to the node: in FLOPs and bytes as
integers, and so in energy. The worker writes these values, every other room reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from irene.errors import TreeError

NodeKind = Literal["model", "module", "primitive"]
Primitive = Literal[
    "linear",
    "matmul",
    "attention",
    "conv1d",
    "conv2d",
    "conv3d",
    "recurrent",
    "softmax",
    "layer_norm",
    "embedding",
    "elementwise",
    "other",
]
Mode = Literal["inference"]
TorchDevice = Literal["cpu", "cuda"]
"""Where a tensor is, as torch says it."""

NvidiaGeneration = Literal[
    "sm_60", "sm_61", "sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"
]
"""NVIDIA's GPUs by compute capability, named as in `torch.cuda.get_arch_list`."""

DeviceType = TorchDevice | NvidiaGeneration
"""Whose kernels torch runs; "cuda" is a GPU of another make, which has those of sm_80."""

MATRIX_PRIMITIVES: frozenset[Primitive] = frozenset(
    {"linear", "matmul", "attention", "conv1d", "conv2d", "conv3d", "recurrent"}
)
"""Primitives whose FLOPs are those of their matrix products alone."""


@dataclass(frozen=True, slots=True)
class Location:
    """A line (1-based) of a source file, by absolute path."""

    path: str
    line: int


@dataclass(frozen=True, slots=True)
class ClassOrigin:
    """Where a module's class is defined: the file and the qualified name in it."""

    path: str
    qualified_name: str


Product = tuple[int, int, int, int]
"""(b, m, n, k): b products of (m, k) by (k, n)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What the device runs for one primitive: all that a price needs beside the costs."""

    name: str  # torch's name, "addmm"
    dtype: str  # of the arithmetic, "float32"
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    n_kernels: int  # launches in eager mode; 0 where it rides in another's kernel
    n_steps: int = 0  # of a recurrent layer: steps that wait for one another, all layers together
    product: Product | None = None  # its matrix product; None: it is none, or one of several parts
    is_known: bool = True  # priced by a rule of its own name, not by the general rule


@dataclass(frozen=True, slots=True)
class Node:
    """A model, module or primitive; its costs are those of one call.

    `count` is how often the node is called in one call of its parent. `n_bytes` is the
    compulsory traffic of its operations, `n_parameters` the distinct parameters below it
    (tied ones once). A primitive has an `operation` and no children; a model or module
    has an `origin` and no operation.
    """

    scope: str  # as in `named_modules()`; a primitive has its module's scope
    class_name: str  # the class, or the operation's name
    kind: NodeKind
    primitive: Primitive | None
    count: int
    flops: int
    n_bytes: int
    n_parameters: int
    created_at: Location | None  # where the user's code constructed the module
    called_at: Location | None  # innermost line of the user's code that issued the call
    origin: ClassOrigin | None
    operation: Operation | None
    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named input of `forward`: its dtype and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Assumption:
    """Something that the code left open and a convention decided."""

    text: str
    location: Location | None


@dataclass(frozen=True, slots=True)
class Unpriced:
    """An operation that was seen but has no price; it is named, never counted as 0."""

    name: str
    reason: str
    location: Location | None


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward pass as it was seen: the tree, and what it stands for."""

    root: Node
    mode: Mode
    arguments: str  # how the model was built, as Python: "BertModel(BertConfig())"
    inputs: tuple[TensorSpec, ...]
    dtype: str  # of the parameters
    assumptions: tuple[Assumption, ...]
    unpriced: tuple[Unpriced, ...]
    torch_version: str
    transformers_version: str | None


def walk(node: Node, calls: int = 1) -> Iterator[tuple[Node, int]]:
    """Every node below and including `node`, parents first, with its calls per root call."""
    yield node, calls
    for child in node.children:
        yield from walk(child, calls * child.count)


def check_sums(root: Node) -> list[str]:
    """What does not add up, one sentence for each node; empty for a sound tree."""
    problems = []
    for node, _ in walk(root):
        if node.kind == "primitive":
            continue
        flops = sum(child.count * child.flops for child in node.children)
        n_bytes = sum(child.count * child.n_bytes for child in node.children)
        if (flops, n_bytes) != (node.flops, node.n_bytes):
            problems.append(
                f"{node.scope or node.class_name}: children have {flops} FLOP and {n_bytes} bytes, "
                f"the node {node.flops} and {node.n_bytes}"
            )
    return problems


def matrix_flops(root: Node) -> int:
    """FLOPs of all matrix products below `root`, for one call of it."""
    return sum(
        calls * node.flops for node, calls in walk(root) if node.primitive in MATRIX_PRIMITIVES
    )


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a tree is priced by rules that know their operation, as shares of 1."""

    operations: float  # launches
    flops: float
    n_bytes: float
    by_general_rule: tuple[str, ...]  # names of the others, the most bytes first


def coverage(root: Node) -> Coverage:
    """Which share of the operations below `root` has a rule by name; the rest has the general one.

    A share of nothing is 1.
    """
    known, whole = [0, 0, 0], [0, 0, 0]
    others: dict[str, int] = {}
    for node, calls in walk(root):
        if node.operation is None:
            continue
        figures = calls * node.operation.n_kernels, calls * node.flops, calls * node.n_bytes
        for i, figure in enumerate(figures):
            whole[i] += figure
            known[i] += figure if node.operation.is_known else 0
        if not node.operation.is_known:
            others[node.class_name] = others.get(node.class_name, 0) + figures[2]
    operations, flops, n_bytes = (
        part / total if total else 1.0 for part, total in zip(known, whole, strict=True)
    )
    names = tuple(sorted(others, key=lambda it: -others[it]))
    return Coverage(operations, flops, n_bytes, names)


def trace_to_json(trace: Trace) -> dict[str, Any]:
    """A trace as plain JSON values, for the pipe and the cache."""
    return {
        "root": _node_to_json(trace.root),
        "mode": trace.mode,
        "arguments": trace.arguments,
        "inputs": [[spec.name, spec.dtype, list(spec.shape)] for spec in trace.inputs],
        "dtype": trace.dtype,
        "assumptions": [[it.text, _location_to_json(it.location)] for it in trace.assumptions],
        "unpriced": [[it.name, it.reason, _location_to_json(it.location)] for it in trace.unpriced],
        "torch_version": trace.torch_version,
        "transformers_version": trace.transformers_version,
    }


def trace_from_json(data: Any) -> Trace:
    """The inverse of `trace_to_json`.

    Raises:
        TreeError: `data` is not what `trace_to_json` writes.
    """
    try:
        return Trace(
            root=_node_from_json(data["root"]),
            mode=_one_of(data["mode"], Mode, "mode"),
            arguments=str(data["arguments"]),
            inputs=tuple(
                TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in data["inputs"]
            ),
            dtype=str(data["dtype"]),
            assumptions=tuple(
                Assumption(text, _location_from_json(at)) for text, at in data["assumptions"]
            ),
            unpriced=tuple(
                Unpriced(name, reason, _location_from_json(at))
                for name, reason, at in data["unpriced"]
            ),
            torch_version=str(data["torch_version"]),
            transformers_version=data["transformers_version"],
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as err:
        raise TreeError(f"malformed trace: {type(err).__name__}: {err}") from err


def _node_to_json(node: Node) -> dict[str, Any]:
    operation = node.operation
    return {
        "scope": node.scope,
        "class": node.class_name,
        "kind": node.kind,
        "primitive": node.primitive,
        "count": node.count,
        "flops": node.flops,
        "bytes": node.n_bytes,
        "parameters": node.n_parameters,
        "created_at": _location_to_json(node.created_at),
        "called_at": _location_to_json(node.called_at),
        "origin": None if node.origin is None else [node.origin.path, node.origin.qualified_name],
        "operation": None
        if operation is None
        else [
            operation.name,
            operation.dtype,
            [list(shape) for shape in operation.input_shapes],
            [list(shape) for shape in operation.output_shapes],
            operation.n_kernels,
            operation.n_steps,
            None if operation.product is None else list(operation.product),
            operation.is_known,
        ],
        "children": [_node_to_json(child) for child in node.children],
    }


def _node_from_json(data: Any) -> Node:
    origin, operation = data["origin"], data["operation"]
    primitive = data["primitive"]
    return Node(
        scope=str(data["scope"]),
        class_name=str(data["class"]),
        kind=_one_of(data["kind"], NodeKind, "kind"),
        primitive=None if primitive is None else _one_of(primitive, Primitive, "primitive"),
        count=int(data["count"]),
        flops=int(data["flops"]),
        n_bytes=int(data["bytes"]),
        n_parameters=int(data["parameters"]),
        created_at=_location_from_json(data["created_at"]),
        called_at=_location_from_json(data["called_at"]),
        origin=None if origin is None else ClassOrigin(*origin),
        operation=None
        if operation is None
        else Operation(
            name=operation[0],
            dtype=operation[1],
            input_shapes=tuple(tuple(shape) for shape in operation[2]),
            output_shapes=tuple(tuple(shape) for shape in operation[3]),
            n_kernels=int(operation[4]),
            n_steps=int(operation[5]),
            product=None if operation[6] is None else _product(operation[6]),
            is_known=bool(operation[7]),
        ),
        children=tuple(_node_from_json(child) for child in data["children"]),
    )


def _product(sizes: Any) -> Product:
    b, m, n, k = (int(it) for it in sizes)
    return b, m, n, k


def _location_to_json(location: Location | None) -> list[Any] | None:
    return None if location is None else [location.path, location.line]


def _location_from_json(data: Any) -> Location | None:
    return None if data is None else Location(str(data[0]), int(data[1]))


def _one_of(value: Any, choices: Any, what: str) -> Any:
    if value not in get_args(choices):
        raise TreeError(f"malformed trace: {what} is {value!r}, not one of {get_args(choices)}")
    return cast("str", value)
