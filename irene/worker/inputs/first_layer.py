"""One unknown input: its shape follows from the first layer that it reaches.

The guess is tried by a run on meta, and shown as an assumption.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from irene.tree import Assumption
from irene.worker.inputs.plans import Inputs, Placeholder
from irene.worker.meta import left_as_it_was, parts_of, run_on_meta
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch

    from irene.worker.inputs.context import Context

_IMAGE_SIZES = (224, 32, 28, 64, 96, 128, 256, 299, 384, 512)


def from_first_layer(
    model: torch.nn.Module, parameter: inspect.Parameter, context: Context
) -> Inputs | None:
    """Inputs for the only required parameter; None where it reaches no known layer.

    Where no guess runs the likeliest is returned: tracing it says why.
    """
    likeliest = None
    with left_as_it_was(model.modules()):
        for placeholder, layer in _guesses(model, parameter, context):
            inputs = _as_inputs(parameter, placeholder, layer)
            if _runs(model, inputs):
                return inputs
            likeliest = likeliest or inputs
    return likeliest


def _as_inputs(parameter: inspect.Parameter, value: Placeholder, layer: str) -> Inputs:
    name = parameter.name
    text = f"{name}: {value}, from the first layer, {layer}"
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return Inputs((value,), {}, (name,), (Assumption(text, None),))
    return Inputs((), {name: value}, (), (Assumption(text, None),))


def _runs(model: torch.nn.Module, inputs: Inputs) -> bool:
    values = KnownValues()
    args, kwargs = inputs.on_meta(values)
    try:
        run_on_meta(parts_of(model), args, kwargs, values)
    except Exception:  # noqa: BLE001 - any error means that the guess was wrong
        return False
    return True


def _guesses(
    model: torch.nn.Module, parameter: inspect.Parameter, context: Context
) -> Iterator[tuple[Placeholder, str]]:
    for layer in _first_layers(model, parameter, context):
        for placeholder in _accepted_by(layer, context):
            yield placeholder, _written(layer)


def _first_layers(
    model: torch.nn.Module, parameter: inspect.Parameter, context: Context
) -> Iterator[torch.nn.Module]:
    """The layer that is called first, found with inputs of two, three and four dimensions."""
    seen: list[torch.nn.Module] = []
    for n_dimensions in (3, 2, 4, 5):
        shape = (context.batch, context.sequence, 1, 1, 1)[:n_dimensions]
        probe = _as_inputs(parameter, Placeholder(context.dtype, shape), "unknown")
        layer = _first_called(model, probe, context)
        if layer is not None and layer not in seen:
            seen.append(layer)
            yield layer


class _Reached(BaseException):
    """Ends a probing forward at the first known layer."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer


def _first_called(
    model: torch.nn.Module, probe: Inputs, context: Context
) -> torch.nn.Module | None:
    from torch.nn.modules.module import register_module_forward_pre_hook

    def stop(module: torch.nn.Module, _args: object) -> None:
        if next(_accepted_by(module, context), None) is not None:
            raise _Reached(module)

    values = KnownValues()
    args, kwargs = probe.on_meta(values)
    handle = register_module_forward_pre_hook(stop)
    try:
        run_on_meta(parts_of(model), args, kwargs, values)
    except _Reached as reached:
        return reached.layer
    except Exception:  # noqa: BLE001 - the probe has the wrong shape for this model
        return None
    finally:
        handle.remove()
    return None


def _accepted_by(  # noqa: C901 - one line per kind of layer
    layer: torch.nn.Module, context: Context
) -> Iterator[Placeholder]:
    """Inputs that the layer takes, the most likely first."""
    from torch import nn

    batch, sequence, dtype = context.batch, context.sequence, context.dtype
    if isinstance(layer, nn.Embedding):
        yield Placeholder("int64", (batch, sequence))
    elif isinstance(layer, (nn.LSTM, nn.GRU, nn.RNN)):
        first = (batch, sequence) if layer.batch_first else (sequence, batch)
        yield Placeholder(dtype, (*first, layer.input_size))
    elif isinstance(layer, (nn.MultiheadAttention, nn.TransformerEncoderLayer)):
        attention = layer if isinstance(layer, nn.MultiheadAttention) else layer.self_attn
        first = (batch, sequence) if attention.batch_first else (sequence, batch)
        yield Placeholder(dtype, (*first, attention.embed_dim))
    elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        yield from _images(layer.in_channels, context)
    elif isinstance(layer, (nn.BatchNorm2d, nn.InstanceNorm2d)):
        yield from _images(layer.num_features, context)
    elif isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
        yield Placeholder(dtype, (batch, layer.in_channels, sequence))
    elif isinstance(layer, nn.Conv3d):
        yield Placeholder(dtype, (batch, layer.in_channels, 16, 112, 112))
    elif isinstance(layer, nn.BatchNorm1d):
        yield Placeholder(dtype, (batch, layer.num_features))
        yield Placeholder(dtype, (batch, layer.num_features, sequence))
    elif isinstance(layer, nn.LayerNorm):
        yield Placeholder(dtype, (batch, sequence, *layer.normalized_shape))
        yield Placeholder(dtype, (batch, *layer.normalized_shape))
    elif isinstance(layer, nn.Linear):
        yield Placeholder(dtype, (batch, sequence, layer.in_features))
        yield Placeholder(dtype, (batch, layer.in_features))
    elif type(layer).__name__ == "Conv1D" and hasattr(layer, "nx"):  # of Transformers
        width: Any = layer.nx
        yield Placeholder(dtype, (batch, sequence, int(width)))


def _images(n_channels: int, context: Context) -> Iterator[Placeholder]:
    """The size that the class names, else common ones: later layers tell which fits."""
    declared = getattr(context.model, "image_size", getattr(context.model, "img_size", None))
    sizes = (declared,) if isinstance(declared, int) else _IMAGE_SIZES
    for size in sizes:
        yield Placeholder(context.dtype, (context.batch, n_channels, size, size))


def _written(layer: torch.nn.Module) -> str:
    """`Linear(256, ...)`: the class with the size that was used."""
    for name in ("in_features", "in_channels", "input_size", "embed_dim", "num_embeddings", "nx"):
        size = getattr(layer, name, None)
        if isinstance(size, int):
            return f"{type(layer).__name__}({size}, ...)"
    return f"{type(layer).__name__}(...)"
