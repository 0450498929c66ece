"""Measured cells as arrays: one row per node, parents by index, levels of the trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irene.errors import DatasetError
from irene.training.measurements import RESOURCES, Cell
from irene.training.paper.config import FeatureSet

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

SPECS = ("num_parameters", "input_size", "batch_size", "seq_len", "flops", "mem_bytes")
COLUMNS = SPECS + RESOURCES


@dataclass(frozen=True, slots=True)
class NodeTable:
    """Nodes of all cells, cell by cell, parents before children."""

    features: Floats  # (n, 14), in the order of COLUMNS
    energy_j: Floats  # NaN where unknown
    kinds: tuple[str, ...]  # class names in lower case
    is_leaf: NDArray[np.bool_]
    parents: Places  # -1 for a root
    depths: Places
    cells: Places


def tabulate(cells: Sequence[Cell]) -> NodeTable:
    """All nodes of `cells` in their order."""
    features: list[tuple[float, ...]] = []
    energies: list[float] = []
    kinds: list[str] = []
    leaves: list[bool] = []
    parents: list[int] = []
    depths: list[int] = []
    numbers: list[int] = []
    for number, cell in enumerate(cells):
        first, shape = len(features), (cell.batch_size, cell.seq_len)
        size = cell.batch_size * cell.seq_len
        for node, parent in zip(cell.nodes, cell.parents, strict=True):
            specs = (node.n_parameters, size, *shape, node.n_mflop, node.n_mib)
            features.append((*specs, *node.resources))
            energies.append(np.nan if node.energy_j is None else node.energy_j)
            kinds.append(node.class_name.lower())
            leaves.append(node.level == "ml")
            parents.append(parent if parent < 0 else first + parent)
            depths.append(0 if parent < 0 else depths[first + parent] + 1)
            numbers.append(number)
    return NodeTable(
        np.array(features, dtype=float).reshape(-1, len(COLUMNS)),
        np.array(energies, dtype=float),
        tuple(kinds),
        np.array(leaves, dtype=bool),
        np.array(parents, dtype=np.intp),
        np.array(depths, dtype=np.intp),
        np.array(numbers, dtype=np.intp),
    )


def select(table: NodeTable, sets: Sequence[FeatureSet], rows: NDArray[np.bool_]) -> Floats:
    """The columns of the feature sets, all rows; those of `rows` must be known.

    Raises:
        DatasetError: a node that was not run, where runtime features are asked for.
    """
    names = list(SPECS[:2])
    names += SPECS[2:] if "model_specs" in sets else ()
    names += RESOURCES if "resource_utilization" in sets else ()
    chosen = table.features[:, [COLUMNS.index(name) for name in names]]
    missing = np.isnan(chosen).any(axis=1) & rows
    if missing.any():
        raise DatasetError(
            f"{int(missing.sum())} nodes were not run, so they have no resource_utilization: "
            "profile them, or use feature_sets [model_specs]"
        )
    return chosen
