"""Where a model's energy goes: the share of each primitive kind and of each kind of module.

As the paper's figures show it, from measured rows. Primitives were measured alone; what they
leave of the model is what has no row: activations, residual additions, masks, copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from irene.errors import DatasetError
from irene.training.measurements import PAPER_MODELS, Cell, MeasuredNode

REST = "(no row)"

_MODULE_ROLES = {
    "embeddings": ("BertEmbeddings", "RobertaEmbeddings", "Embeddings"),
    "attention": (
        "BertAttention",
        "RobertaAttention",
        "MultiHeadSelfAttention",
        "Attention",
        "MultiHeadAttention",
    ),
    "feed-forward": (
        "FFN",
        "MLP",
        "BertIntermediate",
        "BertOutput",
        "RobertaIntermediate",
        "RobertaOutput",
    ),
    "pooler": ("BertPooler", "RobertaPooler"),
}


@dataclass(frozen=True, slots=True)
class Shares:
    """Mean shares of a model's energy over its batch sizes and lengths, 0 to 1."""

    model_name: str
    n_cells: int
    primitives: Mapping[str, float]
    modules: Mapping[str, float]


def shares(cells: Sequence[Cell]) -> tuple[Shares, ...]:
    """The shares of each of the paper's models that was measured whole.

    Raises:
        DatasetError: none was.
    """
    found = []
    for model in PAPER_MODELS:
        own = [cell for cell in cells if cell.model_name == model and cell.is_whole]
        if own:
            primitives = _mean([_of_primitives(cell) for cell in own])
            modules = _mean([_of_modules(cell) for cell in own])
            found.append(Shares(model, len(own), primitives, modules))
    if not found:
        raise DatasetError("no whole model was measured: there is nothing to divide")
    return tuple(found)


def table(found: Sequence[Shares]) -> str:
    """Both tables in Markdown."""
    return "\n\n".join(
        [
            _markdown("primitive", {it.model_name: it.primitives for it in found}),
            _markdown("module", {it.model_name: it.modules for it in found}),
        ]
    )


def to_json(found: Sequence[Shares]) -> dict[str, dict[str, Mapping[str, float]]]:
    """Shares by model."""
    return {it.model_name: {"primitives": it.primitives, "modules": it.modules} for it in found}


def _of_primitives(cell: Cell) -> dict[str, float]:
    whole_j = _energy(cell.nodes[0])
    parts: dict[str, float] = {}
    for node in cell.nodes:
        if node.level == "ml":
            parts[node.class_name] = parts.get(node.class_name, 0.0) + _energy(node) / whole_j
    return {**parts, REST: 1.0 - sum(parts.values())}


def _of_modules(cell: Cell) -> dict[str, float]:
    whole_j = _energy(cell.nodes[0])
    parts: dict[str, float] = {}
    for role, classes in _MODULE_ROLES.items():
        own = [it for it in cell.nodes if it.class_name in classes and it.node_type == "module"]
        if own:
            parts[role] = sum(_energy(it) for it in own) / whole_j
    return {**parts, REST: 1.0 - sum(parts.values())}


def _energy(node: MeasuredNode) -> float:
    assert node.energy_j is not None
    return node.energy_j


def _mean(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for it in parts for name in it)
    ordered = [name for name in names if name != REST] + [REST]
    return {name: round(float(np.mean([it.get(name, 0.0) for it in parts])), 4) for name in ordered}


def _markdown(what: str, by_model: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for it in by_model.values() for name in it if name != REST))
    header = [what, *by_model]
    rows = [
        [name, *(_percent(it.get(name)) for it in by_model.values())] for name in (*names, REST)
    ]
    lines = [header, ["---", *["---:"] * len(by_model)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.1f} %"
