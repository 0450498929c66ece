"""The uncalibrated price against measurements that were published by others.

NeuSight's and Vidur's operator latencies and IrEne's measured models lie beside the checkout, in
`../shared`. docs/physics.md has the figures that these tests print with `-s`.
"""

from __future__ import annotations

import csv
import gzip
import random
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers

from irene.energy.catalogue import Device, find
from irene.energy.datasheet import assemble, shipped_facts
from irene.energy.device import Efficiency, choose_rate
from irene.energy.physics import price
from irene.energy.prices import Energy
from irene.tree import Node, Operation, Primitive
from irene.worker.tracing import trace_module

SHARED = Path(__file__).parents[4] / "shared"
NEUSIGHT = SHARED / "gpu-data" / "neusight"
VIDUR = SHARED / "gpu-data" / "vidur"
IRENE = SHARED / "irene-data"
needs_shared = pytest.mark.skipif(
    not (NEUSIGHT.is_dir() and VIDUR.is_dir() and IRENE.is_dir()),
    reason="the measured data are not in ../shared beside the checkout",
)
N_ROWS = 400
FLOOR_S = 50e-6
"""Shorter work shows the host that starts it, which the price takes from its launch floor. Rows are
chosen by what peak and bandwidth alone would need: by the measured time, slow ones would be
chosen for being slow."""

OPERATIONS: dict[str, Primitive] = {
    "linear": "linear", "bmm": "matmul", "softmax": "softmax", "ln": "layer_norm",
    "gelu": "elementwise", "add": "elementwise",
}  # fmt: skip
NEUSIGHT_CARDS = {
    "A100-PCIE-40GB": "NVIDIA_A100-PCIE-40GB", "P100-PCIE-16GB": "Tesla_P100-PCIE-16GB",
    "P4": "Tesla_P4", "T4": "Tesla_T4", "V100-PCIE-16GB": "Tesla_V100-PCIE-32GB",
}  # fmt: skip
VIDUR_CARDS = {"A100-SXM4-80GB": "a100", "H100-SXM5-80GB": "h100", "A40": "a40"}
CARDS = (*NEUSIGHT_CARDS, *VIDUR_CARDS)


class Compared(NamedTuple):
    """Predicted over measured, and the factor of the 90 % interval."""

    ratio: float
    factor: float

    @property
    def is_covered(self) -> bool:
        return 1.0 / self.factor <= self.ratio <= self.factor


class Measured(NamedTuple):
    """An operator and its published time."""

    operation: str
    node: Node
    time_s: float


def leaf(primitive: Primitive, flops: int, n_bytes: int, dtype: str) -> Node:
    operation = Operation(primitive, dtype, (), (), 1)
    return Node("", primitive, "primitive", primitive, 1, flops, n_bytes, 0, None, None, None,
                operation, ())  # fmt: skip


def product(primitive: Primitive, shape: Sequence[int], dtype: str, weight_batch: int) -> Node:
    """(b, m, k) @ (weight_batch, k, n)."""
    batch, m, k, n = shape
    itemsize = 4 if dtype == "float32" else 2
    n_bytes = itemsize * (batch * m * k + weight_batch * k * n + batch * m * n)
    return leaf(primitive, 2 * batch * m * n * k, n_bytes, dtype)


def neusight(name: str, row: Mapping[str, str]) -> Measured:
    """A row's operator, float32."""
    batch, time_s = int(row["B"]), 1e-3 * float(row["Latency"])
    primitive = OPERATIONS[name]
    if name in ("linear", "bmm"):
        shape = (batch, int(row["M"]), int(row["K"]), int(row["N"]))
        weights = 1 if name == "linear" else batch
        return Measured(name, product(primitive, shape, "float32", weights), time_s)
    n_elements = batch * int(row["H"])
    n_bytes = 4 * (3 if name == "add" else 2) * n_elements
    return Measured(name, leaf(primitive, 5 * n_elements, n_bytes, "float32"), time_s)


def vidur(row: Mapping[str, str]) -> Iterator[Measured]:
    """A row's linear layers and residual addition, float16."""
    n_tokens, parallel = int(row["num_tokens"]), int(row["num_tensor_parallel_workers"])
    width, hidden = int(row["n_embd"]), int(row["n_expanded_embd"]) // parallel
    head = width // int(row["n_head"])
    n_heads, n_kv_heads = (max(int(row[it]) // parallel, 1) for it in ("n_head", "n_kv_head"))
    shapes = {
        "attn_pre_proj": (width, (n_heads + 2 * n_kv_heads) * head),
        "attn_post_proj": (n_heads * head, width),
        "mlp_up_proj": (width, (2 if row["use_gated_mlp"] == "True" else 1) * hidden),
        "mlp_down_proj": (hidden, width),
    }
    for name, (n_in, n_out) in shapes.items():
        node = product("linear", (1, n_tokens, n_in, n_out), "float16", 1)
        yield Measured("linear", node, 1e-3 * float(row[f"time_stats.{name}.median"] or 0))
    n_elements = n_tokens * width
    node = leaf("elementwise", n_elements, 6 * n_elements, "float16")
    yield Measured("add", node, 1e-3 * float(row["time_stats.add.median"] or 0))


def rows_of(files: Sequence[Path]) -> Iterator[dict[str, str]]:
    for file in sorted(files):
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            yield from csv.DictReader(text)


@cache
def measured(card: str) -> tuple[Measured, ...]:
    """Up to 400 random rows of each operator that are long enough."""
    rows: list[Measured] = []
    if card in NEUSIGHT_CARDS:
        for name in OPERATIONS:
            files = [NEUSIGHT / f"train_{name}__{NEUSIGHT_CARDS[card]}.csv.gz"]
            rows += [neusight(name, row) for row in rows_of(files)]
    else:
        files = list(VIDUR.glob(f"compute_{VIDUR_CARDS[card]}_*.csv.gz"))
        rows += [it for row in rows_of(files) for it in vidur(row)]
    by_operation: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        if row.time_s > 0.0 and max(bare_times_s(row.node, find(card))) >= FLOOR_S:
            by_operation[row.operation].append(row)
    samples = (random.Random(0).sample(it, min(N_ROWS, len(it))) for it in by_operation.values())
    return tuple(row for sample in samples for row in sample)


def bare_times_s(node: Node, device: Device) -> tuple[float, float]:
    """What peak and bandwidth of the data sheet alone would need."""
    assert node.primitive is not None
    assert node.operation is not None
    rate = choose_rate(device, node.operation.dtype, node.primitive).rate
    return node.flops / rate.peak_flop_s, node.n_bytes / device.bandwidth_b_s


def compare(card: str, device: Device) -> list[Compared]:
    found = []
    for row in measured(card):
        energy = price(row.node, device).energy
        found.append(Compared(energy.seconds / row.time_s, energy.high_j / energy.joules))
    return found


def unseen(card: str) -> Device:
    """The card as if nobody had measured it or a relative: the medians of all other cards."""
    bare = assemble(replace(next(it for it in shipped_facts() if it.id == card), architecture=""))
    others = [shares(it) for it in CARDS if it != card]

    def median(primitive: Primitive, side: int, otherwise: float) -> float:
        known = [it[primitive, side] for it in others if (primitive, side) in it]
        return statistics.median(known) if known else otherwise

    efficiencies = tuple(
        Efficiency(
            primitive=it.primitive,
            of_peak=median(it.primitive, 0, it.of_peak),
            of_bandwidth=median(it.primitive, 1, it.of_bandwidth),
            is_measured=False,
        )
        for it in bare.efficiencies
    )
    return replace(bare, efficiencies=efficiencies)


@cache
def shares(card: str) -> Mapping[tuple[Primitive, int], float]:
    """Median share of peak (0) and bandwidth (1) of each primitive on a card."""
    found: dict[tuple[Primitive, int], list[float]] = defaultdict(list)
    for row in measured(card):
        assert row.node.primitive is not None
        times_s = bare_times_s(row.node, find(card))
        side = 0 if times_s[0] > times_s[1] else 1
        found[row.node.primitive, side].append(times_s[side] / row.time_s)
    return {key: statistics.median(values) for key, values in found.items()}


@needs_shared
@pytest.mark.parametrize("card", CARDS)
def test_operator_times_lie_in_the_interval(card: str) -> None:
    """At least 85 % of the operators, on each card, also where nothing of it was known."""
    shipped, blind = compare(card, find(card)), compare(card, unseen(card))
    print(f"{card}: {len(shipped)} rows, shipped {told(shipped)}, left out {told(blind)}")
    assert covered(shipped) >= 0.85
    assert covered(blind) >= 0.85
    assert 0.8 < statistics.median(it.ratio for it in shipped) < 1.25
    assert 0.6 < statistics.median(it.ratio for it in blind) < 1.7


def covered(found: Sequence[Compared]) -> float:
    return sum(it.is_covered for it in found) / len(found)


def told(found: Sequence[Compared]) -> str:
    ratios = sorted(it.ratio for it in found)
    low, high = ratios[len(ratios) // 20], ratios[-len(ratios) // 20]
    return (
        f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}), covered {covered(found):.0%}"
    )


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-base-uncased": ("Bert", {}),
    "distilbert-base-uncased": ("DistilBert", {}),
    "roberta-base": ("Roberta", {"vocab_size": 50265, "max_position_embeddings": 514}),
    "gpt2": ("GPT2", {}),
    "distilgpt2": ("GPT2", {"n_layer": 6}),
    "openai-gpt": ("OpenAIGPT", {}),
}


SHAPES = {(8, 32), (8, 128), (16, 128), (24, 192)}


class Machine(NamedTuple):
    """A machine of the paper: its card, guessed from the clocks, and its wall.

    Where a node was profiled, the wall reads `slope * E_gpu + base_w * t` (README of the data).
    """

    folder: str
    device: str
    slope: float
    base_w: float


MACHINES = (
    Machine("device_1", "GTX 1070", 1.05, 98.0),
    Machine("device_2", "GTX 1080 Ti", 0.99, 116.0),
)


def modelled(name: str, batch: int, length: int, device: str) -> Energy:
    """The price of a model of the paper, traced as an editor would trace it."""
    prefix, sizes = MODELS[name]
    config = getattr(transformers, f"{prefix}Config")(**sizes, attn_implementation="eager")
    with torch.device("meta"):
        model = getattr(transformers, f"{prefix}Model")(config)
        ids = torch.zeros(batch, length, dtype=torch.int64)
    return price(trace_module(model, (), {"input_ids": ids}).root, find(device)).energy


def models_of(machine: Machine) -> Iterator[tuple[Mapping[str, str], Energy]]:
    """Four shapes of each model as measured, with the price."""
    for row in csv.DictReader(
        (IRENE / machine.folder / "model_level_features.csv").read_text("utf-8").splitlines()
    ):
        batch, length = int(float(row["batch_size"])), int(float(row["seq_len"]))
        if row["model_name"] in MODELS and (batch, length) in SHAPES:
            yield row, modelled(row["model_name"], batch, length, machine.device)


@needs_shared
@pytest.mark.parametrize("machine", MACHINES, ids=lambda it: it.folder)
def test_energies_of_whole_models_lie_in_the_interval(machine: Machine) -> None:
    """The driver's GPU energy of six models; with the machine around it, that at the wall."""
    gpu, wall, alone = [], [], []
    for row, energy in models_of(machine):
        factor = energy.high_j / energy.joules
        wall_j = machine.slope * energy.joules + machine.base_w * energy.seconds
        gpu.append(Compared(energy.joules / float(row["gpu_energy_mean"]), factor))
        wall.append(Compared(wall_j / float(row["energy_mean"]), factor))
        alone.append(Compared(energy.joules / float(row["energy_mean"]), factor))
    print(f"{machine.folder} as {machine.device}, {len(gpu)} models: GPU {told(gpu)}; wall with "
          f"the machine around it {told(wall)}; GPU's price against the wall {told(alone)}")  # fmt: skip
    assert len(gpu) == len(MODELS) * len(SHAPES)
    assert covered(gpu) >= 0.9
    assert covered(wall) >= 0.9
    assert 0.75 < statistics.median(it.ratio for it in gpu) < 1.35
    assert 0.75 < statistics.median(it.ratio for it in wall) < 1.35
