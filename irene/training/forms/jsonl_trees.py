"""JSONL trees: one line per model, batch size and length, nodes nested by their children."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, get_args

from irene.errors import DatasetError
from irene.training.forms.sanity import check_units, count_from, energy_from, number_from
from irene.training.measurements import (
    RESOURCES,
    Cell,
    Dataset,
    MeasuredNode,
    NodeType,
    fragments,
)
from irene.writing import write_whole

_Json: TypeAlias = Any
"""Parsed JSON: what it is is found out here."""

_KEYS = ("id", "scope", "instance_type", "type", "num_parameters", "flops", "mem_bytes")


def read_jsonl(path: Path, *, with_energies: bool) -> Dataset:
    """All trees of a file.

    Raises:
        DatasetError: a line is not a tree, an id is there twice, a value cannot be right.
    """
    cells: dict[tuple[str, int, int], Cell] = {}
    ids: dict[str, str] = {}
    for where, line in _lines(path):
        cell = _cell(line, where, ids, with_energies=with_energies)
        key = (cell.model_name, cell.batch_size, cell.seq_len)
        if key in cells:
            raise DatasetError(
                f"{where}: {key[0]} at {key[1]} x {key[2]} is there twice; remove one of them"
            )
        cells[key] = cell
    dataset = Dataset(tuple(cells.values()), fragments(cells.values()))
    check_units([node for _, node in dataset.nodes()], str(path))
    return dataset


def write_jsonl(
    dataset: Dataset, path: Path, predicted_j: Mapping[int, float] | None = None
) -> None:
    """The trees, one a line; `predicted_j` by the running number of the node is added.

    A cell whose model was not measured has no root and cannot be written.

    Raises:
        DatasetError: the data have such a cell.
    """
    lines, first_id = [], 0
    for cell in dataset.cells:
        if not cell.is_whole:
            raise DatasetError(
                f"{cell.model_name} at {cell.batch_size} x {cell.seq_len} has no row of the whole "
                "model: a tree needs a root; measure it, or remove the cell"
            )
        lines.append(json.dumps(_line(cell, first_id, predicted_j or {}), allow_nan=False) + "\n")
        first_id += len(cell.nodes)
    write_whole(path, "".join(lines))


NodeKey = tuple[str, int, int, str, str]


def read_predictions(path: Path) -> dict[NodeKey, list[float | None]]:
    """`predicted_energy` of the nodes of a file, by model, batch, length, scope and class.

    Several nodes of one key, as the two products of an attention, stay in their order; None
    is a node without a prediction.

    Raises:
        DatasetError: not there, or a line is not a tree of predictions.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; `irene predict` writes it")
    found: dict[NodeKey, list[float | None]] = {}
    for where, line in _lines(path):
        (model, batch, length), root = _open(line, where)
        for node, _ in _walk(root, -1, where):
            scope, class_name = (str(_get(node, it, where)) for it in ("scope", "instance_type"))
            energy = node.get("predicted_energy")
            if energy is not None:
                energy = number_from(energy, where, f"predicted_energy of {scope}:{class_name}")
            found.setdefault((model, batch, length, scope, class_name), []).append(energy)
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not blank, each after where it is."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as err:
        raise DatasetError(f"{path}: not UTF-8 text ({err}); give a JSONL file of trees") from err
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line


def _cell(line: str, where: str, ids: dict[str, str], *, with_energies: bool) -> Cell:
    head, root = _open(line, where)
    nodes: list[MeasuredNode] = []
    parents: list[int] = []
    for node, parent in _walk(root, -1, where):
        node_id = str(_get(node, "id", where))
        if node_id in ids:
            raise DatasetError(
                f"{where}: id {node_id} is there twice, first in {ids[node_id]}; ids are unique "
                "over the file"
            )
        ids[node_id] = where
        nodes.append(_node(node, where, with_energies=with_energies))
        parents.append(parent)
    return Cell(*head, tuple(nodes), tuple(parents))


def _open(line: str, where: str) -> tuple[tuple[str, int, int], _Json]:
    try:
        data = json.loads(line)
        model_name, root = str(data["model_name"]), data["frontend_tree"]
        sizes = data["batch_size"], data["seq_len"]
    except ValueError as err:
        raise DatasetError(
            f"{where}: not a whole JSON object ({err}); the file was cut short, copy it again"
        ) from err
    except (KeyError, TypeError) as err:
        raise DatasetError(
            f"{where}: no {err}; a line has model_name, batch_size, seq_len and frontend_tree"
        ) from err
    batch, length = (
        count_from(it, where, what)
        for it, what in zip(sizes, ("batch_size", "seq_len"), strict=True)
    )
    return (model_name, batch, length), root


def _walk(root: _Json, parent: int, where: str) -> Iterator[tuple[_Json, int]]:
    """Nodes with the index of their parent, parents first, level by level."""
    pending, place = [(root, parent)], 0
    while place < len(pending):
        node, _ = pending[place]
        if not isinstance(node, dict):
            raise DatasetError(f"{where}: a node is {node!r}, not an object of keys and values")
        yield pending[place]
        pending.extend((child, place) for child in node.get("child_nodes_obj") or ())
        place += 1


def _node(data: _Json, where: str, *, with_energies: bool) -> MeasuredNode:
    values = {key: _get(data, key, where) for key in _KEYS}
    name = f"{values['scope']}:{values['instance_type']}"
    node_type: NodeType = values["type"]
    if node_type not in get_args(NodeType):
        raise DatasetError(
            f"{where}: the type of {name} is {node_type!r}, not {get_args(NodeType)}"
        )
    energy = data.get("ground_truth_energy")
    return MeasuredNode(
        scope=str(values["scope"]),
        class_name=str(values["instance_type"]),
        node_type=node_type,
        n_parameters=int(number_from(values["num_parameters"], where, f"num_parameters of {name}")),
        n_mflop=number_from(values["flops"], where, f"flops of {name}"),
        n_mib=number_from(values["mem_bytes"], where, f"mem_bytes of {name}"),
        resources=tuple(_optional(data.get(it), where, f"{it} of {name}") for it in RESOURCES),
        energy_j=energy_from(energy, where, name, required=with_energies),
    )


def _get(data: _Json, key: str, where: str) -> _Json:
    try:
        return data[key]
    except (KeyError, TypeError) as err:
        raise DatasetError(f"{where}: a node has no {key!r}; each node needs it") from err


def _optional(value: _Json, where: str, what: str) -> float:
    return math.nan if value is None else number_from(value, where, what)


def _line(cell: Cell, first_id: int, predicted_j: Mapping[int, float]) -> dict[str, Any]:
    children: list[list[int]] = [[] for _ in cell.nodes]
    for place, parent in enumerate(cell.parents):
        if parent >= 0:
            children[parent].append(place)
    trees: list[dict[str, Any]] = [{} for _ in cell.nodes]
    levels = _levels(cell.parents)
    for place in reversed(range(len(cell.nodes))):
        trees[place] = {
            **_flat(cell, place, levels[place], first_id),
            "child_nodes_obj": [trees[child] for child in children[place]],
            "child_nodes": [cell.nodes[child].scope for child in children[place]],
        }
        if first_id + place in predicted_j:
            trees[place]["predicted_energy"] = predicted_j[first_id + place]
    return {
        "model_name": cell.model_name,
        "batch_size": cell.batch_size,
        "seq_len": cell.seq_len,
        "frontend_tree": trees[0],
    }


def _flat(cell: Cell, place: int, level: int, first_id: int) -> dict[str, Any]:
    node, parent = cell.nodes[place], cell.parents[place]
    resources = dict(zip(RESOURCES, node.resources, strict=True))
    return {
        "id": first_id + place,
        "scope": node.scope,
        "parent_name": None if parent < 0 else cell.nodes[parent].scope,
        "level": level,
        "instance_type": node.class_name,
        "type": node.node_type,
        "num_parameters": node.n_parameters,
        "flops": node.n_mflop,
        "mem_bytes": node.n_mib,
        **{name: None if math.isnan(value) else value for name, value in resources.items()},
        "ground_truth_energy": node.energy_j,
    }


def _levels(parents: Sequence[int]) -> list[int]:
    """Depth of each node; a root has 0."""
    levels: list[int] = []
    for parent in parents:
        levels.append(0 if parent < 0 else levels[parent] + 1)
    return levels
