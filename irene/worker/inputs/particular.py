"""Inputs of single architectures that no general rule finds, each with the reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from irene.worker.inputs import images
from irene.worker.inputs.context import Context, ParticularRule
from irene.worker.inputs.plans import Placeholder, Session

_MAP_SIDE = 32  # of feature maps, as a backbone of stride 32 makes them of 1024 x 1024 images


def image_pair(context: Context) -> object:
    """Matches the keypoints of two images: (batch, 2, channels, height, width)."""
    context.assume("pixel_values: pairs of images")
    height, width = images.image_size(context)
    if images.has_size(context):
        return Placeholder(
            context.dtype, (context.batch, 2, images.channels(context), height, width)
        )
    return Placeholder(context.dtype, (context.batch, 2, images.channels(context), 480, 640))


def half_image(context: Context) -> object:
    """Image and prompt are stacked to one of the config's size, each is half of it."""
    height, width = images.image_size(context)
    return Placeholder(context.dtype, (context.batch, images.channels(context), height // 2, width))


def codebook_tokens(context: Context) -> object:
    """The sequence runs over the codebooks of one time step: (batch, codebooks)."""
    return Placeholder("int64", (context.batch, context.number("num_codebooks") or 8))


def feature_map(context: Context) -> object:
    """One map of features in a list: (batch, width, 32, 32)."""
    width = context.width() or 256
    return [Placeholder(context.dtype, (context.batch, width, _MAP_SIDE, _MAP_SIDE))]


def feature_pyramid(context: Context) -> object:
    """Three maps of features, each half as wide as the one before."""
    width = context.width() or 256
    sides = (4 * _MAP_SIDE, 2 * _MAP_SIDE, _MAP_SIDE)
    return [Placeholder(context.dtype, (context.batch, width, it, it)) for it in sides]


def pixel_tokens(context: Context) -> object:
    """The hidden states of every pixel of the last map: (batch, 32 * 32, width)."""
    return Placeholder(context.dtype, (context.batch, _MAP_SIDE**2, context.width() or 256))


def square_patches(context: Context) -> object:
    """Patches as a map: (batch, width, 16, 16)."""
    return Placeholder(context.dtype, (context.batch, context.width() or 1024, 16, 16))


def merged_patches(context: Context) -> object:
    """One square of pixels for each image token: (tokens, side, side, channels)."""
    n = context.batch * images.grid_side(context) ** 2
    side = images.patch_size(context) * (context.number("spatial_merge_size") or 1)
    return Placeholder(context.dtype, (n, side, side, images.channels(context)))


def cubes(context: Context) -> object:
    """Patches of pixels with the channels last: (patches, frames, side, side, channels)."""
    side = images.patch_size(context)
    n = context.batch * (224 // side) ** 2
    n_frames = context.number("temporal_patch_size") or 1
    return Placeholder(context.dtype, (n, n_frames, side, side, images.channels(context)))


def strip_of_patches(context: Context) -> object:
    """The patches of all images beside each other: (1, channels, side, side * patches)."""
    side, n = images.patch_size(context), context.batch * images.grid_side(context) ** 2
    return Placeholder(context.dtype, (1, images.channels(context), side, side * n))


def pooled_patches(context: Context) -> object:
    """Four patches are pooled to one token: (tokens, 4)."""
    n = context.batch * images.grid_side(context) ** 2
    patches = tuple(tuple(range(4 * i, 4 * i + 4)) for i in range(n // 4))
    return Placeholder("int64", (n // 4, 4), values=patches)


def crops(context: Context) -> object:
    """Features of the patches of each crop, of several layers: (batch, patches, widths)."""
    width = first_linear(context, "k_proj") or context.width() or 1024
    return Placeholder(context.dtype, (context.batch, images.grid_side(context) ** 2, width))


def many_layers(context: Context) -> object:
    """Hidden states of several layers beside each other: (batch, length, widths)."""
    width = first_linear(context, "encoder") or context.width() or 1024
    return Placeholder(context.dtype, (context.batch, context.sequence, width))


def first_linear(context: Context, part: str) -> int | None:
    """What the first linear layer below a name takes."""
    from torch import nn

    for name, layer in context.model.named_modules():
        if part in name and isinstance(layer, nn.Linear):
            return layer.in_features
    return None


def bands_first(context: Context) -> object:
    """A convolution over the frames comes first: (batch, bands, frames)."""
    return Placeholder(context.dtype, (context.batch, 80, context.sequence))


def delayed_frames(context: Context) -> object:
    """Eight frames of the spectrogram for each token of text: (batch, bands, 8 * length)."""
    context.assume("input_features: eight frames for each token of text")
    bands = context.number("num_mel_bins") or 128
    return Placeholder(context.dtype, (context.batch, bands, 8 * context.sequence))


def one_second(context: Context) -> object:
    """Fifty frames, as many as one second of samples has: (batch, 50, widths)."""
    context.assume("input_features: 50 frames, one second")
    return Placeholder(context.dtype, (context.batch, 50, 160))


def mono(context: Context) -> object:
    """One channel of audio, ten whole frames: (batch, 1, samples)."""
    context.assume("hidden_states: 32000 samples")
    return Placeholder(context.dtype, (context.batch, 1, 32_000))


def embedded(context: Context) -> object:
    """The bare model has no network before it: (batch, length, width)."""
    return Placeholder(context.dtype, (context.batch, context.sequence, context.width() or 768))


def bool_mask(context: Context) -> object:
    """All frames count, as truth values: (batch, length)."""
    context.assume("no padding: every mask is all ones")
    return Placeholder("bool", (context.batch, context.sequence), "ones")


def one_image(context: Context) -> object:
    """One image among the text: (batch, 1, channels, height, width)."""
    context.assume("pixel_values: one image")
    size = images.image_size(context)
    return Placeholder(context.dtype, (context.batch, 1, images.channels(context), *size))


def image_for_each_token(context: Context) -> object:
    """Every token sees the one image: (batch, length, 1)."""
    return Placeholder("int64", (context.batch, context.sequence, 1), "ones")


def image_counts(context: Context) -> object:
    """The one image counts: (batch, 1)."""
    return Placeholder("bool", (context.batch, 1), "ones")


def action_states(context: Context) -> object:
    """Actions in the width of the part that makes them: (batch, length, width)."""
    width = getattr(getattr(context.config, "dit_config", None), "hidden_size", 1024)
    return Placeholder(context.dtype, (context.batch, context.sequence, width))


def channel_tokens(context: Context) -> object:
    """One token for each channel of audio: (batch, length, channels)."""
    n = context.number("num_channels") or 9
    return Placeholder("int64", (context.batch, context.sequence, n))


def step_state(context: Context) -> object:
    """The state of one time step of the model above: (batch, 1, width)."""
    width = context.number("input_size") or context.width() or 4096
    return Placeholder(context.dtype, (context.batch, 1, width))


def codebook_mask(context: Context) -> object:
    """As long as the codebooks: (batch, codebooks)."""
    return Placeholder("int64", (context.batch, context.number("num_codebooks") or 8), "ones")


def half_a_minute(context: Context) -> object:
    """Thirty seconds, a multiple of the windows: (batch, bands, 3000)."""
    context.assume("input_features: 30 seconds, 3000 frames")
    return Placeholder(context.dtype, (context.batch, context.number("num_mel_bins") or 128, 3000))


def mask_of_half_a_minute(context: Context) -> object:
    """All frames count: (batch, 3000)."""
    return Placeholder("int64", (context.batch, 3000), "ones")


def tracking(context: Context) -> object:
    """A session that tracks one object, of which the user clicked one point in the first frame."""
    import torch

    place = sys.modules[type(context.model).__module__]
    name = next(it for it in vars(place) if it.endswith("InferenceSession"))
    height, width = images.image_size(context)
    device = next(context.model.parameters()).device

    def make() -> object:
        session = getattr(place, name)(
            video_height=height,
            video_width=width,
            dtype=getattr(torch, context.dtype),
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
        )
        index = session.obj_id_to_idx(1)
        point = {
            "point_coords": torch.full((1, 1, 1, 2), 0.5),
            "point_labels": torch.ones((1, 1, 1), dtype=torch.int32),
        }
        session.add_point_inputs(index, 0, point)
        session.obj_with_new_inputs = [1]
        return session

    context.assume("one object, one point, one new frame")
    return Session(name, make)


def frame(context: Context) -> object:
    """One frame: (1, channels, height, width)."""
    height, width = images.image_size(context)
    return Placeholder(context.dtype, (1, images.channels(context), height, width))


def byte_patches(context: Context) -> object:
    """Each patch has four bytes: (batch, length)."""
    context.assume("patches of four bytes")
    ids = tuple(i // 4 for i in range(context.sequence))
    return Placeholder("int64", (context.batch, context.sequence), values=ids)


def four_bytes_each(context: Context) -> object:
    """The lengths of patches of four bytes: (batch, patches)."""
    context.assume("patches of four bytes")
    n = max(1, context.sequence // 4)
    return Placeholder("int64", (context.batch, n), values=(context.sequence // n,))


def nothing(context: Context) -> object:
    """Its attention takes no mask of numbers."""
    del context
    return None


def number_of_byte_patches(context: Context) -> object:
    """Each patch has four bytes."""
    return max(1, context.sequence // 4)


def patch_states(context: Context) -> object:
    """Hidden states of patches of four bytes: (batch, patches, width)."""
    context.assume("patches of four bytes")
    width = first_linear(context, "patch_embedding_projection") or context.width() or 2048
    return Placeholder(context.dtype, (context.batch, max(1, context.sequence // 4), width))


def delay(context: Context) -> object:
    """The embedded delay, the same for all: (1, 1, width)."""
    return Placeholder(context.dtype, (1, 1, context.width() or 3072))


def questions(context: Context) -> object:
    """Four questions at the first four tokens of one prompt: (1, 4)."""
    context.assume("one prompt with four questions")
    return Placeholder("int64", (1, 4), values=(1,))


def one_prompt(context: Context) -> object:
    """One prompt: (1, length)."""
    return Placeholder("int64", (1, context.sequence))


def patches_of_an_image(context: Context) -> object:
    """As many as a 1024 x 1024 image has."""
    del context
    return 256


def mel_frames(context: Context) -> object:
    """A mel spectrogram: (batch, frames, bands)."""
    bands = context.number("mel_dim") or 80
    return Placeholder(context.dtype, (context.batch, context.sequence, bands))


def voice(context: Context) -> object:
    """The voice: (batch, width)."""
    return Placeholder(context.dtype, (context.batch, context.number("enc_emb_dim") or 192))


def voice_of_each_frame(context: Context) -> object:
    """The voice, repeated for each frame: (batch, frames, width)."""
    width = context.number("enc_emb_dim") or 192
    return Placeholder(context.dtype, (context.batch, context.sequence, width))


def codes(context: Context) -> object:
    """One code for every `repeats` frames: (batch, codes)."""
    repeats = context.number("repeats") or 2
    return Placeholder("int64", (context.batch, context.sequence // repeats))


def noise_level(context: Context) -> object:
    """The time of diffusion of each example: (batch,)."""
    return Placeholder(context.dtype, (context.batch,))


RULES: Mapping[tuple[str, str], ParticularRule] = {
    ("superglue", "pixel_values"): image_pair,
    ("lightglue", "pixel_values"): image_pair,
    ("efficientloftr", "pixel_values"): image_pair,
    ("seggpt", "pixel_values"): half_image,
    ("seggpt", "prompt_pixel_values"): half_image,
    ("seggpt", "prompt_masks"): half_image,
    ("moshi_depth", "input_ids"): codebook_tokens,
    ("moshi_depth", "attention_mask"): codebook_mask,
    ("moshi_depth", "last_hidden_state"): step_state,
    ("sam2_video", "inference_session"): tracking,
    ("sam2_video", "frame"): frame,
    ("sam3_tracker_video", "inference_session"): tracking,
    ("sam3_tracker_video", "frame"): frame,
    ("edgetam_video", "inference_session"): tracking,
    ("edgetam_video", "frame"): frame,
    ("blt", "patch_lengths"): four_bytes_each,
    ("blt_local_encoder", "attention_mask"): nothing,
    ("blt_local_decoder", "attention_mask"): nothing,
    ("blt_local_encoder", "patch_ids"): byte_patches,
    ("blt_local_encoder", "num_patches"): number_of_byte_patches,
    ("blt_local_decoder", "patch_embeds"): patch_states,
    ("voxtral_realtime_text", "t_cond"): delay,
    ("jev", "input_ids"): one_prompt,
    ("jev", "marks"): questions,
    ("jev", "num_options"): questions,
    ("jev", "question_type_ids"): questions,
    ("deepseek_ocr2_encoder", "num_patches"): patches_of_an_image,
    ("qwen2_5_omni_dit", "hidden_states"): mel_frames,
    ("qwen2_5_omni_dit", "condition_vector"): mel_frames,
    ("qwen2_5_omni_dit", "speaker_embedding"): voice_of_each_frame,
    ("qwen2_5_omni_dit", "quantized_code"): codes,
    ("qwen2_5_omni_dit", "time_step"): noise_level,
    ("qwen2_5_omni_token2wav", "code"): codes,
    ("qwen2_5_omni_token2wav", "conditioning"): voice,
    ("qwen2_5_omni_token2wav", "reference_mel"): mel_frames,
    ("clvp", "input_features"): bands_first,
    ("qwen3_asr_encoder", "input_features"): half_a_minute,
    ("qwen3_asr_encoder", "input_features_mask"): mask_of_half_a_minute,
    ("voxtral_realtime", "input_features"): delayed_frames,
    ("xcodec2", "input_features"): one_second,
    ("vibevoice_acoustic_tokenizer_encoder", "hidden_states"): mono,
    ("speecht5", "input_values"): embedded,
    ("speecht5", "decoder_input_values"): embedded,
    ("gemma3n_audio", "audio_mel_mask"): bool_mask,
    ("idefics", "pixel_values"): one_image,
    ("idefics", "image_attention_mask"): image_for_each_token,
    ("pi0", "pixel_values"): one_image,
    ("pi0", "pixel_attention_mask"): image_counts,
    ("pi0", "action_embeds"): action_states,
    ("dia_decoder", "input_ids"): channel_tokens,
    ("sam3_detr_encoder", "vision_features"): feature_map,
    ("sam3_detr_encoder", "vision_pos_embeds"): feature_map,
    ("sam3_lite_text_detr_encoder", "vision_features"): feature_map,
    ("sam3_lite_text_detr_encoder", "vision_pos_embeds"): feature_map,
    ("sam3_mask_decoder", "backbone_features"): feature_pyramid,
    ("sam3_mask_decoder", "encoder_hidden_states"): pixel_tokens,
    ("sam3_lite_text_mask_decoder", "backbone_features"): feature_pyramid,
    ("sam3_lite_text_mask_decoder", "encoder_hidden_states"): pixel_tokens,
    ("unlimited_ocr_vision_encoder", "patch_embeds"): square_patches,
    ("inkling2_vision", "pixel_values"): merged_patches,
    ("inkling_vision", "pixel_values"): cubes,
    ("minicpm_ocr_vision", "pixel_values"): strip_of_patches,
    ("minicpmv4_6_vision", "pixel_values"): strip_of_patches,
    ("minicpmv4_7_vision", "pixel_values"): strip_of_patches,
    ("molmo2_adapter", "image_features"): crops,
    ("molmo2_adapter", "pooled_patches_idx"): pooled_patches,
    ("muse_glimmer_assistant", "context_hidden_states"): many_layers,
}
"""By model type and parameter."""
