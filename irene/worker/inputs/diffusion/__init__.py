"""Inputs of the models of diffusers, by their configs and the parameters of forward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from irene.worker.inputs.context import Context
from irene.worker.inputs.diffusion import conditions, latents, particular
from irene.worker.inputs.plans import Placeholder


def value(context: Context, name: str) -> object | None:
    """The input that a parameter of this name wants; None for an unknown name."""
    particular_rule = particular.RULES.get((context.class_name, name))
    if particular_rule is not None:
        return particular_rule(context)
    if name in _LATENTS:
        is_autoencoder = hasattr(context.model, "encode")
        return latents.clear(context, name) if is_autoencoder else latents.noisy(context, name)
    rule = conditions.RULES.get(name)
    return None if rule is None else rule(context, name)


def otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """Other orders of the dimensions of what is denoised or encoded, likeliest first."""
    if name in _LATENTS:
        is_autoencoder = hasattr(context.model, "encode")
        rule = latents.clear_otherwise if is_autoencoder else latents.noisy_otherwise
        yield from rule(context, name)


def optional(
    context: Context, names: Iterable[str], required: Mapping[str, object]
) -> dict[str, object]:
    """Parameters with a default of None that the config says the model is conditioned on."""
    found = {name: value(context, name) for name in names if name not in _MASKS}
    return {name: it for name, it in found.items() if it is not None and name not in required}


_LATENTS = ("sample", "hidden_states")
_MASKS = ("encoder_attention_mask", "encoder_hidden_states_mask", "attention_mask")
"""Without them nothing is padded."""
