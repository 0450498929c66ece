"""Inputs of models that see: images, videos, patches of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from irene.worker.inputs.context import Context, Rule
from irene.worker.inputs.plans import Placeholder

_IMAGE_SIZE = 224
_OTHER_SIZES = (224, 256, 384, 448, 512, 560, 640, 768, 1024, 1536)
_SIZES = ("image_size", "img_size", "max_img_size", "resolution")
_GRIDS = ("grid_thw", "image_grid_thw")
_N_FRAMES = 8
_N_REGIONS = 36  # that a detector finds in an image, as in LXMERT


def image(context: Context, name: str) -> Placeholder:
    """(batch, channels, height, width), or the patches of all images where a grid says which."""
    if is_packed(context):
        return _packed(context)
    height, width = image_size(context)
    if "videos" in name:
        return _video(context, height, width)
    return Placeholder(context.dtype, (context.batch, channels(context), height, width))


def is_packed(context: Context) -> bool:
    """Whether the model takes the patches of all images in one row, and a grid for each image."""
    has_grid = any(it in context.names for it in _GRIDS)
    return has_grid and context.size("text_config") is None


def image_otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """Videos, pairs of images, patches, and other sizes of images."""
    height, width = image_size(context)
    n_channels = channels(context)
    if any(it in context.names for it in _GRIDS):
        packed = _packed(context)
        yield packed
        yield from _patches_as_images(context, packed)
    yield _video(context, height, width)
    context.assume(f"{name}: two images")
    yield Placeholder(context.dtype, (context.batch, 2, n_channels, height, width))
    n_tiles = context.number("max_num_tiles") or 1
    context.assume(f"{name}: one image in {n_tiles} tiles")
    yield Placeholder(context.dtype, (context.batch, 1, n_tiles, n_channels, height, width))
    if context.number("num_frames"):
        n_images = context.batch * n_frames_of(context)
        yield Placeholder(context.dtype, (n_images, n_channels, height, width))
    width_of_patch = patch_width(context)
    n_patches = (height // patch_size(context)) * (width // patch_size(context))
    for n in dict.fromkeys((n_patches, grid_side(context) ** 2)):
        context.assume(f"{name}: {n} patches")
        yield Placeholder(context.dtype, (context.batch, n, width_of_patch))
        yield Placeholder(context.dtype, (context.batch, 1, n, width_of_patch))
    for size in _OTHER_SIZES:
        if size != height:
            context.assume(f"{name}: {size} x {size}, the first size that the model takes")
            yield Placeholder(context.dtype, (context.batch, n_channels, size, size))


def has_size(context: Context) -> bool:
    """Whether the config says how large images are."""
    return context.size(*_SIZES) is not None


def image_size(context: Context) -> tuple[int, int]:
    """Height and width by the config, else by the class, else 224 x 224."""
    size = context.size(*_SIZES)
    if size is None:
        size = getattr(context.model, "image_size", getattr(context.model, "img_size", None))
    if isinstance(size, Mapping):
        size = (size.get("height"), size.get("width"))
    return _pair(size)


def channels(context: Context) -> int:
    return context.number("num_channels", "in_channels", "in_chans") or 3


def patch_size(context: Context) -> int:
    size = context.size("patch_size")
    if isinstance(size, (list, tuple)) and size:
        size = size[-1]
    return size if isinstance(size, int) and size > 0 else 16


def patch_width(context: Context) -> int:
    """Numbers in one patch: what the first layer that embeds patches takes."""
    from torch import nn

    for layer in context.layers("patch"):
        if isinstance(layer, nn.Conv3d):
            return int(layer.weight[0].numel())
        if isinstance(layer, nn.Conv2d):
            return int(layer.weight[0].numel())
        if isinstance(layer, (nn.Linear, nn.LayerNorm)):
            return int(layer.weight.shape[-1])
    return channels(context) * patch_size(context) ** 2


def grid(context: Context, name: str) -> Placeholder:
    """One frame and a square of patches for each image: (batch, 3)."""
    n = grid_side(context)
    context.assume(f"{name}: each image has 1 x {n} x {n} patches")
    return Placeholder("int64", (context.batch, 3), values=(1, n, n))


def grid_of_two(context: Context, name: str) -> Placeholder:
    """Rows and columns of patches for each image: (batch, 2)."""
    n = grid_side(context)
    context.assume(f"{name}: each image has {n} x {n} patches")
    return Placeholder("int64", (context.batch, 2), values=(n, n))


def grid_side(context: Context) -> int:
    """Patches along one side of a 224 x 224 image, a multiple of what is merged."""
    merged = context.size("spatial_merge_size", "merge_size", "merge_kernel_size")
    if isinstance(merged, (list, tuple)):
        merged = merged[0]
    factor = 2 * merged if isinstance(merged, int) and merged > 0 else 4
    return max(factor, _IMAGE_SIZE // patch_size(context) // factor * factor)


def _packed(context: Context) -> Placeholder:
    n_patches = context.batch * grid_side(context) ** 2
    return Placeholder(context.dtype, (n_patches, patch_width(context)))


def _patches_as_images(context: Context, packed: Placeholder) -> Iterator[Placeholder]:
    """Patches that keep their shape: (patches, channels, size, size), also with a batch of 1."""
    size = patch_size(context)
    shape = (packed.shape[0], channels(context), size, size)
    yield Placeholder(context.dtype, shape)
    yield Placeholder(context.dtype, (1, *shape))


def _video(context: Context, height: int, width: int) -> Placeholder:
    n_frames = n_frames_of(context)
    context.assume(f"videos of {n_frames} frames")
    return Placeholder(context.dtype, (context.batch, n_frames, channels(context), height, width))


def n_frames_of(context: Context) -> int:
    """Frames in a video by the config, else eight."""
    return context.number("num_frames", "frames_per_clip") or _N_FRAMES


def pixel_mask(context: Context, name: str) -> Placeholder:
    """All ones: (batch, height, width)."""
    context.assume("no padding: every pixel mask is all ones")
    del name
    return Placeholder("int64", (context.batch, *image_size(context)), "ones")


def patch_mask(context: Context, name: str) -> Placeholder:
    """All ones: (batch, patches)."""
    del name
    n_patches = (image_size(context)[0] // patch_size(context)) ** 2
    context.assume("no padding: every patch mask is all ones")
    return Placeholder("int64", (context.batch, n_patches), "ones")


def patch_positions(context: Context, name: str) -> Placeholder:
    """Column and row of each patch of a square: (batch, patches, 2)."""
    del name
    n = grid_side(context)
    positions = tuple((i % n, i // n) for i in range(n * n))
    return Placeholder("int64", (context.batch, n * n, 2), values=positions)


def patches(context: Context, name: str) -> Placeholder:
    """Flattened patches after their row and column: (batch, patches, 2 + width)."""
    n_patches = context.number("seq_len") or 2048
    width = context.number("patch_embed_hidden_size") or patch_width(context)
    context.assume(f"{name}: {n_patches} patches")
    layer_width = context.number("patch_size") or 16
    del width
    return Placeholder(context.dtype, (context.batch, n_patches, 2 + 3 * layer_width**2))


def regions(context: Context, name: str) -> Placeholder:
    """What a detector found: features (batch, 36, width), boxes (batch, 36, 4)."""
    width = context.number("visual_feat_dim") if name == "visual_feats" else 4
    context.assume(f"{_N_REGIONS} regions in each image")
    return Placeholder(context.dtype, (context.batch, _N_REGIONS, width or 2048))


def tile_ids(context: Context, name: str) -> Placeholder:
    """The first aspect ratio, one tile: (batch, 1)."""
    context.assume(f"{name}: one tile")
    return Placeholder("int64", (context.batch, 1), values=(1,))


def tile_mask(context: Context, name: str) -> Placeholder:
    """All tiles count: (batch, 1, tiles)."""
    del name
    n_tiles = context.number("max_num_tiles") or 4
    return Placeholder("int64", (context.batch, 1, n_tiles), "ones")


def merge_sizes(context: Context, name: str) -> Placeholder:
    """As the config merges patches, else one by one: (batch,)."""
    context.assume(f"{name}: 1")
    return Placeholder("int64", (context.batch,), values=(1,))


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(i, int) for i in size):
        return size[0], size[1]
    return _IMAGE_SIZE, _IMAGE_SIZE


RULES: dict[str, Rule] = {
    "pixel_values": image,
    "pixel_values_videos": image,
    "prompt_pixel_values": image,
    "prompt_masks": image,
    "image": image,
    "pixel_mask": pixel_mask,
    "grid_thw": grid,
    "image_grid_thw": grid,
    "spatial_shapes": grid_of_two,
    "target_sizes": grid_of_two,
    "pixel_attention_mask": patch_mask,
    "patch_attention_mask": patch_mask,
    "pixel_position_ids": patch_positions,
    "flattened_patches": patches,
    "visual_feats": regions,
    "visual_pos": regions,
    "aspect_ratio_ids": tile_ids,
    "aspect_ratio_mask": tile_mask,
    "merge_sizes": merge_sizes,
}
