"""Inputs of single diffusion models that no general rule finds, each with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from irene.worker.inputs.context import Context, ParticularRule
from irene.worker.inputs.diffusion import conditions, latents
from irene.worker.inputs.plans import Placeholder

Size = int | str | tuple[str, ...]


def shaped(*sizes: Size, dtype: str = "", ones: bool = False) -> Callable[[Context], Placeholder]:
    """A rule for a shape, of numbers, of the names of `_size`, and of keys of the config."""

    def rule(context: Context) -> Placeholder:
        shape = tuple(_size(context, it) for it in sizes)
        return Placeholder(dtype or context.dtype, shape, "ones" if ones else "random")

    return rule


def _size(context: Context, size: Size) -> int:
    if isinstance(size, int):
        return size
    if isinstance(size, str) and size in _SIZES:
        return _SIZES[size](context)
    keys = (size,) if isinstance(size, str) else size
    return context.number(*keys) or 1


_SIZES: Mapping[str, Callable[[Context], int]] = {
    "batch": lambda context: context.batch,
    "text": conditions.text_length,
    "frames": latents.frames,
    "height": lambda context: latents.side(context)[0],
    "width": lambda context: latents.side(context)[1],
    "tokens": latents.n_tokens,
    "texts and tokens": lambda context: conditions.text_length(context) + latents.n_tokens(context),
    "batch * frames": lambda context: context.batch * latents.frames(context),
}


def number(value: float) -> ParticularRule:
    """A plain number, with which the pipelines of diffusers call the model."""
    return lambda _: value


def listed(rule: ParticularRule, *keys: str) -> ParticularRule:
    """A list of the same: as many as the config says, in the sum of its keys."""

    def rules(context: Context) -> object:
        n = sum(context.number(it) or 0 for it in keys) if keys else context.batch
        return [rule(context) for _ in range(n)]

    return rules


def grids(context: Context) -> object:
    """One picture for each example, of 1 x 32 x 32 tokens."""
    side = latents.TOKENS_SIDE
    return [[(1, side, side)] for _ in range(context.batch)]


def counted(*sizes: Size) -> ParticularRule:
    """Positions from 0 along the last dimension."""

    def rule(context: Context) -> Placeholder:
        return _counted(*(_size(context, it) for it in sizes))

    return rule


def _counted(*shape: int) -> Placeholder:
    return Placeholder("int64", shape, values=tuple(range(shape[-1])))


def nothing(context: Context) -> object:
    """What a general rule would give, and the model does not want."""
    del context
    return None


def bundles(context: Context) -> Placeholder:
    layers = context.size("injection_layer_ids")
    n = 1 + (len(layers) if isinstance(layers, (list, tuple)) else 0)
    return shaped("batch", n, "text", "cap_feat_dim")(context)


def whole_mask(context: Context) -> Placeholder:
    """All ones over text, time and patches: (batch, length, length)."""
    n = _whole_length(context)
    return Placeholder("int64", (context.batch, n, n), "ones")


def whole_positions(context: Context) -> Placeholder:
    return _counted(context.batch, _whole_length(context))


def _whole_length(context: Context) -> int:
    height, width = latents.side(context)
    patch = context.number("patch_size") or 1
    return conditions.text_length(context) + 1 + (height // patch) * (width // patch)


def text_lengths(context: Context) -> Placeholder:
    """No text is padded: (batch,)."""
    n = conditions.text_length(context)
    return Placeholder("int64", (context.batch,), values=(n,))


def axes_of_picture(context: Context) -> object:
    """Positions along frames, height and width of the patches, of which two by two are one."""
    height, width = latents.side(context)
    sizes = (latents.frames(context), height // 2, width // 2)
    return tuple(_counted(n) for n in sizes)


def encodings(context: Context) -> object:
    """One encoder's states with their mask."""
    states, mask = shaped("batch", "text", "d_model"), shaped("batch", "text", ones=True)
    return [(states(context), mask(context))]


_B = "batch"
_VIDEO = (_B, "in_channels", "frames", "height", "width")
_TOKENS = (_B, "tokens", "in_channels")

RULES: Mapping[tuple[str, str], ParticularRule] = {
    # ACE-Step: latents of sound, steps before channels.
    ("AceStepAudioTokenDetokenizer", "hidden_states"): shaped(_B, "text", "hidden_size"),
    ("AceStepAudioTokenizer", "hidden_states"): shaped(
        _B, 50, "pool_window_size", "audio_acoustic_hidden_dim"
    ),
    ("AceStepTransformer1DModel", "hidden_states"): shaped(_B, 256, "audio_acoustic_hidden_dim"),
    ("AceStepTransformer1DModel", "context_latents"): shaped(_B, 256, 128),
    ("AceStepTransformer1DModel", "encoder_hidden_states"): shaped(
        _B, "text", ("encoder_hidden_size", "hidden_size")
    ),
    ("AceStepConditionEncoder", "text_hidden_states"): shaped(_B, "text", "text_hidden_dim"),
    ("AceStepConditionEncoder", "text_attention_mask"): shaped(_B, "text", dtype="int64", ones=True),
    ("AceStepConditionEncoder", "lyric_hidden_states"): shaped(_B, "text", "text_hidden_dim"),
    ("AceStepConditionEncoder", "lyric_attention_mask"): shaped(
        _B, "text", dtype="int64", ones=True
    ),
    ("AceStepConditionEncoder", "refer_audio_acoustic_hidden_states_packed"): shaped(
        _B, 750, "timbre_hidden_dim"
    ),
    ("AceStepConditionEncoder", "refer_audio_order_mask"): counted(_B),
    # Frames before channels, and a step for each frame.
    ("AnyFlowTransformer3DModel", "hidden_states"): shaped(
        _B, "frames", "in_channels", "height", "width"
    ),
    ("AnyFlowTransformer3DModel", "timestep"): shaped(_B, "frames"),
    ("AnyFlowTransformer3DModel", "r_timestep"): shaped(_B, "frames"),
    ("AnimaTextConditioner", "source_hidden_states"): shaped(_B, "text", "source_dim"),
    ("AnimaTextConditioner", "target_input_ids"): shaped(_B, "text", dtype="int64"),
    # Fourier features of the three colours make 15 channels.
    ("AutoencoderKLMochi", "sample"): shaped(_B, 3, 13, 256, 256),
    ("BriaFiboTransformer2DModel", "text_encoder_layers"): listed(
        shaped(_B, "text", "text_encoder_dim"), "num_layers", "num_single_layers"
    ),
    ("Cosmos3AVAEAudioTokenizer", "sample"): shaped(_B, 2, 1 << 16),
    ("AutoencoderKLMiniMaxH3", "sample"): shaped(_B, 3, 22, 256, 256),  # 17 n + 5 frames
    ("AutoencoderKLQwenImage21", "sample"): shaped(_B, "in_channels", 1, 256, 256),
    ("AudioLDM2ProjectionModel", "hidden_states"): shaped(_B, 1, "text_encoder_dim"),
    ("AudioLDM2ProjectionModel", "hidden_states_1"): shaped(_B, "text", "text_encoder_1_dim"),
    # The states of the encoder's layers, one bundle for each block that reads them and one more.
    ("BriaFibo2Transformer2DModel", "encoder_hidden_states"): bundles,
    ("ControlNetUnionModel", "controlnet_cond"): lambda context: [conditions.control(context)],
    ("ControlNetUnionModel", "control_type"): shaped(_B, "num_control_type", ones=True),
    ("ControlNetUnionModel", "control_type_idx"): lambda _: [0],
    ("HiDreamImageTransformer2DModel", "img_ids"): nothing,
    ("HiDreamImageTransformer2DModel", "encoder_hidden_states_t5"): shaped(_B, "text", 4096),
    ("HiDreamImageTransformer2DModel", "encoder_hidden_states_llama3"): shaped(
        32, _B, "text", 4096
    ),
    ("HiDreamImageTransformer2DModel", "pooled_embeds"): shaped(_B, "text_emb_dim"),
    **{(name, key): rule for name in ("HunyuanDiT2DModel", "HunyuanDiT2DControlNetModel")
       for key, rule in (
           ("text_embedding_mask", shaped(_B, "text_len", dtype="int64", ones=True)),
           ("encoder_hidden_states_t5", shaped(_B, "text_len_t5", "cross_attention_dim_t5")),
           ("text_embedding_mask_t5", shaped(_B, "text_len_t5", dtype="int64", ones=True)),
           ("image_meta_size", shaped(_B, 6)),
           ("style", shaped(_B, dtype="int64")),
           ("encoder_hidden_states", shaped(_B, "text_len", "cross_attention_dim")),
       )},
    ("HunyuanDiT2DControlNetModel", "controlnet_cond"): shaped(_B, "in_channels", "height", "width"),
    ("ErnieImageTransformer2DModel", "text_bth"): shaped(_B, "text", "text_in_dim"),
    ("ErnieImageTransformer2DModel", "text_lens"): text_lengths,
    ("GlmImageTransformer2DModel", "prior_token_id"): shaped(_B, 1024, dtype="int64"),
    ("GlmImageTransformer2DModel", "prior_token_drop"): shaped(_B, 1024, dtype="bool"),
    ("HunyuanVideo15Transformer3DModel", "encoder_hidden_states_2"): shaped(
        _B, "text", "text_embed_2_dim"
    ),
    ("HunyuanVideo15Transformer3DModel", "encoder_attention_mask_2"): shaped(
        _B, "text", dtype="int64", ones=True
    ),
    ("HunyuanVideo15Transformer3DModel", "image_embeds"): shaped(_B, 729, "image_embed_dim"),
    ("HunyuanVideoFramepackTransformer3DModel", "image_embeds"): shaped(_B, 729, "image_proj_dim"),
    ("HunyuanVideoFramepackTransformer3DModel", "indices_latents"): counted("frames"),
    # Before the frames to come: the first one with the last, and as history two and sixteen more.
    **{("HunyuanVideoFramepackTransformer3DModel", key): rule
       for name, n in (("clean", 2), ("history_2x", 2), ("history_4x", 16))
       for key, rule in (
           (f"latents_{name}", shaped(_B, "in_channels", n, "height", "width")),
           (f"indices_latents_{name}", counted(n)),
       )},
    ("I2VGenXLUNet", "image_latents"): shaped(*_VIDEO),
    ("I2VGenXLUNet", "image_embeddings"): shaped(_B, "cross_attention_dim"),
    ("Ideogram4PromptEnhancerHead", "hidden_states"): shaped(_B, "text", "hidden_size"),
    # Texts and pictures side by side in one sequence.
    ("Ideogram4Transformer2DModel", "hidden_states"): shaped(_B, "texts and tokens", "in_channels"),
    ("Ideogram4Transformer2DModel", "encoder_hidden_states"): shaped(
        _B, "texts and tokens", "llm_features_dim"
    ),
    ("Ideogram4Transformer2DModel", "position_ids"): shaped(
        _B, "texts and tokens", 3, dtype="int64"
    ),
    ("Ideogram4Transformer2DModel", "segment_ids"): shaped(_B, "texts and tokens", dtype="int64"),
    ("Ideogram4Transformer2DModel", "indicator"): shaped(_B, "texts and tokens", dtype="int64"),
    # Channels last.
    ("Kandinsky5Transformer3DModel", "hidden_states"): shaped(
        _B, "frames", "height", "width", "in_visual_dim"
    ),
    ("Kandinsky5Transformer3DModel", "visual_rope_pos"): axes_of_picture,
    ("Kandinsky5Transformer3DModel", "text_rope_pos"): counted("text"),
    # The latents, those of the picture to start from, and a mask.
    ("Kandinsky6Transformer3DModel", "hidden_states"): shaped(_B, "frames", "height", "width", 33),
    ("Kandinsky6Transformer3DModel", "visual_rope_pos"): axes_of_picture,
    ("Kandinsky6SRLatentUpscalerBank", "latents"): shaped(*_VIDEO),
    ("Kandinsky6SRLatentUpscalerBank", "scale"): number(2),
    # The latents, those of the small video, and a mask.
    ("Kandinsky6SRTransformer3DModel", "hidden_states"): shaped(
        _B, "frames", "height", "width", 129
    ),
    ("Krea2Transformer2DModel", "encoder_hidden_states"): shaped(
        _B, "text", "num_text_layers", "text_hidden_dim"
    ),
    ("Krea2Transformer2DModel", "position_ids"): shaped("texts and tokens", 3),
    ("LTX2VideoDiffusionDecoderModel", "z"): shaped(_B, "latent_channels", 3, 8, 8),
    **{(name, key): rule for name in ("LTXVideoTransformer3DModel", "LTX2VideoTransformer3DModel")
       for key, rule in (
           ("num_frames", latents.frames),
           ("height", number(latents.TOKENS_SIDE)),
           ("width", number(latents.TOKENS_SIDE)),
       )},
    ("LTX2VideoTransformer3DModel", "audio_hidden_states"): shaped(_B, 64, "audio_in_channels"),
    ("LTX2VideoTransformer3DModel", "audio_num_frames"): number(64),
    ("LTX2VideoTransformer3DModel", "audio_encoder_hidden_states"): shaped(
        _B, "text", "caption_channels"
    ),
    ("MMAudioVAE", "sample"): shaped(_B, 1 << 16),
    ("MiniMaxMusic3ConditionEncoder", "hidden_states"): shaped(_B, "text", 8 * 4096),
    ("MiniMaxMusic3RVQDepthDecoder", "inputs_embeds"): shaped(_B, "num_codebooks", "hidden_size"),
    ("MiniMaxMusic3Transformer1DModel", "encoder_hidden_states"): shaped(_B, 256, "condition_dim"),
    ("MiniMaxMusic3Vocoder", "latents"): shaped(_B, "latent_channels", 256),
    ("LuminaNextDiT2DModel", "cross_attention_kwargs"): lambda _: {},
    ("LuminaNextDiT2DModel", "image_rotary_emb"): shaped(384, 384, 36, dtype="complex64"),
    ("NucleusMoEImageTransformer2DModel", "img_shapes"): grids,
    # The text, the time and the patches of the picture in one sequence, with no pictures given.
    ("OmniGenTransformer2DModel", "input_ids"): shaped(_B, "text", dtype="int64"),
    ("OmniGenTransformer2DModel", "input_img_latents"): lambda _: [],
    ("OmniGenTransformer2DModel", "input_image_sizes"): lambda _: {},
    ("OmniGenTransformer2DModel", "attention_mask"): whole_mask,
    ("OmniGenTransformer2DModel", "position_ids"): whole_positions,
    ("PriorTransformer", "hidden_states"): shaped(_B, "embedding_dim"),
    ("PriorTransformer", "proj_embedding"): shaped(_B, ("embedding_proj_dim", "embedding_dim")),
    ("QwenImageControlNetModel", "img_shapes"): grids,
    ("QwenImageTransformer2DModel", "img_shapes"): grids,
    ("SanaWMTransformer3DModel", "timestep"): shaped(_B, 1, "frames"),
    ("SanaWMTransformer3DModel", "mask"): shaped(_B, "text", dtype="int64", ones=True),
    ("SparseControlNetModel", "conditioning_mask"): shaped(_B, 1, "frames", "height", "width"),
    ("SparseControlNetModel", "controlnet_cond"): shaped(
        _B, "conditioning_channels", "frames", "height", "width"
    ),
    ("StableAudio3DiTModel", "global_hidden_states"): shaped(_B, "global_cond_dim"),
    ("StableAudio3DurationEmbedder", "seconds"): shaped(_B),
    ("StableAudioDiTModel", "global_hidden_states"): shaped(_B, 1, "global_states_input_dim"),
    ("StableAudioProjectionModel", "text_hidden_states"): shaped(_B, "text", "text_encoder_dim"),
    ("StableCascadeUNet", "clip_text_pooled"): shaped(_B, 1, "clip_text_pooled_in_channels"),
    ("T2IAdapter", "x"): shaped(_B, "in_channels", 512, 512),
    ("T5FilmDecoder", "encodings_and_masks"): encodings,
    ("T5FilmDecoder", "decoder_input_tokens"): shaped(_B, "targets_length", "input_dims"),
    ("T5FilmDecoder", "decoder_noise_time"): shaped(_B),
    # Its pipeline repeats the text for each frame.
    ("UNetMotionModel", "encoder_hidden_states"): shaped(
        "batch * frames", "text", "cross_attention_dim"
    ),
    ("SparseControlNetModel", "encoder_hidden_states"): shaped(
        "batch * frames", "text", "cross_attention_dim"
    ),
    ("TransformerTemporalModel", "hidden_states"): shaped(
        "batch * frames", "in_channels", "height", "width"
    ),
    ("TransformerTemporalModel", "num_frames"): latents.frames,
    ("UniDiffuserModel", "latent_image_embeds"): shaped(_B, "in_channels", "height", "width"),
    ("UniDiffuserModel", "image_embeds"): shaped(_B, 1, "clip_img_dim"),
    ("UniDiffuserModel", "prompt_embeds"): shaped(_B, "num_text_tokens", "text_dim"),
    ("UniDiffuserModel", "timestep_img"): shaped(_B),
    ("UniDiffuserModel", "timestep_text"): shaped(_B),
    ("UniDiffuserModel", "encoder_hidden_states"): nothing,
    ("UniDiffuserTextDecoder", "input_ids"): shaped(_B, "text", dtype="int64"),
    ("UniDiffuserTextDecoder", "prefix_embeds"): shaped(_B, "prefix_length", "prefix_inner_dim"),
    ("UVit2DModel", "input_ids"): shaped(_B, 16, 16, dtype="int64"),
    ("UVit2DModel", "pooled_text_emb"): shaped(_B, "cond_embed_dim"),
    ("UVit2DModel", "micro_conds"): shaped(_B, 5),
    # One picture that is referred to comes before the frames.
    ("WanAnimateTransformer3DModel", "pose_hidden_states"): shaped(
        _B, "latent_channels", 8, "height", "width"
    ),
    ("WanAnimateTransformer3DModel", "encoder_hidden_states_image"): shaped(_B, 257, "image_dim"),
    ("WanAnimateTransformer3DModel", "face_pixel_values"): shaped(_B, 3, 29, 512, 512),
    ("WanVACETransformer3DModel", "control_hidden_states"): shaped(
        _B, "vace_in_channels", "frames", "height", "width"
    ),
    ("ZImageTransformer2DModel", "x"): listed(shaped("in_channels", 1, "height", "width")),
    ("ZImageTransformer2DModel", "cap_feats"): listed(shaped("text", "cap_feat_dim")),
}  # fmt: skip
