"""The four CSV files of one machine, as the paper published them.

`ml1`, `ml2`, `module`, `model` + `_level_features.csv`; `level_name` is `scope:ClassName`, at
model level the model's name. The trees are rebuilt from the scopes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from irene.errors import DatasetError
from irene.training.forms.parameter_counts import knows, leaf_parameters
from irene.training.forms.rebuilding import rebuild
from irene.training.forms.sanity import check_units, count_from, energy_from, number_from
from irene.training.measurements import (
    RESOURCES,
    ROOT_SCOPE,
    Cell,
    Dataset,
    MeasuredNode,
    NodeType,
    fragments,
)
from irene.writing import write_whole

FILES: dict[NodeType, str] = {
    "ml": "ml1_level_features.csv",
    "ml-np": "ml2_level_features.csv",
    "module": "module_level_features.csv",
    "model": "model_level_features.csv",
}
COLUMNS = (
    "batch_size",
    "seq_len",
    "flops",
    "mem_bytes",
    *RESOURCES,
    "energy_mean",
    "level_name",
    "model_name",
)
_N_SHARED = {"ml-np": 2}
"""How many rows of one cell may have one name: the two matrix products of an attention."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row with the cell that it belongs to."""

    cell: tuple[str, int, int]
    node: MeasuredNode


def read_csv_folder(folder: Path, *, with_energies: bool) -> Dataset:
    """All cells of a machine.

    Raises:
        DatasetError: a file is missing, cut short or has values that cannot be right.
    """
    rows: list[_Row] = []
    for node_type, name in FILES.items():
        path = folder / name
        if not path.is_file():
            raise DatasetError(f"{path}: missing; the folder needs {', '.join(FILES.values())}")
        found = list(_rows(path, node_type, with_energies=with_energies))
        check_units([row.node for row in found], str(path))
        rows.extend(found)
    try:
        cells = tuple(_cells(rows))
    except DatasetError as err:
        raise DatasetError(f"{folder}: {err}") from err
    return Dataset(cells, fragments(cells))


def write_csv_folder(dataset: Dataset, folder: Path) -> None:
    """The inverse of `read_csv_folder`; the files are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for node_type, name in FILES.items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for cell, node in dataset.nodes():
            if node.node_type == node_type:
                writer.writerow(_cells_of(cell, node))
        write_whole(folder / name, text.getvalue())


def _cells_of(cell: Cell, node: MeasuredNode) -> list[str]:
    numbers = (
        float(cell.batch_size),
        float(cell.seq_len),
        node.n_mflop,
        node.n_mib,
        *node.resources,
        math.nan if node.energy_j is None else node.energy_j,
    )
    is_model = node.node_type == "model"
    name = cell.model_name if is_model else f"{node.scope}:{node.class_name}"
    return [*("" if math.isnan(it) else repr(it) for it in numbers), name, cell.model_name]


def _rows(path: Path, node_type: NodeType, *, with_energies: bool) -> Iterator[_Row]:
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        n_lines = text.count("\n") + 1
        raise DatasetError(
            f"{path}, line {n_lines}: the file ends in the middle of a line, it was cut short; "
            "copy it again"
        )
    reader = csv.reader(io.StringIO(text))
    places = _places(next(reader, []), path)
    seen: dict[tuple[tuple[str, int, int], str], int] = {}
    for cells in reader:
        where = f"{path}, line {reader.line_num}"
        row = _row(cells, places, node_type, where, with_energies=with_energies)
        key = (row.cell, f"{row.node.scope}:{row.node.class_name}")
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > _N_SHARED.get(node_type, 1):
            raise DatasetError(
                f"{where}: {key[1]} of {row.cell[0]} at {row.cell[1]} x {row.cell[2]} is there "
                "twice; remove one of them"
            )
        yield row


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DatasetError(
            f"{path}, line 1: no column {', '.join(missing)}; the header must name every column"
        )
    return {name: header.index(name) for name in COLUMNS}


def _row(
    cells: Sequence[str],
    places: dict[str, int],
    node_type: NodeType,
    where: str,
    *,
    with_energies: bool,
) -> _Row:
    if len(cells) <= max(places.values()):
        raise DatasetError(
            f"{where}: {len(cells)} values where {len(places)} are needed; the file was cut short "
            "or damaged, copy it again"
        )
    values = {name: cells[place] for name, place in places.items()}
    name = values["level_name"]
    scope, _, class_name = name.rpartition(":")
    if node_type == "model":
        scope, class_name = ROOT_SCOPE, name
    node = MeasuredNode(
        scope=scope,
        class_name=class_name,
        node_type=node_type,
        n_parameters=-1,  # counted when the cell is known, below
        n_mflop=number_from(values["flops"], where, "flops"),
        n_mib=number_from(values["mem_bytes"], where, "mem_bytes"),
        resources=tuple(_optional(values, it, where) for it in RESOURCES),
        energy_j=energy_from(values["energy_mean"], where, name, required=with_energies),
    )
    shape = (
        count_from(values["batch_size"], where, "batch_size"),
        count_from(values["seq_len"], where, "seq_len"),
    )
    return _Row((values["model_name"], *shape), node)


def _optional(values: dict[str, str], column: str, where: str) -> float:
    """A number, or NaN for what was not measured."""
    return number_from(values[column], where, column) if values[column] else math.nan


def _cells(rows: Sequence[_Row]) -> Iterator[Cell]:
    by_cell: dict[tuple[str, int, int], list[MeasuredNode]] = {}
    for row in sorted(rows, key=lambda row: row.node.node_type != "model"):  # in the models' order
        by_cell.setdefault(row.cell, []).append(row.node)
    for (model_name, batch_size, seq_len), nodes in by_cell.items():
        yield _with_parameters(rebuild(model_name, batch_size, seq_len, nodes))


def _with_parameters(cell: Cell) -> Cell:
    """Parameters of leaves from the models' shapes, of inner nodes as the sum below them."""
    if not knows(cell.model_name):
        raise DatasetError(
            f"{cell.model_name}: its number of parameters is not known here, and the CSV files "
            "have no column for it; give the data as JSONL trees"
        )
    counts = [0] * len(cell.nodes)
    for place in reversed(range(len(cell.nodes))):
        node = cell.nodes[place]
        if node.level == "ml":
            own = leaf_parameters(cell.model_name, node.scope, node.class_name)
            if own is None:
                raise DatasetError(
                    f"{cell.model_name}: {node.scope}:{node.class_name} is no layer of the "
                    "published model; give the data as JSONL trees"
                )
            counts[place] += own
        if cell.parents[place] >= 0:
            counts[cell.parents[place]] += counts[place]
    nodes = tuple(
        replace(node, n_parameters=count) for node, count in zip(cell.nodes, counts, strict=True)
    )
    return replace(cell, nodes=nodes)
