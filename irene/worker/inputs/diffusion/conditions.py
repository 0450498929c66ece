"""What diffusion models are conditioned on: time, text, classes, pooled texts, positions."""

from __future__ import annotations

from collections.abc import Mapping

from irene.worker.inputs.context import Context, ParticularRule
from irene.worker.inputs.diffusion import latents
from irene.worker.inputs.plans import Placeholder

_TEXT_WIDTHS = (
    "caption_channels", "text_embed_dim", "joint_attention_dim", "text_dim", "cap_feat_dim",
    "context_in_dim", "in_text_dim", "text_hidden_dim", "text_in_dim", "llm_features_dim",
    "dit_text_dim", "cond_token_dim", "condition_dim", "cross_attention_input_dim",
    "encoder_hidden_states_channels", "encoder_hidden_size", "cross_attention_dim",
    "embedding_dim",
)  # fmt: skip
_TEXT_LENGTHS = ("max_text_seq_length", "num_embeddings", "text_len", "max_sequence_length")


def time(context: Context) -> Placeholder:
    """One step of the schedule for each example: (batch,)."""
    return Placeholder(context.dtype, (context.batch,), values=(1.0,))


def second_time(context: Context) -> Placeholder | None:
    """Where a mean flow ends: (batch,)."""
    return None if context.size("use_meanflow") is False else time(context)


def text(context: Context) -> Placeholder | None:
    """What a text encoder gives: (batch, length, width)."""
    width = _text_width(context)
    if width is None:
        return None
    return Placeholder(context.dtype, (context.batch, text_length(context), width))


def _text_width(context: Context) -> int | None:
    if context.size("encoder_hid_dim_type") == "text_proj" or context.size("encoder_hid_dim"):
        return context.number("encoder_hid_dim")
    return context.number(*_TEXT_WIDTHS)


def text_length(context: Context) -> int:
    """The sequence length, or as many tokens as the model has places for."""
    limit = context.number(*_TEXT_LENGTHS)
    if limit is None or limit == context.sequence:
        return context.sequence
    context.assume(f"texts of {limit} tokens, as the config says")
    return limit


def text_mask(context: Context) -> Placeholder:
    """All ones: (batch, length)."""
    context.assume("no padding: every mask of texts is all ones")
    return Placeholder("int64", (context.batch, text_length(context)), "ones")


def pooled(context: Context) -> Placeholder | None:
    """A whole text in one vector: (batch, width)."""
    width = context.number("pooled_projection_dim", "in_text_dim2", "clip_text_pooled_in_channels")
    return None if width is None else Placeholder(context.dtype, (context.batch, width))


def labels(context: Context) -> Placeholder | None:
    """Classes: (batch,); vectors where the model projects them."""
    kind = context.size("class_embed_type")
    width = context.number("projection_class_embeddings_input_dim")
    if kind in ("projection", "simple_projection") and width is not None:
        return Placeholder(context.dtype, (context.batch, width))
    if kind == "timestep":
        return Placeholder(context.dtype, (context.batch,), values=(1.0,))
    is_class = context.number("num_class_embeds") or context.size("norm_type") == "ada_norm_zero"
    if not is_class and kind != "identity":
        return None
    context.assume("class_labels: the first class")
    return Placeholder("int64", (context.batch,), values=(0,))


def guidance(context: Context) -> Placeholder | None:
    """The strength of guidance, where it is distilled into the model: (batch,)."""
    if not context.size("guidance_embeds"):
        return None
    return Placeholder(context.dtype, (context.batch,), values=(3.5,))


def picture_ids(context: Context) -> Placeholder | None:
    """Positions of packed latents: (tokens, axes)."""
    return _ids(context, latents.n_tokens(context))


def text_ids(context: Context) -> Placeholder | None:
    """Positions of the text: (length, axes)."""
    return _ids(context, text_length(context))


def _ids(context: Context, n: int) -> Placeholder | None:
    axes = context.size("axes_dims_rope")
    if not isinstance(axes, (list, tuple)):
        return None
    return Placeholder(context.dtype, (n, len(axes)))


def condition_width(context: Context) -> Placeholder | None:
    """Distilled guidance as an embedding: (batch, width)."""
    width = context.number("time_cond_proj_dim")
    return None if width is None else Placeholder(context.dtype, (context.batch, width))


def added(context: Context) -> object:
    """What Stable Diffusion XL and its kin are conditioned on beside the text; else None."""
    batch, dtype = context.batch, context.dtype
    kind = context.size("addition_embed_type")
    if kind == "text_time":
        width = context.number("addition_time_embed_dim") or 256
        whole = context.number("projection_class_embeddings_input_dim") or 2816
        return {
            "text_embeds": Placeholder(dtype, (batch, whole - 6 * width)),
            "time_ids": Placeholder(dtype, (batch, 6)),
        }
    found: dict[str, object] = {}
    images = Placeholder(dtype, (batch, context.number("encoder_hid_dim") or 768))
    if kind == "text_image":
        found = {"image_embeds": images, "text_embeds": text(context)}
    elif kind == "image":
        found = {"image_embeds": images}
    if getattr(context.model, "use_additional_conditions", False):
        found["resolution"] = Placeholder(dtype, (batch, 2))
        found["aspect_ratio"] = Placeholder(dtype, (batch, 1))
    return found or None


def control(context: Context) -> Placeholder | None:
    """The picture that controls, eight times as large as the latents: (batch, 3, height, width)."""
    n = context.number("conditioning_channels", "ctrl_conditioning_channels")
    if n is None:
        return _control_latents(context)
    height, width = latents.side(context)
    return Placeholder(context.dtype, (context.batch, n, 8 * height, 8 * width))


def _control_latents(context: Context) -> Placeholder:
    """Latents as those to denoise, with the channels that the config adds to them."""
    more = context.number("extra_conditioning_channels", "extra_condition_channels") or 0
    plain = latents.noisy(context)
    at = -1 if latents.is_packed(context) else 1
    shape = list(plain.shape)
    shape[at] += more
    return Placeholder(plain.dtype, tuple(shape))


def frame_rate(context: Context) -> Placeholder:
    """(batch,)."""
    return Placeholder("int64", (context.batch,), values=(16,))


def time_ids(context: Context) -> Placeholder:
    """Frame rate, motion and noise of Stable Video Diffusion: (batch, 3)."""
    each = context.number("addition_time_embed_dim") or 256
    n = (context.number("projection_class_embeddings_input_dim") or 3 * each) // each
    return Placeholder(context.dtype, (context.batch, n))


def sizes(context: Context) -> Placeholder:
    """Height and width in pixels, or a corner: (batch, 2)."""
    context.assume("pictures of 1024 x 1024, uncropped")
    return Placeholder(context.dtype, (context.batch, 2), values=(1024.0, 1024.0))


RULES: Mapping[str, ParticularRule] = {
    "timestep": time,
    "timesteps": time,
    "timestep_ratio": time,
    "r_timestep": time,
    "timestep_r": second_time,
    "t": time,
    "encoder_hidden_states": text,
    "encoder_attention_mask": text_mask,
    "encoder_hidden_states_mask": text_mask,
    "encoder_mask": text_mask,
    "pooled_projections": pooled,
    "class_labels": labels,
    "guidance": guidance,
    "img_ids": picture_ids,
    "txt_ids": text_ids,
    "timestep_cond": condition_width,
    "controlnet_cond": control,
    "fps": frame_rate,
    "added_time_ids": time_ids,
    "original_size": sizes,
    "target_size": sizes,
    "crop_coords": sizes,
    "added_cond_kwargs": added,
}
