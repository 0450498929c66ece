"""What diffusion models denoise, and what autoencoders encode: images, videos, sound.

Sizes are those of the config (`sample_size`, ...); where it has none, 64 x 64 latents, which
are 512 x 512 pixels of Stable Diffusion, and pictures of 256 x 256 pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from irene.worker.inputs.context import Context
from irene.worker.inputs.plans import Placeholder

if TYPE_CHECKING:
    import torch

_LATENT_SIDE = 64
_PICTURE_SIDE = 256
_PATCHES_SIDE = 32  # of tokens that come packed, 2 x 2 latents each
_FRAMES = 9  # of latents
_PICTURES = 17  # of videos: causal autoencoders take 1 + 4 n, 1 + 8 n or 1 + 16 n
_SAMPLES = 1 << 16  # of sound
_STEPS = 256  # of latents of sound
_VIDEO = re.compile(r"3D|Video|Motion|Temporal|I2V|SparseControl|SanaWM|LatentUpscaler")
_SOUND = re.compile(r"1D|Audio|Sound|Vocoder|Music")
_CHANNELS = ("in_channels", "in_visual_dim", "in_dim", "io_channels", "input_channels",
             "audio_channels", "encoder_in_channels", "num_channels", "latent_dim")  # fmt: skip


def is_video(context: Context) -> bool:
    return _VIDEO.search(context.class_name) is not None


def is_sound(context: Context) -> bool:
    return _SOUND.search(context.class_name) is not None


def channels(context: Context) -> int:
    return context.number(*_CHANNELS) or 4


def frames(context: Context) -> int:
    """Of the latents: CogVideoX counts those of the video."""
    n = context.number("sample_frames")
    ratio = context.number("temporal_compression_ratio")
    if n is not None:
        return n if ratio is None else (n - 1) // ratio + 1
    return context.number("num_frames") or _FRAMES


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


def n_tokens(context: Context) -> int:
    """Of latents that come packed, which no config says."""
    n = _PATCHES_SIDE**2 * (frames(context) if is_video(context) else 1)
    context.assume(f"{n} tokens of packed latents")
    return n


def noisy(context: Context, name: str) -> Placeholder:
    """The sample to denoise, as the first layer takes it: a map, a video, or packed tokens."""
    del name
    return next(_noisy(context))


def noisy_otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """Other orders of the same dimensions."""
    del name
    yield from list(_noisy(context))[1:]


def _noisy(context: Context) -> Iterator[Placeholder]:
    batch, n = context.batch, channels(context)
    height, width = side(context)
    map_ = (batch, n, height, width)
    video = (batch, n, frames(context), height, width)
    turned = (batch, frames(context), n, height, width)
    tokens = (batch, n_tokens(context), n)
    sound = (batch, n, _sound_steps(context))
    steps = (batch, _sound_steps(context), n)
    if is_sound(context):
        shapes = [sound, steps]
    elif is_packed(context):
        shapes = [tokens, map_, video, turned]
    elif is_video(context):
        shapes = [video, turned, tokens]
    else:
        shapes = [map_, tokens, video]
    for shape in shapes:
        yield Placeholder(context.dtype, shape)


def _sound_steps(context: Context) -> int:
    return context.number("sample_size") or _STEPS


def is_packed(context: Context) -> bool:
    """Whether latents come as tokens: the first layer is as wide as they have channels."""
    from torch import nn

    first = first_layer(context)
    return isinstance(first, nn.Linear) and first.in_features == channels(context)


def first_layer(context: Context) -> torch.nn.Module | None:
    """The first that could take latents."""
    from torch import nn

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    wide = (it for it in context.layers() if isinstance(it, kinds))
    return next(wide, None)


def clear(context: Context, name: str) -> Placeholder:
    """What an autoencoder encodes, as its first convolution takes it."""
    del name
    return next(_clear(context))


def clear_otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    del name
    yield from list(_clear(context))[1:]


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
    sound = (batch, n, _SAMPLES)
    first = next((it for it in context.layers() if isinstance(it, nn.modules.conv._ConvNd)), None)
    orders = {
        nn.Conv1d: [sound, picture],
        nn.Conv3d: [video, picture],
    }
    for shape in orders.get(type(first), [picture, video, sound]):
        yield Placeholder(context.dtype, shape)
