"""The uncalibrated price against measurements that were published by others.

NeuSight's operator latencies and IrEne's measured models lie beside the checkout, in `../shared`.
docs/physics.md has the figures that these tests print.
"""

from __future__ import annotations

import csv
import gzip
import random
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers

from irene.energy.catalogue import find
from irene.energy.physics import price
from irene.tree import Node, Operation, Primitive
from irene.worker.tracing import trace_module

SHARED = Path(__file__).parents[4] / "shared"
NEUSIGHT = SHARED / "gpu-data" / "neusight"
IRENE = SHARED / "irene-data"
needs_shared = pytest.mark.skipif(
    not (NEUSIGHT.is_dir() and IRENE.is_dir()),
    reason="the measured data are not in ../shared beside the checkout",
)
N_ROWS = 400
FLOOR_S = 100e-6
"""Shorter kernels show the host that started them, which the price takes from its launch floor."""

OPERATIONS: dict[str, Primitive] = {
    "linear": "linear", "bmm": "matmul", "softmax": "softmax", "ln": "layer_norm",
    "gelu": "elementwise", "add": "elementwise",
}  # fmt: skip
CARDS = ("NVIDIA_A100-PCIE-40GB", "Tesla_P100-PCIE-16GB", "Tesla_P4", "Tesla_T4",
         "Tesla_V100-PCIE-32GB")  # fmt: skip


class Compared(NamedTuple):
    """Predicted over measured, and the factor of the 90 % interval."""

    ratio: float
    factor: float

    @property
    def is_covered(self) -> bool:
        return 1.0 / self.factor <= self.ratio <= self.factor


def leaf(primitive: Primitive, flops: int, n_bytes: int) -> Node:
    operation = Operation(primitive, "float32", (), (), 1)
    return Node("", primitive, "primitive", primitive, 1, flops, n_bytes, 0, None, None, None,
                operation, ())  # fmt: skip


def operator(name: str, row: dict[str, str]) -> Node:
    """Costs of a row's operator, float32."""
    batch = int(row["B"])
    if name in ("linear", "bmm"):
        m, n, k = int(row["M"]), int(row["N"]), int(row["K"])
        weights = n * k if name == "linear" else batch * n * k
        n_bytes = 4 * (batch * m * k + weights + batch * m * n)
        return leaf(OPERATIONS[name], 2 * batch * m * n * k, n_bytes)
    n_elements = batch * int(row["H"])
    n_tensors = 3 if name == "add" else 2
    return leaf(OPERATIONS[name], 5 * n_elements, 4 * n_tensors * n_elements)


def latencies(card: str) -> Iterator[Compared]:
    device = find(card.replace("_", " ").replace("V100-PCIE-32GB", "V100-PCIE-16GB"))
    for name in OPERATIONS:
        file = NEUSIGHT / f"train_{name}__{card}.csv.gz"
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            rows = [it for it in csv.DictReader(text) if float(it["Latency"]) > 1e3 * FLOOR_S]
        for row in random.Random(0).sample(rows, min(N_ROWS, len(rows))):
            energy = price(operator(name, row), device).energy
            measured_s = 1e-3 * float(row["Latency"])
            yield Compared(energy.seconds / measured_s, energy.high_j / energy.joules)


@needs_shared
@pytest.mark.parametrize("card", CARDS)
def test_operator_times_lie_in_the_interval(card: str, record_property: Any) -> None:
    """At least 85 % of NeuSight's operators of 0.1 ms and more, on each card."""
    found = list(latencies(card))
    covered = sum(it.is_covered for it in found) / len(found)
    median = statistics.median(it.ratio for it in found)
    record_property(
        "figures", f"{card}: {len(found)} rows, median {median:.2f}, covered {covered:.0%}"
    )
    print(f"{card}: {len(found)} rows, median {median:.2f}, covered {covered:.0%}")
    assert covered >= 0.85
    assert 0.7 < median < 1.4


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-base-uncased": ("Bert", {}),
    "distilbert-base-uncased": ("DistilBert", {}),
    "roberta-base": ("Roberta", {"vocab_size": 50265, "max_position_embeddings": 514}),
    "gpt2": ("GPT2", {}),
    "distilgpt2": ("GPT2", {"n_layer": 6}),
    "openai-gpt": ("OpenAIGPT", {}),
}


def priced_j(name: str, batch: int, length: int, device: str) -> tuple[float, float]:
    """Modelled GPU energy of a model of the paper and the factor of its interval."""
    prefix, sizes = MODELS[name]
    config = getattr(transformers, f"{prefix}Config")(**sizes, attn_implementation="eager")
    with torch.device("meta"):
        model = getattr(transformers, f"{prefix}Model")(config)
        ids = torch.zeros(batch, length, dtype=torch.int64)
    root = trace_module(model, (), {"input_ids": ids}).root
    energy = price(root, find(device)).energy
    return energy.joules, energy.high_j / energy.joules


@needs_shared
@pytest.mark.parametrize(
    ("machine", "device"), [("device_1", "GTX 1070"), ("device_2", "GTX 1080 Ti")]
)
def test_energies_of_whole_models_lie_in_the_interval(machine: str, device: str) -> None:
    """The driver's GPU energy of IrEne's six models; the cards are guessed from their clocks."""
    with (IRENE / machine / "model_level_features.csv").open(encoding="utf-8", newline="") as text:
        rows = [it for it in csv.DictReader(text) if it["model_name"] in MODELS]
    rows = [it for it in rows if (float(it["batch_size"]), float(it["seq_len"])) in
            ((8.0, 32.0), (8.0, 128.0), (16.0, 128.0), (24.0, 192.0))]  # fmt: skip
    found = []
    for row in rows:
        batch, length = int(float(row["batch_size"])), int(float(row["seq_len"]))
        joules, factor = priced_j(row["model_name"], batch, length, device)
        found.append(Compared(joules / float(row["gpu_energy_mean"]), factor))
    covered = sum(it.is_covered for it in found) / len(found)
    median = statistics.median(it.ratio for it in found)
    low, high = min(it.ratio for it in found), max(it.ratio for it in found)
    print(f"{machine} as {device}: {len(found)} models, median {median:.2f} ({low:.2f} to {high:.2f}), "
          f"covered {covered:.0%}")  # fmt: skip
    assert covered >= 0.9
    assert 0.75 < median < 1.35
