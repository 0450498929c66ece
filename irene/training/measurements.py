"""Measured trees as flat values: what both data forms are read into.

A `Cell` is one model at one batch size and sequence length. Its nodes lie parents first;
`parents` holds the index of each node's parent in the same cell, -1 for the root and for
the head of a fragment (a cell whose model row was not measured). Units are the files':
MFLOP, MiB, joules, seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ml", "module", "model"]
LEVELS: tuple[Level, ...] = ("ml", "module", "model")
NodeType = Literal["model", "module", "ml", "ml-np"]

ROOT_SCOPE = "root"
RESOURCES = (
    "cpu",
    "mem",
    "gpu",
    "gpu_mem",
    "gpu_clk",
    "gpu_mem_clk",
    "times_mean",
    "gpu_energy_mean",
)
"""Columns that exist only for a node that was run, in the files' order."""

BERT_FAMILY = ("bert-base-uncased", "distilbert-base-uncased", "roberta-base")
GPT_FAMILY = ("gpt2", "distilgpt2", "openai-gpt")
PAPER_MODELS = BERT_FAMILY + GPT_FAMILY


@dataclass(frozen=True, slots=True)
class MeasuredNode:
    """A node with its features; NaN in `resources` is a value that was not measured."""

    scope: str  # as in the file; ROOT_SCOPE for the model
    class_name: str
    node_type: NodeType
    n_parameters: int
    n_mflop: float
    n_mib: float
    resources: tuple[float, ...]  # in the order of RESOURCES
    energy_j: float | None  # at the wall; None in data that is only to be predicted

    @property
    def level(self) -> Level:
        """The level that the paper reports errors for."""
        return "ml" if self.node_type == "ml-np" else self.node_type

    @property
    def time_s(self) -> float:
        """Measured time of one call, NaN where it was not run."""
        return self.resources[RESOURCES.index("times_mean")]

    @property
    def gpu_energy_j(self) -> float:
        """The driver's energy of one call, NaN where it was not run."""
        return self.resources[RESOURCES.index("gpu_energy_mean")]


@dataclass(frozen=True, slots=True)
class Cell:
    """All nodes of one model at one batch size and sequence length."""

    model_name: str
    batch_size: int
    seq_len: int
    nodes: tuple[MeasuredNode, ...]
    parents: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the model itself was measured."""
        return bool(self.nodes) and self.nodes[0].node_type == "model"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Cells in file order, and what had to be left out, by name."""

    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in file order."""
        return tuple(dict.fromkeys(cell.model_name for cell in self.cells))

    def nodes(self) -> Iterator[tuple[Cell, MeasuredNode]]:
        """Every node with its cell, in file order."""
        for cell in self.cells:
            for node in cell.nodes:
                yield cell, node


def fragments(cells: Iterable[Cell]) -> tuple[str, ...]:
    """The cells whose model was not measured, as sentences."""
    return tuple(
        f"{cell.model_name} at {cell.batch_size} x {cell.seq_len}: the whole model was not "
        "measured, its modules and primitives stand alone"
        for cell in cells
        if not cell.is_whole
    )
