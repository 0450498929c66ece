"""The JSON of an estimate, schema 1: docs/json.md explains it, docs/estimate.schema.json checks it."""

from __future__ import annotations

from typing import Any

from irene.energy.prices import PricedNode
from irene.energy.tiles import padded
from irene.report.findings import Report
from irene.tree import Location, Node, Operation, coverage
from irene.worker.protocol import Profile

SCHEMA = 1

Json = dict[str, Any]
"""An object of JSON values."""


def to_json(report: Report) -> Json:
    """A report as plain JSON values; joules, seconds, FLOP (a multiply-add is 2) and bytes."""
    return {
        "schema": SCHEMA,
        "target": _target(report),
        "device": {"id": report.device_id, "name": report.device_name},
        "inputs": _inputs(report),
        "total": _total(report.priced),
        "tree": _node(report.priced, report.line),
        "coverage": _coverage(report.trace.root),
        "conditions": [
            {"name": it.name, "value": it.value, "origin": it.origin, "where": it.where}
            for it in report.conditions
        ],
        "assumptions": [
            {"text": it.text, **_place(it.location)} for it in report.trace.assumptions
        ],
        "unpriced": [
            {"name": it.name, "reason": it.reason, **_place(it.location)}
            for it in report.trace.unpriced
        ],
        "notes": list(report.notes),
        "profile": None if report.profile is None else _profile(report.profile),
    }


def _target(report: Report) -> Json:
    trace = report.trace
    return {
        "class": report.class_name,
        "file": report.path or None,
        "line": report.line,
        "arguments": trace.arguments,
        "dtype": trace.dtype,
        "mode": trace.mode,
        "torch": trace.torch_version,
        "transformers": trace.transformers_version,
    }


def _inputs(report: Report) -> Json:
    return {
        "batch_size": report.batch_size,
        "sequence_length": report.sequence_length,
        "tensors": [
            {"name": it.name, "dtype": it.dtype, "shape": list(it.shape)}
            for it in report.trace.inputs
        ],
    }


def _total(root: PricedNode) -> Json:
    return {
        "joules": root.energy.joules,
        "low": root.energy.low_j,
        "high": root.energy.high_j,
        "seconds": root.energy.seconds,
        "flops": root.node.flops,
        "bytes": root.node.n_bytes,
        "parameters": root.node.n_parameters,
        "kind": root.kind,
    }


def _coverage(root: Node) -> Json:
    found = coverage(root)
    return {
        "operations": found.operations,
        "flops": found.flops,
        "bytes": found.n_bytes,
        "general": list(found.by_general_rule),
    }


def _operation(operation: Operation) -> Json:
    """What the device runs for a primitive; a product also as its tiles make it."""
    product = operation.product
    return {
        "dtype": operation.dtype,
        "kernels": operation.n_kernels,
        "product": None if product is None else list(product),
        "padded": None if product is None else list(padded(product, operation.dtype)),
    }


def _node(priced: PricedNode, class_line: int | None) -> Json:
    """`class_line` is where the model's class stands: nobody's code constructs the model."""
    node, energy = priced.node, priced.energy
    place = _place(_location(node))
    if node.kind == "model":
        place = {"file": node.origin.path if node.origin else None, "line": class_line}
    return {
        "scope": node.scope,
        "class": node.class_name,
        "kind": node.kind,
        "primitive": node.primitive,
        "count": node.count,
        **place,
        "flops": node.flops,
        "bytes": node.n_bytes,
        "parameters": node.n_parameters,
        "seconds": energy.seconds,
        "joules": energy.joules,
        "low": energy.low_j,
        "high": energy.high_j,
        "bound": priced.bound,
        "operation": None if node.operation is None else _operation(node.operation),
        "children": [_node(child, None) for child in priced.children],
    }


def _location(node: Node) -> Location | None:
    """Where a module was constructed, where an operation was called."""
    return node.called_at if node.kind == "primitive" else node.created_at


def _place(location: Location | None) -> Json:
    return {
        "file": None if location is None else location.path,
        "line": None if location is None else location.line,
    }


def _profile(profile: Profile) -> Json:
    return {
        "device": profile.device_name,
        "runs": profile.n_runs,
        "runs_disturbed": profile.n_runs_disturbed,
        "meter": profile.meter,
        "meter_covers": profile.meter_covers,
        "joules": profile.energy_j,
        "joules_std": profile.energy_std_j,
        "load": profile.load,
        "threads": profile.n_threads,
        "measured_at": profile.measured_at,
    }
