"""A folder with a config.json: which class it builds, and inputs that it runs on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from irene.tree import Trace, check_sums, matrix_flops
from irene.worker.building import build
from irene.worker.building.architectures import architecture_of
from irene.worker.protocol import BuildSpec
from irene.worker.tracing import trace

BATCH, LENGTH = 2, 16
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "intermediate_size": 64, "vocab_size": 100}  # fmt: skip
IMAGE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
         "intermediate_size": 64, "image_size": 32, "patch_size": 8}  # fmt: skip


def spec_of(folder: Path, config: dict[str, Any], *architectures: str) -> BuildSpec:
    (folder / "config.json").write_text(json.dumps({**config, "architectures": architectures}))
    return BuildSpec(
        path="", text="", class_name="", search_paths=(), arguments=None, inputs=(),
        config_dir=str(folder), batch_size=BATCH, sequence_length=LENGTH, dtype=None,
        attention="eager",
    )  # fmt: skip


def real_flops(spec: BuildSpec, made: Trace) -> int:
    """Of a real run on the inputs of a trace."""
    built = build(spec, on_meta=False)
    args, kwargs = built.inputs(on_meta=False)
    shapes = {name: tuple(it.shape) for name, it in kwargs.items() if isinstance(it, torch.Tensor)}
    assert shapes == {it.name: it.shape for it in made.inputs}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built.model(*args, **kwargs)
    return int(counter.get_total_flops())


@pytest.mark.parametrize(
    ("config", "architecture", "shapes"),
    [
        ({"model_type": "bert", **TEXT}, "BertForSequenceClassification",
         {"input_ids": (2, 16), "attention_mask": (2, 16)}),
        ({"model_type": "bert", **TEXT}, "BertForMultipleChoice",
         {"input_ids": (2, 4, 16), "attention_mask": (2, 4, 16)}),
        ({"model_type": "llama", **TEXT, "num_key_value_heads": 2}, "LlamaForCausalLM",
         {"input_ids": (2, 16), "attention_mask": (2, 16)}),
        ({"model_type": "timesformer", **IMAGE, "num_frames": 2}, "TimesformerModel",
         {"pixel_values": (2, 2, 3, 32, 32)}),
        ({"model_type": "bros", **TEXT, "hidden_size": 128}, "BrosModel",
         {"input_ids": (2, 16), "attention_mask": (2, 16), "bbox": (2, 16, 4)}),
        ({"model_type": "patchtsmixer", "context_length": 32, "num_input_channels": 3,
          "d_model": 8, "num_layers": 1}, "PatchTSMixerModel", {"past_values": (2, 32, 3)}),
    ],
)  # fmt: skip
def test_an_architecture_runs_on_the_inputs_found_for_it(
    tmp_path: Path, config: dict[str, Any], architecture: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    """Also for real, with the FLOPs that torch counts there."""
    spec = spec_of(tmp_path, config, architecture)
    made = trace(spec)
    assert {it.name: it.shape for it in made.inputs} == shapes
    assert made.root.class_name == architecture
    assert check_sums(made.root) == []
    assert matrix_flops(made.root) == real_flops(spec, made)


def test_what_is_added_and_changed_is_an_assumption(tmp_path: Path) -> None:
    config = {"model_type": "timesformer", **IMAGE, "num_frames": 2}
    texts = [it.text for it in trace(spec_of(tmp_path, config)).assumptions]
    video = "float32[2, 2, 3, 32, 32]"
    assert texts == [f"pixel_values: {video}, the first shape with which forward runs"]


@pytest.mark.parametrize(
    ("config", "named", "expected"),
    [
        (transformers.BertConfig(), (), transformers.BertModel),
        (transformers.BertConfig(), ("BertForMaskedLM",), transformers.BertForMaskedLM),
        (transformers.BertConfig(), ("NoSuchModel",), transformers.BertModel),
        (transformers.FunnelConfig(), (), transformers.FunnelModel),
        (transformers.ZoeDepthConfig(), (), transformers.ZoeDepthForDepthEstimation),
        (transformers.AlignTextConfig(), (), transformers.AlignTextModel),
        (transformers.SamPromptEncoderConfig(), (), None),
    ],
)
def test_the_class_of_a_config(
    config: object, named: tuple[str, ...], expected: type | None
) -> None:
    """The one named, AutoModel's, another auto class's, the one beside the config, or none."""
    assert architecture_of(config, named, transformers) is expected
