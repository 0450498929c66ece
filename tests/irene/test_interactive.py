"""`irene.estimate(model, ...)` in a person's own process and notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import irene
from irene.energy.catalogue import auto
from irene.errors import DeviceError, TargetError
from irene.tree import MATRIX_PRIMITIVES, walk

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "estimate.schema.json").read_text("utf-8")
)
DEVICE = "A100-SXM4-80GB"


class Net(nn.Module):
    """Attention with an optional mask, and a head that is called twice."""

    def __init__(self, width: int = 64, device: str | None = None) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, device=device)
        self.head = nn.Linear(width, width, device=device)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        scores = query @ key.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e9)
        return self.head(self.drop(self.head(scores.softmax(-1) @ value)))


def test_the_tree_is_that_of_the_model_and_counts_as_torch_does() -> None:
    """Matrix FLOPs are those of torch's own counter; the head is one node, called twice."""
    model, x = Net(), torch.zeros(2, 16, 64)
    made = irene.estimate(model, x, device=DEVICE)
    assert [it.node.class_name for it in made.tree.children if it.node.kind == "module"] == [
        "Linear",
        "Linear",
        "Dropout",
    ]
    head = next(it for it in made.tree.children if it.node.scope == "head")
    assert head.node.count == 2
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(x)
    counted = sum(
        calls * node.flops
        for node, calls in walk(made.tree.node)
        if node.primitive in MATRIX_PRIMITIVES
    )
    assert counted == counter.get_total_flops()


def test_its_values_are_those_of_its_json() -> None:
    made = irene.estimate(Net(), torch.zeros(2, 16, 64), device=DEVICE)
    data = json.loads(json.dumps(made.to_json()))
    jsonschema.validate(data, SCHEMA)
    total = data["total"]
    assert (made.joules, made.seconds, *made.interval_j) == (
        total["joules"], total["seconds"], total["low"], total["high"],
    )  # fmt: skip
    assert total["kind"] == "modelled"
    assert data["inputs"]["batch_size"] is None
    assert data["inputs"]["tensors"] == [{"name": "x", "dtype": "float32", "shape": [2, 16, 64]}]


def test_inputs_are_given_as_to_the_model() -> None:
    """By position, by name, on meta: the same tree; a mask adds an operation."""
    model, x = Net(), torch.zeros(2, 16, 64)
    trees = [
        irene.estimate(model, x, device=DEVICE).to_json()["tree"],
        irene.estimate(model, x=x, device=DEVICE).to_json()["tree"],
        irene.estimate(model, x.to("meta"), device=DEVICE).to_json()["tree"],
    ]
    assert trees[0] == trees[1] == trees[2]
    mask = torch.ones(16, 16, dtype=torch.bool)
    masked = irene.estimate(model, x, mask=mask, device=DEVICE).tree
    assert masked.node.n_bytes > trees[0]["bytes"]


def test_the_model_and_the_inputs_are_left_as_they_were() -> None:
    model, x = Net(), torch.randn(2, 16, 64)
    model.train()
    before = {name: it.clone() for name, it in model.state_dict().items()}
    addresses = [it.data_ptr() for it in model.parameters()]
    kept, generator = x.clone(), torch.get_rng_state()
    irene.estimate(model, x, device=DEVICE)
    assert model.training
    assert [it.data_ptr() for it in model.parameters()] == addresses
    assert all(torch.equal(it, before[name]) for name, it in model.state_dict().items())
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(it.grad is None for it in model.parameters())
    assert not any(it._forward_hooks or it._forward_pre_hooks for it in model.modules())


def test_nothing_is_allocated() -> None:
    """A model on meta of a hundred billion parameters, and an input of a terabyte."""
    model = Net(width=160_000, device="meta")
    x = torch.empty(16, 128_000, 160_000, device="meta")
    made = irene.estimate(model, x, device=DEVICE)
    assert made.tree.node.n_parameters > 10**11
    assert made.joules > 0


def test_it_prints_as_a_table() -> None:
    made = irene.estimate(Net(), torch.zeros(2, 16, 64), device=DEVICE)
    for words in ("Net", "90 % interval", DEVICE, "x float32[2, 16, 64]", "qkv Linear", "2 x "):
        assert words in str(made)
    assert repr(made) == str(made)
    assert all(line == line.rstrip() for line in str(made).splitlines())
    assert "<td" in made._repr_html_()


def test_it_fits_the_terminal_that_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    made = irene.estimate(Net(), torch.zeros(2, 16, 64), device=DEVICE)
    Console(width=64).print(made)
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 64


def test_auto_is_this_machine() -> None:
    made = irene.estimate(nn.Linear(2, 2), torch.zeros(1, 2))
    assert made.report.device_id == auto().id
    assert made.report.conditions[0].origin == "default"


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(DeviceError, match="A100-SXM4-80GB"):
        irene.estimate(nn.Linear(2, 2), torch.zeros(1, 2), device="A100-SXM5-80GB")


def test_inputs_that_do_not_fit_are_one_sentence() -> None:
    with pytest.raises(TargetError, match="shape"):
        irene.estimate(Net(), torch.zeros(2, 16, 63), device=DEVICE)


@pytest.mark.parametrize(
    ("packed", "call"),
    [
        ((torch.zeros(2, 16, 64),), r"irene\.estimate\(model, \*inputs\)\.$"),
        ([torch.zeros(2, 16, 64)], r"irene\.estimate\(model, \*inputs\)\.$"),
        ({"x": torch.zeros(2, 16, 64)}, r"irene\.estimate\(model, \*\*inputs\)\.$"),
    ],
)
def test_inputs_in_one_collection_are_to_be_passed_one_by_one(packed: object, call: str) -> None:
    with pytest.raises(TargetError, match=call):
        irene.estimate(Net(), packed, device=DEVICE)


def test_a_model_that_takes_a_list_gets_its_list() -> None:
    class Sum(nn.Module):
        def forward(self, parts: list[Tensor]) -> Tensor:
            return parts[0] + parts[1]

    assert irene.estimate(Sum(), [torch.zeros(2), torch.zeros(2)], device=DEVICE).joules > 0


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Linear, r"^Linear is a class: give a model of it, as in `Linear\(\.\.\.\)`\.$"),
        (torch.zeros(2), r"^irene\.estimate takes a torch\.nn\.Module .* but got Tensor\.$"),
    ],
)
def test_what_is_no_model_is_said(model: Any, expected: str) -> None:
    with pytest.raises(TargetError, match=expected):
        irene.estimate(model, torch.zeros(1, 2), device=DEVICE)


@pytest.mark.parametrize("inputs", [(), (torch.zeros(2, 16, 63),)])
def test_what_is_wrong_and_what_to_do_are_sentences_for_python(inputs: tuple[Tensor, ...]) -> None:
    """No word about comments above a class: the model is there already."""
    with pytest.raises(TargetError) as raised:
        irene.estimate(Net(), *inputs, device=DEVICE)
    assert str(raised.value).endswith(
        ". Give the model inputs of the shape that it takes, or correct its forward."
    )
    assert "comment" not in str(raised.value)


def test_importing_irene_loads_nothing_else() -> None:
    """The worker imports it inside the user's interpreter."""
    code = (
        "import sys, irene; print([it for it in sys.modules if it in ('torch', 'rich', 'libcst')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
