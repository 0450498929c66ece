"""What a choice of architecture costs: predicted for a machine, measured where it was.

The paper's data have distilled models beside full ones; all have hidden size 768, so that
width, heads and other depths are predictions alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from irene.energy.predicted.predictor import Predictor, module_log_prices, unit_prices, units_in
from irene.energy.predicted.units import describe
from irene.training.evaluation import Tested
from irene.training.ours.published import as_measured, build_spec
from irene.worker.tracing import trace

BATCH_SIZE, LENGTH = 16, 128
_BASE: Mapping[str, int] = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
}
_CHOICES: tuple[tuple[str, Mapping[str, int]], ...] = (
    ("BERT-base", {}),
    ("depth: 6 layers", {"num_hidden_layers": 6}),
    ("depth: 24 layers", {"num_hidden_layers": 24}),
    ("width: hidden 512", {"hidden_size": 512, "intermediate_size": 2048}),
    ("width: hidden 1024", {"hidden_size": 1024, "intermediate_size": 4096}),
    ("heads: 6 of 128", {"num_attention_heads": 6}),
    ("heads: 24 of 32", {"num_attention_heads": 24}),
)
_HEADS_THAT_DIVIDE = {512: 8, 1024: 16}
_PAIRS = (
    ("distilbert-base-uncased", "bert-base-uncased"),
    ("distilgpt2", "gpt2"),
    ("roberta-base", "bert-base-uncased"),
    ("gpt2", "bert-base-uncased"),
    ("openai-gpt", "gpt2"),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One architecture against BERT-base."""

    name: str
    predicted_j: float
    low_j: float
    high_j: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Energy of one measured model over another's, means of the logarithm over shapes."""

    name: str
    measured_ratio: float
    predicted_ratio: float


def choices(predictor: Predictor) -> tuple[Choice, ...]:
    """Variants of BERT-base, predicted with nothing run."""
    with tempfile.TemporaryDirectory(prefix="irene-configs-") as folder:
        return tuple(_choice(name, changes, predictor, Path(folder)) for name, changes in _CHOICES)


def _choice(name: str, changes: Mapping[str, int], predictor: Predictor, folder: Path) -> Choice:
    hidden = changes.get("hidden_size", _BASE["hidden_size"])
    heads = _HEADS_THAT_DIVIDE.get(hidden, _BASE["num_attention_heads"])
    config = {**_BASE, "num_attention_heads": heads, **changes}
    spec = build_spec("bert-base-uncased", BATCH_SIZE, LENGTH, folder, config)
    root = as_measured(trace(spec).root, "bert-base-uncased", BATCH_SIZE, LENGTH)
    description = describe(root)[id(root)]
    prices = unit_prices(predictor, units_in([description]))
    found = module_log_prices(predictor, [description], prices, ["model"])
    width = float(predictor.intervals["model"].half_width(found.deviation)[0])
    joules = float(np.exp(found.mean[0]))
    return Choice(name, joules, joules * np.exp(-width), joules * np.exp(width))


def pairs(tested: Sequence[Tested]) -> tuple[Pair, ...]:
    """Measured against predicted ratios of whole models, each predicted while left out."""
    models = {row.cell: row for row in tested if row.level == "model"}
    found = []
    for one, other in _PAIRS:
        shapes = [key[1:] for key in models if key[0] == one and (other, *key[1:]) in models]
        both = [(models[(one, *shape)], models[(other, *shape)]) for shape in shapes]
        if both:
            measured = np.mean([np.log(a.energy_j / b.energy_j) for a, b in both])
            predicted = np.mean([np.log(a.predicted_j / b.predicted_j) for a, b in both])
            name = f"{one} / {other}"
            found.append(Pair(name, float(np.exp(measured)), float(np.exp(predicted))))
    return tuple(found)
