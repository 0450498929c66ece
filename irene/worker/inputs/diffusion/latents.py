"""What diffusion models denoise, and what autoencoders encode: images, videos, sound.

Sizes are those of the config (`sample_size`, ...); where it has none, 64 x 64 latents, which
are 512 x 512 pixels of Stable Diffusion, and pictures of 256 x 256 pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from irene.worker.inputs.context import Context
from irene.worker.inputs.plans import Placeholder

if TYPE_CHECKING:
    import torch

_LATENT_SIDE = 64
_PICTURE_SIDE = 256
TOKENS_SIDE = 32  # of tokens that come packed, 2 x 2 latents each
_FRAMES = 9  # of latents
_PICTURES = 17  # of videos: causal autoencoders take 1 + 4 n, 1 + 8 n or 1 + 16 n
_SAMPLES = 1 << 16  # of sound
_N_STEPS = 256  # of latents of sound
_VIDEOS = re.compile(r"3D|Video|Motion|Temporal|I2V|SparseControl|SanaWM|LatentUpscaler")
_SOUNDS = re.compile(r"1D|Audio(?!LDM)|Sound|Vocoder|Music")
_EMBEDDERS = ("x_embedder", "img_in", "proj_in", "patch_embed", "conv_in", "input_embed")
_CHANNELS = ("in_channels", "in_visual_dim", "in_dim", "io_channels", "input_channels",
             "encoder_in_channels", "num_channels", "latent_dim")  # fmt: skip


def is_autoencoder(context: Context) -> bool:
    return hasattr(context.model, "encode")


def is_video(context: Context) -> bool:
    return _VIDEOS.search(context.class_name) is not None


def is_sound(context: Context) -> bool:
    return _SOUNDS.search(context.class_name) is not None


def channels(context: Context) -> int:
    return context.number(*_CHANNELS) or 4


def frames(context: Context) -> int:
    """Of the latents: CogVideoX counts those of the video."""
    n = context.number("sample_frames")
    ratio = context.number("temporal_compression_ratio")
    if n is not None:
        return n if ratio is None else (n - 1) // ratio + 1
    return context.number("num_frames", "video_length") or _FRAMES


def side(context: Context) -> tuple[int, int]:
    """Height and width of the latents."""
    height, width = context.number("sample_height"), context.number("sample_width")
    if height is not None and width is not None:
        return height, width
    size = context.size("sample_size")
    if isinstance(size, int):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return int(size[0]), int(size[1])
    context.assume(f"latents of {_LATENT_SIDE} x {_LATENT_SIDE}, as the config names no size")
    return _LATENT_SIDE, _LATENT_SIDE


_Order = Callable[[Context], tuple[int, ...]]
"""Dimensions behind the batch."""


def n_tokens(context: Context) -> int:
    """Of latents that come packed, which no config says."""
    n = TOKENS_SIDE**2 * (frames(context) if is_video(context) else 1)
    context.assume(f"{n} tokens of packed latents")
    return n


def noisy(context: Context) -> Placeholder:
    """The sample to denoise, as the first layer takes it: a map, a video, or packed tokens."""
    return next(_noisy(context))


def noisy_otherwise(context: Context) -> Iterator[Placeholder]:
    """Other orders of the same dimensions."""
    yield from islice(_noisy(context), 1, None)


def _noisy(context: Context) -> Iterator[Placeholder]:
    for order in _orders(context):  # one by one, as each assumes its sizes
        yield Placeholder(context.dtype, (context.batch, *order(context)))


def _orders(context: Context) -> tuple[_Order, ...]:
    if is_sound(context):
        return (_sound, _steps)
    if is_packed(context):
        return (_tokens, _map, _video, _turned_video)
    if is_video(context):
        return (_video, _turned_video, _tokens)
    return (_map, _tokens, _video)


def _map(context: Context) -> tuple[int, ...]:
    return channels(context), *side(context)


def _video(context: Context) -> tuple[int, ...]:
    return channels(context), frames(context), *side(context)


def _turned_video(context: Context) -> tuple[int, ...]:
    return frames(context), channels(context), *side(context)


def _tokens(context: Context) -> tuple[int, ...]:
    return n_tokens(context), channels(context)


def _sound(context: Context) -> tuple[int, ...]:
    return channels(context), context.number("sample_size") or _N_STEPS


def _steps(context: Context) -> tuple[int, ...]:
    return context.number("sample_size") or _N_STEPS, channels(context)


def is_packed(context: Context) -> bool:
    """Whether latents come as tokens: the first layer is as wide as they have channels."""
    from torch import nn

    first = first_layer(context)
    return isinstance(first, nn.Linear) and first.in_features == channels(context)


def first_layer(context: Context) -> torch.nn.Module | None:
    """The first that could take latents."""
    from torch import nn

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = (it for it in context.layers(*_EMBEDDERS) if isinstance(it, kinds))
    return next(layers, None)


def clear(context: Context) -> Placeholder:
    """What an autoencoder encodes, as its first convolution takes it."""
    return next(_clear(context))


def clear_otherwise(context: Context) -> Iterator[Placeholder]:
    yield from islice(_clear(context), 1, None)


def _clear(context: Context) -> Iterator[Placeholder]:
    from torch import nn

    batch, n = context.batch, channels(context)
    size = context.number("sample_size", "encoder_input_size", "image_size")
    side = size or _PICTURE_SIDE
    height = context.number("sample_height") or side
    width = context.number("sample_width") or side
    if size is None:
        context.assume(f"pictures of {height} x {width}")
    picture = (batch, n, height, width)
    video = (batch, n, _PICTURES, height, width)
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    first = next((it for it in context.layers() if isinstance(it, kinds)), None)
    if isinstance(first, nn.Conv1d):
        n = context.number("audio_channels", "num_channels") or first.in_channels
        shapes: list[tuple[int, ...]] = [(batch, n, _SAMPLES), picture]
    elif isinstance(first, nn.Conv3d):
        shapes = [video, picture]
    else:
        shapes = [picture, video]
    for shape in shapes:
        yield Placeholder(context.dtype, shape)
