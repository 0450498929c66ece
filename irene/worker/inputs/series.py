"""Inputs of models of time series and of decisions."""

from __future__ import annotations

from irene.worker.inputs.context import Context, Rule
from irene.worker.inputs.plans import Placeholder


def past(context: Context, name: str) -> Placeholder:
    """(batch, past steps, channels), or (batch, past steps) where there is one series."""
    del name
    steps = context.number("context_length", "seq_len") or context.sequence
    n_channels = context.number("num_input_channels")
    if n_channels is None:
        return Placeholder(context.dtype, (context.batch, steps))
    return Placeholder(context.dtype, (context.batch, steps, n_channels))


def past_padding(context: Context, name: str) -> Placeholder:
    """Nothing is padded: (batch, past steps)."""
    context.assume(f"{name}: nothing is padded")
    steps = context.number("context_length", "seq_len") or context.sequence
    return Placeholder(context.dtype, (context.batch, steps), values=(0.0,))


def frequency(context: Context, name: str) -> Placeholder:
    """The highest frequency class: (batch, 1)."""
    context.assume(f"{name}: 0")
    return Placeholder("int64", (context.batch, 1), values=(0,))


def states(context: Context, name: str) -> Placeholder:
    """(batch, steps, size of a state)."""
    del name
    return _steps(context, context.number("state_dim") or 17)


def actions(context: Context, name: str) -> Placeholder:
    """(batch, steps, size of an action)."""
    del name
    return _steps(context, context.number("act_dim") or 4)


def rewards(context: Context, name: str) -> Placeholder:
    """(batch, steps, 1)."""
    del name
    return _steps(context, 1)


def steps(context: Context, name: str) -> Placeholder:
    """(batch, steps)."""
    del name
    return Placeholder("int64", (context.batch, context.sequence))


def _steps(context: Context, width: int) -> Placeholder:
    return Placeholder(context.dtype, (context.batch, context.sequence, width))


RULES: dict[str, Rule] = {
    "past_values": past,
    "past_values_padding": past_padding,
    "freq": frequency,
    "states": states,
    "actions": actions,
    "rewards": rewards,
    "returns_to_go": rewards,
    "timesteps": steps,
}
