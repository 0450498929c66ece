"""A predictor's price of a tree: it adds up, says what it does not know, and loads as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from irene.energy.catalogue import find, machine_of, selectable
from irene.energy.physics import sum_of
from irene.energy.predicted.pricing import prediction_notes, price_predicted
from irene.energy.predicted.shipped import predictor_of
from irene.energy.predicted.storing import StoredPredictor, load, save, to_json
from irene.energy.predicted.units import Kernels, Unit, describe
from irene.energy.prices import PricedNode
from irene.energy.pricing import PHYSICS, price_on
from irene.errors import PredictorError
from irene.tree import MATRIX_PRIMITIVES, Node
from irene.worker.tracing import trace_module

MACHINES = ("IrEne-device-1", "IrEne-device-2")


class Block(nn.Module):
    """A linear layer, attention by hand, a residual, and a convolution that nobody measured."""

    def __init__(self, *, convolution: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(768)
        self.proj = nn.Linear(768, 768)
        self.conv = nn.Conv1d(768, 768, 3, padding=1) if convolution else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.proj(self.norm(x))
        y = torch.softmax(y @ y.transpose(1, 2), dim=-1) @ y
        if self.conv is not None:
            y = self.conv(y.transpose(1, 2)).transpose(1, 2)
        return x + y


class Stack(nn.Module):
    """Two blocks."""

    def __init__(self, *, convolution: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(convolution=convolution) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def stack(dtype: torch.dtype = torch.float32, *, convolution: bool = False) -> Node:
    model = Stack(convolution=convolution).to(dtype)
    return trace_module(model, (torch.zeros(8, 128, 768, dtype=dtype),)).root


def stored(machine: str) -> StoredPredictor:
    found = predictor_of(machine)
    assert found is not None
    return found


def every(priced: PricedNode) -> Iterator[PricedNode]:
    yield priced
    for child in priced.children:
        yield from every(child)


def test_a_description_counts_units_and_kernels() -> None:
    """The bias rides in its layer; what is no unit is a kernel with its bytes."""
    root = stack()
    block = root.children[0]
    description = describe(root)[id(block)]
    assert dict(description.units) == {
        Unit("layer_norm", "", 1, 1024, 768, 1): 1,
        Unit("linear", "batched", 1, 1024, 768, 768): 1,
        Unit("matmul", "", 8, 128, 768, 128): 1,
        Unit("matmul", "", 8, 128, 128, 768): 1,
        Unit("softmax", "", 1, 1024, 128, 1): 1,
    }
    assert description.kernels == Kernels(3 * 4 * 1024 * 768, 0, 1)


class Fused(nn.Module):
    """Fused attention over heads, as Transformers calls it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = x.view(8, 128, 12, 64).transpose(1, 2)
        y = nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return y.transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize(
    "model",
    [
        Fused(),
        nn.Linear(768, 512),
        nn.Conv1d(128, 64, 3),
        nn.LSTM(768, 256),
        nn.Bilinear(768, 768, 8),
    ],
    ids=lambda it: type(it).__name__,
)
def test_products_keep_their_flops(model: nn.Module) -> None:
    """Whatever a matrix operation is, its unit's products have the FLOPs that were counted."""
    inputs = (torch.zeros(8, 128, 768),) * (2 if isinstance(model, nn.Bilinear) else 1)
    root = trace_module(model, inputs).root
    found = {unit: calls for unit, calls in describe(root)[id(root)].units if unit.k > 1}
    flops = sum(2 * calls * it.n_batch * it.m * it.k * it.n for it, calls in found.items())
    pending, expected = [root], 0
    while pending:
        node = pending.pop()
        pending.extend(node.children)
        if node.primitive in MATRIX_PRIMITIVES:
            expected += node.count * node.flops
    assert flops == pytest.approx(expected, rel=1e-3)


def test_fused_attention_costs_about_its_two_products() -> None:
    """Heads of 64 are half a tile, with the scores inside as without."""
    root = trace_module(Fused(), (torch.zeros(8, 128, 768),)).root
    (unit,) = (unit for unit, _ in describe(root)[id(root)].units if unit.kind == "attention")
    assert unit == Unit("attention", "", 96, 128, 256, 64)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("convolution", [False, True])
def test_children_times_counts_are_the_node(machine: str, convolution: bool) -> None:
    """In joules and seconds, exactly, at every node, each within its interval."""
    priced = price_predicted(stack(convolution=convolution), stored(machine))
    for node in every(priced):
        energy = node.energy
        assert node.kind == "predicted"
        assert energy.low_j <= energy.joules <= energy.high_j
        if node.children:
            total = sum_of(node.children)
            assert (energy.joules, energy.seconds) == (total.joules, total.seconds)
    assert priced.energy.joules > 0.0


def test_what_was_not_measured_is_said() -> None:
    """A convolution, or another dtype, is priced with a wide interval and a sentence."""
    plain = price_predicted(stack(), stored("IrEne-device-1")).energy
    for root, word in (
        (stack(convolution=True), "convolutions"),
        (stack(torch.float16), "float16 was not measured"),
    ):
        wide = price_predicted(root, stored("IrEne-device-1")).energy
        assert wide.high_j / wide.joules > 1.1 * plain.high_j / plain.joules
        assert any(word in note for note in prediction_notes(root, stored("IrEne-device-1")))
    assert not any(
        "not measured" in note for note in prediction_notes(stack(), stored(MACHINES[0]))
    )


def test_an_unseen_kind_falls_back_to_physics(tmp_path: Path) -> None:
    """Without softmax in its training data, the predictor still prices one, less surely."""
    whole = stored("IrEne-device-1")
    units = {kind: it for kind, it in whole.predictor.units.items() if kind != "softmax"}
    less = replace(whole, predictor=replace(whole.predictor, units=units))
    root = stack()
    expected, found = price_predicted(root, whole).energy, price_predicted(root, less).energy
    assert found.joules == pytest.approx(expected.joules, rel=0.3)
    assert found.high_j / found.joules > expected.high_j / expected.joules
    assert any("softmax" in note for note in prediction_notes(root, less))


@pytest.mark.parametrize(
    "gone",
    [("softmax", "tanh"), ("softmax", "tanh", "layer_norm", "embedding"), ("linear",)],
    ids=", ".join,
)
def test_kinds_of_which_no_kin_was_measured_are_priced(gone: tuple[str, ...]) -> None:
    """In joules and seconds, by what does as they do, else by the bytes of a product."""
    whole = stored("IrEne-device-1")
    units = {kind: it for kind, it in whole.predictor.units.items() if kind not in gone}
    less = replace(whole, predictor=replace(whole.predictor, units=units))
    expected, found = (price_predicted(stack(), it).energy for it in (whole, less))
    assert found.joules == pytest.approx(expected.joules, rel=0.5)
    assert found.seconds == pytest.approx(expected.seconds, rel=0.5)
    assert found.high_j / found.joules > expected.high_j / expected.joules


def test_without_a_product_nothing_is_priced() -> None:
    """It says what to train on."""
    whole = stored("IrEne-device-1")
    units = {"softmax": whole.predictor.units["softmax"]}
    less = replace(whole, predictor=replace(whole.predictor, units=units))
    with pytest.raises(PredictorError, match="linear layers or matrix products"):
        price_predicted(stack(), less)


@pytest.mark.parametrize("machine", MACHINES)
def test_predictors_load_as_they_were(machine: str, tmp_path: Path) -> None:
    """Saved and loaded, a predictor gives the same prices to the last bit."""
    save(stored(machine), tmp_path / "predictor.json")
    again = load(tmp_path / "predictor.json")
    assert to_json(again) == to_json(stored(machine))
    root = stack()
    assert price_predicted(root, again) == price_predicted(root, stored(machine))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: {**data, "schema": 99}, "version 99"),
        (lambda data: {key: it for key, it in data.items() if key != "units"}, "malformed"),
        (lambda data: [data], "version None"),
    ],
)
def test_other_files_are_refused(damage, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def] # of JSON
    """Another version, a part missing, something else."""
    path = tmp_path / "predictor.json"
    path.write_text(json.dumps(damage(to_json(stored(MACHINES[0])))))
    with pytest.raises(PredictorError, match=message):
        load(path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    """Not JSON."""
    (tmp_path / "predictor.json").write_text('{"schema": 1,')
    with pytest.raises(PredictorError, match="not a readable predictor"):
        load(tmp_path / "predictor.json")


@pytest.mark.parametrize(
    ("name", "machine"),
    [("IrEne device 1", "IrEne-device-1"), ("irene-device-2", "IrEne-device-2")],
)
def test_machines_are_devices(name: str, machine: str) -> None:
    """They are chosen as any device is, and a predictor speaks for them."""
    device = find(name)
    assert device.id == machine
    assert device in selectable()
    price = price_on(stack(), device)
    assert price.tree.kind == "predicted"
    assert price.predictor == device.name
    assert price.notes[0].startswith(device.name)


def test_other_devices_stay_physics() -> None:
    """Modelled, as before."""
    price = price_on(stack(), find("GTX-1070"))
    assert (price.tree.kind, price.predictor) == ("modelled", PHYSICS)


def test_a_trained_folder_is_a_predictor(tmp_path: Path) -> None:
    """The folder that `irene train --method ours` writes is chosen by its path."""
    own = replace(stored(MACHINES[0]), name="my machine")
    save(own, tmp_path / "predictor.json")
    price = price_on(stack(), machine_of(str(tmp_path)))
    assert (price.tree.kind, price.predictor) == ("predicted", "my machine")


def test_a_predictor_that_is_trained_again_speaks_at_once(tmp_path: Path) -> None:
    """The file is read anew when it changed."""
    path = tmp_path / "predictor.json"
    for time_ns, name in enumerate(("first", "second"), start=1):
        save(replace(stored(MACHINES[0]), name=name), path)
        os.utime(path, ns=(time_ns, time_ns))
        assert price_on(stack(), machine_of(str(tmp_path))).predictor == name


def test_a_calibrated_predictor_says_what_it_was_made_of() -> None:
    """Not fitted to the machine, but moved to it; no error of another machine stands beside it."""
    whole = stored("IrEne-device-1")
    less = replace(
        whole, name="mine", provenance={"n_rows": 20, "calibrated_from": "NVIDIA Tesla T4"}
    )
    notes = prediction_notes(stack(), less)
    assert notes[0].startswith("mine: NVIDIA Tesla T4 calibrated by 20 measured rows")
    assert not any("mean error" in note for note in notes)
    assert any("mean error" in note for note in prediction_notes(stack(), whole))
    half = prediction_notes(stack(torch.float16), whole)  # of what was not measured
    assert not any("mean error" in note for note in half)


def test_names_of_predictors() -> None:
    """As devices are named; of devices without a predictor, none is meant."""
    assert machine_of("irene device 1").id == "IrEne-device-1"
    with pytest.raises(PredictorError, match="IrEne-device-1, IrEne-device-2, or a folder"):
        machine_of("A100-SXM4-80GB")


def test_a_folder_of_the_papers_method_prices_no_code(tmp_path: Path) -> None:
    """It is said what it is for."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(PredictorError, match="measured trees"):
        machine_of(str(tmp_path))


def test_shipped_predictors_say_where_they_come_from() -> None:
    """Device, rows, date, errors by split."""
    for machine in MACHINES:
        provenance = stored(machine).provenance
        assert {"device", "n_rows", "date", "errors_percent", "quantity"} <= provenance.keys()
        assert set(provenance["errors_percent"]) == {"model", "sizes", "family", "larger"}


def test_larger_models_cost_more() -> None:
    """Twice the batch is dearer, by less than 2.5 times."""

    def joules(batch: int) -> float:
        root = trace_module(Stack(), (torch.zeros(batch, 128, 768),)).root
        return price_predicted(root, stored(MACHINES[0])).energy.joules

    energies = [joules(batch) for batch in (8, 16, 32, 64)]
    ratios = np.array(energies[1:]) / np.array(energies[:-1])
    assert ((ratios > 1.3) & (ratios < 2.5)).all()
