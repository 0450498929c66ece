"""A folder with a config.json of diffusers: its class, and inputs that it runs on, also for real."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from irene.tree import Trace, check_sums, matrix_flops, trace_to_json
from irene.worker.building import build
from irene.worker.meta import MEMO
from irene.worker.protocol import BuildSpec, Refusal
from irene.worker.refusals import Refused
from irene.worker.tracing import forget, trace

# Models of diffusers still use names and layers that diffusers and torch deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

B, S = 2, 6
HEADS = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2}
UNET = {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4}
CROSS = {**UNET, "cross_attention_dim": 12, "attention_head_dim": 2,
         "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}  # fmt: skip
UNET_2D = {**CROSS, "sample_size": 8, "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
VAE = {"block_out_channels": [8], "norm_num_groups": 4, "sample_size": 16}
FLUX = {**HEADS, "attention_head_dim": 16, "num_single_layers": 1, "in_channels": 8,
        "joint_attention_dim": 12, "axes_dims_rope": [4, 6, 6]}  # fmt: skip

Shapes = dict[str, tuple[int, ...]]

MODELS: list[tuple[str, dict[str, Any], Shapes]] = [
    ("UNet2DModel",
     {**UNET, "sample_size": 16, "num_class_embeds": 10,
      "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
      "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]},
     {"sample": (B, 3, 16, 16), "timestep": (B,), "class_labels": (B,)}),
    ("UNet2DConditionModel", UNET_2D,
     {"sample": (B, 4, 8, 8), "timestep": (B,), "encoder_hidden_states": (B, S, 12)}),
    ("UNet2DConditionModel",  # as Stable Diffusion XL
     {**UNET_2D, "sample_size": [8, 16], "addition_embed_type": "text_time",
      "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 40},
     {"sample": (B, 4, 8, 16), "timestep": (B,), "encoder_hidden_states": (B, S, 12),
      "added_cond_kwargs['text_embeds']": (B, 16), "added_cond_kwargs['time_ids']": (B, 6)}),
    ("ControlNetModel", {**CROSS, "conditioning_embedding_out_channels": [2, 2, 2, 2]},
     {"sample": (B, 4, 64, 64), "timestep": (B,), "encoder_hidden_states": (B, S, 12),
      "controlnet_cond": (B, 3, 512, 512)}),
    ("UNet1DModel",
     {"sample_size": 64, "block_out_channels": [32, 32, 32], "extra_in_channels": 64},
     {"sample": (B, 2, 64), "timestep": (B,)}),
    ("UNetSpatioTemporalConditionModel",
     {"block_out_channels": [32], "layers_per_block": 1, "sample_size": 4, "num_frames": 3,
      "num_attention_heads": [2], "cross_attention_dim": 12, "addition_time_embed_dim": 4,
      "projection_class_embeddings_input_dim": 12,
      "down_block_types": ["CrossAttnDownBlockSpatioTemporal"],
      "up_block_types": ["CrossAttnUpBlockSpatioTemporal"]},
     {"sample": (B, 3, 8, 4, 4), "timestep": (B,), "encoder_hidden_states": (B, S, 12),
      "added_time_ids": (B, 3)}),
    ("AutoencoderKL", VAE, {"sample": (B, 3, 16, 16)}),
    ("VQModel", VAE, {"sample": (B, 3, 16, 16)}),
    ("AutoencoderKLTemporalDecoder", {"block_out_channels": [32], "sample_size": 16},
     {"sample": (B, 3, 16, 16)}),
    ("AutoencoderOobleck",
     {"encoder_hidden_size": 4, "decoder_channels": 4, "decoder_input_channels": 2,
      "channel_multiples": [1, 2], "downsampling_ratios": [2, 4]}, {"sample": (B, 2, 65536)}),
    ("DiTTransformer2DModel", {**HEADS, "sample_size": 8},
     {"hidden_states": (B, 4, 8, 8), "timestep": (B,), "class_labels": (B,)}),
    ("PixArtTransformer2DModel",
     {**HEADS, "sample_size": 8, "caption_channels": 12, "cross_attention_dim": 16},
     {"hidden_states": (B, 4, 8, 8), "encoder_hidden_states": (B, S, 12), "timestep": (B,)}),
    ("SD3Transformer2DModel",
     {**HEADS, "sample_size": 8, "joint_attention_dim": 12, "caption_projection_dim": 16,
      "pooled_projection_dim": 20},
     {"hidden_states": (B, 16, 8, 8), "encoder_hidden_states": (B, S, 12),
      "pooled_projections": (B, 20), "timestep": (B,)}),
    ("FluxTransformer2DModel", {**FLUX, "pooled_projection_dim": 20, "guidance_embeds": True},
     {"hidden_states": (B, 1024, 8), "encoder_hidden_states": (B, S, 12),
      "pooled_projections": (B, 20), "timestep": (B,), "img_ids": (1024, 3), "txt_ids": (S, 3),
      "guidance": (B,)}),
    ("QwenImageTransformer2DModel", {**FLUX, "out_channels": 2},
     {"hidden_states": (B, 1024, 8), "encoder_hidden_states": (B, S, 12), "timestep": (B,)}),
    ("Transformer2DModel",
     {**HEADS, "in_channels": 8, "norm_num_groups": 4, "sample_size": 8, "norm_type": "layer_norm",
      "cross_attention_dim": 12},
     {"hidden_states": (B, 8, 8, 8), "encoder_hidden_states": (B, S, 12), "timestep": (B,)}),
    ("CogVideoXTransformer3DModel",
     {**HEADS, "sample_height": 8, "sample_width": 12, "sample_frames": 9, "text_embed_dim": 12,
      "max_text_seq_length": 10, "time_embed_dim": 4},
     {"hidden_states": (B, 3, 16, 8, 12), "encoder_hidden_states": (B, 10, 12), "timestep": (B,)}),
    ("HunyuanVideoTransformer3DModel",
     {**HEADS, "num_layers": 1, "num_single_layers": 1, "num_refiner_layers": 1, "in_channels": 4,
      "out_channels": 4, "attention_head_dim": 16, "text_embed_dim": 12,
      "pooled_projection_dim": 20, "patch_size": 8, "rope_axes_dim": [4, 6, 6]},
     {"hidden_states": (B, 4, 9, 64, 64), "encoder_hidden_states": (B, S, 12), "timestep": (B,),
      "encoder_attention_mask": (B, S), "pooled_projections": (B, 20), "guidance": (B,)}),
    ("StableAudioDiTModel",
     {**HEADS, "num_key_value_attention_heads": 1, "sample_size": 32, "in_channels": 4,
      "out_channels": 4, "cross_attention_dim": 8, "cross_attention_input_dim": 12,
      "global_states_input_dim": 20},
     {"hidden_states": (B, 4, 32), "encoder_hidden_states": (B, S, 12), "timestep": (B,),
      "global_hidden_states": (B, 1, 20)}),
]  # fmt: skip


def spec_of(folder: Path, name: str, config: dict[str, Any]) -> BuildSpec:
    (folder / "config.json").write_text(json.dumps({"_class_name": name, **config}))
    return BuildSpec(
        path="", text="", class_name="", search_paths=(), arguments=None, inputs=(),
        config_dir=str(folder), batch_size=B, sequence_length=S, dtype=None, attention=None,
    )  # fmt: skip


def real_flops(spec: BuildSpec) -> int:
    """Of a real run on the inputs that were found; the counter sees no fused attention there."""
    built = build(spec, on_meta=False)
    args, kwargs = built.inputs(on_meta=False)
    plain = sdpa_kernel(SDPBackend.MATH)
    with torch.no_grad(), plain, FlopCounterMode(display=False) as counter:
        built.model(*args, **kwargs)
    return int(counter.get_total_flops())


def shapes_of(made: Trace) -> Shapes:
    return {it.name: it.shape for it in made.inputs}


@pytest.mark.parametrize(("name", "config", "shapes"), MODELS, ids=[it[0] for it in MODELS])
def test_a_model_is_built_and_runs_on_the_inputs_of_its_config(
    tmp_path: Path, name: str, config: dict[str, Any], shapes: Shapes
) -> None:
    """With the FLOPs that torch counts for a real run, and with the memo as without."""
    spec = spec_of(tmp_path, name, config)
    made = trace(spec)
    assert (made.root.class_name, shapes_of(made)) == (name, shapes)
    assert check_sums(made.root) == []
    assert matrix_flops(made.root) == real_flops(spec) > 0
    remembered = trace_to_json(trace(spec))
    forget()
    with patch.object(MEMO, "put"):
        assert remembered == trace_to_json(trace(spec))


def test_packed_videos_come_with_their_sizes(tmp_path: Path) -> None:
    """Too many tokens for a real run: torch's counter on the same inputs, as meta tensors."""
    config = {**HEADS, "in_channels": 8, "out_channels": 8, "cross_attention_dim": 16,
              "caption_channels": 12}  # fmt: skip
    spec = spec_of(tmp_path, "LTXVideoTransformer3DModel", config)
    made = trace(spec)
    assert shapes_of(made)["hidden_states"] == (B, 9 * 32 * 32, 8)
    built = build(spec, on_meta=True)
    args, kwargs = built.inputs(on_meta=True)
    assert [kwargs[it] for it in ("num_frames", "height", "width")] == [9, 32, 32]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built.model.to("meta")(*args, **kwargs)
    assert matrix_flops(made.root) == counter.get_total_flops()


def test_a_config_of_an_older_class_gives_the_one_that_took_its_place(tmp_path: Path) -> None:
    """As diffusers itself turns a Transformer2DModel with patches into a DiT."""
    config = {**HEADS, "in_channels": 4, "sample_size": 8, "patch_size": 2, "out_channels": 4,
              "norm_type": "ada_norm_zero", "num_embeds_ada_norm": 10}  # fmt: skip
    made = trace(spec_of(tmp_path, "Transformer2DModel", config))
    assert made.root.class_name == "DiTTransformer2DModel"


def test_a_class_of_a_file_takes_the_config_of_a_folder(tmp_path: Path) -> None:
    """Else its defaults."""
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **VAE}))
    text = "from diffusers import AutoencoderKL\nclass Mine(AutoencoderKL): ...\n"
    built = build(
        BuildSpec(
            path="/work/mine.py", text=text, class_name="Mine", search_paths=(), arguments=None,
            inputs=(), config_dir=str(tmp_path), batch_size=B, sequence_length=S, dtype=None,
            attention=None,
        ),
        on_meta=True,
    )  # fmt: skip
    assert built.arguments == f"Mine.from_config({str(tmp_path)!r})"
    assert [it.shape for it in built.input_specs] == [(B, 3, 16, 16)]


def test_a_size_that_no_config_names_is_an_assumption(tmp_path: Path) -> None:
    made = trace(spec_of(tmp_path, "UNet2DConditionModel", {**UNET_2D, "sample_size": None}))
    assert [it.text for it in made.assumptions] == [
        "latents of 64 x 64, as the config names no size"
    ]


def refusal(spec: BuildSpec) -> Refusal:
    with pytest.raises(Refused) as raised:
        build(spec, on_meta=True)
    return raised.value.refusal


def test_what_a_folder_of_diffusers_needs_is_named(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "UNet2DModel", {})
    with patch.dict(sys.modules, {"diffusers": None}):
        found = refusal(spec)
    assert found.kind == "missing-import"
    assert "config.json is of UNet2DModel of diffusers" in found.message
    assert found.advice.startswith("Install diffusers")


@pytest.mark.parametrize("name", ["NoSuchModel", "DDPMScheduler", "MultiControlNetModel"])
def test_what_is_no_model_with_a_config_is_refused(tmp_path: Path, name: str) -> None:
    found = refusal(spec_of(tmp_path, name, {}))
    assert found.kind == "arguments"
    assert f"diffusers {diffusers.__version__} has no model {name}" in found.message
