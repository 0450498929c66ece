"""Inputs of the models of diffusers, by their configs and the parameters of forward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from irene.worker.inputs.context import Context
from irene.worker.inputs.diffusion import conditions, latents, particular
from irene.worker.inputs.plans import Placeholder


def value(context: Context, name: str) -> object | None:
    """The input that a parameter of this name wants; None where the model does without."""
    rule = particular.RULES.get((context.class_name, name))
    if rule is None and name in _LATENTS:
        rule = latents.clear if latents.is_autoencoder(context) else latents.noisy
    rule = rule or conditions.RULES.get(name)
    return None if rule is None else rule(context)


def otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """Other orders of the dimensions of what is denoised or encoded, likeliest first."""
    if name in _LATENTS:
        is_clear = latents.is_autoencoder(context)
        yield from (latents.clear_otherwise if is_clear else latents.noisy_otherwise)(context)


def optional(
    context: Context, names: Iterable[str], required: Mapping[str, object]
) -> dict[str, object]:
    """Of the parameters with a default those that the config says the model is conditioned on."""
    chosen = [it for it in names if it not in required and it not in _DISPENSABLE]
    found = {name: value(context, name) for name in chosen}
    return {name: it for name, it in found.items() if it is not None}


_LATENTS = ("sample", "hidden_states")
_DISPENSABLE = ("encoder_attention_mask", "encoder_hidden_states_mask", "attention_mask", "fps")
"""Without them nothing is padded, and videos have the usual rate."""
