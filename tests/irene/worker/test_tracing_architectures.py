"""Small models of many Transformers families against torch's counter on a real run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from irene.tree import check_sums, matrix_flops
from irene.worker.tracing import trace_module

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "vocab_size": 100}  # fmt: skip
IMAGE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "image_size": 64, "patch_size": 16}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SEQ2SEQ = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
           "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
           "vocab_size": 100}  # fmt: skip
MOE = {**SIZES, "num_key_value_heads": 2, "num_local_experts": 4}

torch.manual_seed(0)
IDS = {"input_ids": torch.randint(3, 100, (2, 12))}
BOTH = {**IDS, "decoder_input_ids": IDS["input_ids"]}
PIXELS = {"pixel_values": torch.randn(2, 3, 64, 64)}

ARCHITECTURES: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {
    "T5": ({"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
            "vocab_size": 100}, BOTH),
    "Bart": (SEQ2SEQ, BOTH),
    "Whisper": ({**SEQ2SEQ, **SPECIAL, "max_source_positions": 30, "decoder_start_token_id": 1},
                {"input_features": torch.randn(2, 80, 60), "decoder_input_ids": IDS["input_ids"]}),
    "Wav2Vec2": ({**SIZES, "conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2),
                  "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16},
                 {"input_values": torch.randn(2, 400)}),
    "ViT": (IMAGE, PIXELS),
    "Dinov2": (IMAGE, PIXELS),
    "Swin": ({"image_size": 64, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2],
              "window_size": 4}, PIXELS),
    "ConvNext": ({"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}, PIXELS),
    "ResNet": ({"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}, PIXELS),
    "Segformer": ({"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]}, PIXELS),
    "CLIP": ({"text_config": {**SIZES, **SPECIAL}, "vision_config": IMAGE, "projection_dim": 16},
             {**IDS, **PIXELS}),
    "Longformer": ({**SIZES, "attention_window": 4}, IDS),
    "XLNet": ({"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "vocab_size": 100}, IDS),
    "Bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}, IDS),
    "Gemma2": ({**SIZES, "num_key_value_heads": 2, "head_dim": 8}, IDS),
    "ModernBert": ({**SIZES, **SPECIAL, "cls_token_id": 1, "sep_token_id": 2}, IDS),
    "Mamba": ({"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 100}, IDS),
    "Albert": ({**SIZES, "embedding_size": 16}, IDS),
}  # fmt: skip


def small(name: str, sizes: dict[str, Any]) -> torch.nn.Module:
    config = getattr(transformers, f"{name}Config")(**sizes)
    if name not in ("Mamba", "ConvNext", "ResNet", "XLNet"):  # these have one attention or none
        config._attn_implementation = "eager"
    model = getattr(transformers, f"{name}Model")(config)
    assert isinstance(model, torch.nn.Module)
    return model.eval()


def real_flops(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_matrix_flops_equal_those_of_a_real_run(name: str) -> None:
    """Eager attention, of which the counter sees every product."""
    sizes, inputs = ARCHITECTURES[name]
    model = small(name, sizes)
    made = trace_module(model, (), inputs)
    assert matrix_flops(made.root) == real_flops(model, inputs)
    assert check_sums(made.root) == []
    assert made.root.n_parameters == sum(it.numel() for it in model.parameters())
    assert made.unpriced == ()


def test_grouped_experts_cost_what_the_same_experts_cost_one_by_one() -> None:
    """The counter sees no grouped product; Transformers' batched form it does."""
    grouped = small("Mixtral", {**MOE, "experts_implementation": "grouped_mm"})
    batched = small("Mixtral", {**MOE, "experts_implementation": "batched_mm"})
    made = trace_module(grouped, (), IDS)
    assert matrix_flops(made.root) == real_flops(batched, IDS)
    assert check_sums(made.root) == []
    assert "tokens spread evenly over the experts" in [it.text for it in made.assumptions]
