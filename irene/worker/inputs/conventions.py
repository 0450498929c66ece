"""What the parameters of forward are called in Transformers and diffusers, and what they want."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from irene.worker.inputs import audio, diffusion, images, particular, series, text
from irene.worker.inputs.context import Context, Rule
from irene.worker.inputs.plans import Placeholder

_RULES: Mapping[str, Rule] = {**text.RULES, **images.RULES, **audio.RULES, **series.RULES}


def _hidden_otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """Hidden states are also what parts of models call their first input."""
    yield from text.states_otherwise(context, name)
    yield from images.image_otherwise(context, name)
    yield from audio.samples_otherwise(context, name)


_OTHERWISE: Mapping[str, Callable[[Context, str], Iterator[Placeholder]]] = {
    "input_ids": text.ids_otherwise,
    "decoder_input_ids": text.ids_otherwise,
    "audio_input_ids": text.ids_otherwise,
    "pixel_values": images.image_otherwise,
    "pixel_values_videos": images.image_otherwise,
    "hidden_states": _hidden_otherwise,
    "decoder_input_values": audio.embedded,
    "input_values": audio.samples_otherwise,
    "input_features": audio.spectrogram_otherwise,
    "spectrogram": audio.spectrogram_otherwise,
}

_MAIN = ("input_ids", "pixel_values", "input_features", "input_values", "inputs_embeds")

_BY_ENDING: tuple[tuple[str, Rule], ...] = (
    (r"mask$", text.mask),
    (r"(ids|codes?|tokens|index)$", text.ids),
    (r"(embeds|features|states|queries|encoding|context|hidden|inputs)$", text.states),
)


def value(context: Context, name: str) -> object | None:
    """The input that a parameter of this name wants; None for an unknown name."""
    if context.is_diffusers:
        return diffusion.value(context, name)
    particular_rule = particular.RULES.get((context.model_type, name))
    if particular_rule is not None:
        return particular_rule(context)
    if name == "hidden_states" and images.is_packed(context):
        return images.image(context, name)
    rule = _RULES.get(name)
    return None if rule is None else rule(context, name)


def particular_names(context: Context) -> list[str]:
    """Parameters that have a rule for this architecture alone."""
    return [name for model_type, name in particular.RULES if model_type == context.model_type]


def by_ending(context: Context, name: str) -> Placeholder | None:
    """What a parameter of a Transformers model wants by the last word of its name."""
    if not context.is_transformers:
        return None
    for pattern, rule in _BY_ENDING:
        if re.search(pattern, name):
            context.assume(f"{name}: by its name")
            return rule(context, name)
    return None


def otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """Other shapes that a parameter of this name has in some architectures, likeliest first."""
    if context.is_diffusers:
        yield from diffusion.otherwise(context, name)
    elif name in _OTHERWISE:
        yield from _OTHERWISE[name](context, name)


def optional(
    context: Context, names: Iterable[str], required: Mapping[str, object]
) -> dict[str, object]:
    """Of the parameters that have a default those that the model cannot do without."""
    if context.is_diffusers:
        return diffusion.optional(context, names, required)
    names = list(names)
    main = _main_inputs(context, names, required)
    chosen = [name for name in main if name not in required]
    has_text = "input_ids" in main or "input_ids" in required
    if "attention_mask" in names and has_text and context.is_transformers:
        chosen.append("attention_mask")
    if "lengths" in names and has_text and context.is_transformers:
        chosen.append("lengths")
    if "decoder_input_ids" in names and context.size("is_encoder_decoder"):
        chosen.append("decoder_input_ids")
    return {name: it for name in chosen if (it := value(context, name)) is not None}


def _main_inputs(context: Context, names: list[str], required: Mapping[str, object]) -> list[str]:
    known = [name for name in _MAIN if name in names or name in required]
    has_both = context.size("text_config") and context.size("vision_config")
    if has_both and not _is_generative(context):
        return [name for name in known if name in ("input_ids", "pixel_values")]
    declared = getattr(context.model, "main_input_name", None)
    chosen = str(declared) if declared in known else next(iter(known), None)
    if chosen == "input_ids" and "pixel_values" in known and "pixel_values" not in required:
        context.assume("text alone, no images")
    return [] if chosen is None else [chosen]


def _is_generative(context: Context) -> bool:
    """Models that put images among the text take text alone."""
    is_chat = hasattr(context.model, "language_model")
    return is_chat or context.size("image_token_id") is not None
