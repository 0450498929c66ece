"""Everything that is no matrix product: element-wise, softmax, norms, gathers, copies, sorts."""

from __future__ import annotations

import math
from functools import partial

from irene.tree import Primitive
from irene.worker.ops.costs import Call, Cost, Rule, cost, read_bytes

_TRANSCENDENTAL = 4  # FLOP per element, as the seed counts tanh


def per_output(call: Call, primitive: Primitive, flops: int) -> tuple[Cost, ...]:
    """`flops` for each element of the first output; all tensors move once."""
    return (cost(call, primitive, flops * call.n_outputs),)


def per_input(call: Call, primitive: Primitive, flops: int) -> tuple[Cost, ...]:
    """`flops` for each element of the first input: reductions and norms."""
    n = call.inputs[0].n_elements if call.inputs else call.n_outputs
    return (cost(call, primitive, flops * n),)


def other(call: Call) -> tuple[Cost, ...]:
    """The general rule, for operations without a name in the table."""
    return per_output(call, "other", 1)


def copy(call: Call) -> tuple[Cost, ...]:
    # copy_(target, source): the target is written, not read
    written = call.outputs[0].n_bytes if call.outputs else 0
    return (cost(call, "elementwise", 0, n_bytes=read_bytes(call.inputs[-1:]) + written),)


def fill(call: Call) -> tuple[Cost, ...]:
    # zero_, fill_, arange, full: written only
    return (cost(call, "elementwise", 0, n_bytes=sum(it.n_bytes for it in call.outputs)),)


def gather(call: Call, primitive: Primitive) -> tuple[Cost, ...]:
    # the returned rows are read and written, the indices read
    indices = read_bytes(call.inputs[1:]) if len(call.inputs) > 1 else 0
    rows = sum(it.n_bytes for it in call.outputs)
    return (cost(call, primitive, 0, n_bytes=indices + 2 * rows),)


def scatter(call: Call, source: int) -> tuple[Cost, ...]:
    # in place: indices and values are read, as many elements written as there are values
    moved = call.inputs[source:] if len(call.inputs) > source else call.inputs[-1:]
    in_place = call.name.endswith("_")
    values = moved[-1].n_bytes if moved else 0
    whole = 0 if in_place else call.inputs[0].n_bytes + call.outputs[0].n_bytes
    n_bytes = whole + read_bytes(call.inputs[1:]) + values
    return (cost(call, "elementwise", 0, n_bytes=n_bytes),)


def embedding_bag(call: Call) -> tuple[Cost, ...]:
    # (rows, d), (n,): n rows are read and added up
    weight, indices = call.inputs[0], call.inputs[1]
    width = weight.shape[-1]
    read = indices.n_elements * width * weight.itemsize
    n_bytes = read + read_bytes(call.inputs[1:]) + call.outputs[0].n_bytes
    return (cost(call, "embedding", indices.n_elements * width, n_bytes=n_bytes),)


def pool(call: Call) -> tuple[Cost, ...]:
    # one FLOP for each element of each window
    window = call.argument(1, default=())
    return per_output(call, "other", math.prod(window) if isinstance(window, (list, tuple)) else 1)


def sort(call: Call) -> tuple[Cost, ...]:
    # n log2 n comparisons along the dimension, as along the longest
    x = call.inputs[0]
    depth = max(1, math.ceil(math.log2(max(2, *x.shape)))) if x.shape else 1
    return (cost(call, "other", x.n_elements * depth),)


_FLOPS_PER_OUTPUT: dict[int, str] = {
    0: """_to_copy cat clone constant_pad_nd contiguous flip masked_fill reflection_pad1d
        reflection_pad2d repeat replication_pad1d replication_pad2d roll stack tril triu where
        im2col pixel_shuffle pixel_unshuffle upsample_nearest1d upsample_nearest2d
        upsample_nearest3d _unsafe_masked_index _pack_padded_sequence""",
    1: """abs add bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clamp_max clamp_min div
        eq floor floor_divide fmod ge gt isfinite isinf isnan le leaky_relu logical_and
        logical_not logical_or logical_xor lt maximum minimum mul ne neg relu remainder round
        rsub sign sub threshold trunc hardtanh prelu _prelu_kernel reciprocal square
        bernoulli bitwise_left_shift bitwise_right_shift heaviside copysign frac pow rsqrt
        sqrt""",
    2: "addcdiv addcmul lerp hardsigmoid cumsum cumprod logcumsumexp cummax cummin",
    3: "hardswish",
    _TRANSCENDENTAL: """acos asin atan atan2 cos cosh erf erfc exp exp2 expm1 log log10 log1p log2
        sigmoid sin sinh tan tanh normal uniform randn rand randn_like rand_like
        exponential polar complex angle digamma lgamma""",
    5: "celu elu selu silu softplus log_sigmoid_forward glu",
    6: "gelu",
    9: "mish",
    7: "upsample_bilinear2d upsample_linear1d grid_sampler_2d _upsample_bilinear2d_aa",
    15: "upsample_trilinear3d",
    32: "upsample_bicubic2d _upsample_bicubic2d_aa",
}
_FLOPS_PER_INPUT: dict[int, str] = {
    1: """all amax amin any argmax argmin max mean min prod sum nansum count_nonzero
        _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d
        histc bincount""",
    4: "_weight_norm_interface",
    2: "norm linalg_vector_norm var_mean std_mean",
    3: "var std",
    5: "logsumexp",
    6: "aminmax",
}
_SOFTMAX = {"_softmax": 5, "_log_softmax": 5, "_safe_softmax": 5}
_NORMS = {
    "native_layer_norm": 8,
    "_fused_rms_norm": 4,
    "native_group_norm": 8,
}
_BATCH_NORMS = [
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "_batch_norm_no_update",
]

POINTWISE_RULES: dict[str, Rule] = {
    **{
        name: partial(per_output, primitive="elementwise", flops=flops)
        for flops, names in _FLOPS_PER_OUTPUT.items()
        for name in names.split()
    },
    **{
        name: partial(per_input, primitive="elementwise", flops=flops)
        for flops, names in _FLOPS_PER_INPUT.items()
        for name in names.split()
    },
    **{
        name: partial(per_output, primitive="softmax", flops=flops)
        for name, flops in _SOFTMAX.items()
    },
    **{
        name: partial(per_output, primitive="layer_norm", flops=flops)
        for name, flops in _NORMS.items()
    },
    **{name: partial(per_output, primitive="elementwise", flops=2) for name in _BATCH_NORMS},
    **dict.fromkeys(("copy_", "_copy_from", "copy"), copy),
    **dict.fromkeys(
        [
            "arange",
            "eye",
            "fill",
            "fill_",
            "full",
            "full_like",
            "linspace",
            "new_full",
            "new_ones",
            "new_zeros",
            "ones",
            "ones_like",
            "scalar_tensor",
            "zero",
            "zero_",
            "zeros",
            "zeros_like",
            "tril_indices",
            "triu_indices",
        ],
        fill,
    ),
    **dict.fromkeys(
        ("gather", "index", "index_select", "_unsafe_index", "take", "take_along_dim"),
        partial(gather, primitive="elementwise"),
    ),
    "embedding": partial(gather, primitive="embedding"),
    "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag,
    **dict.fromkeys(("index_put", "index_put_", "_unsafe_index_put"), partial(scatter, source=-1)),
    **dict.fromkeys(
        [
            "scatter",
            "scatter_",
            "scatter_add",
            "scatter_add_",
            "scatter_reduce",
            "scatter_reduce_",
            "index_add",
            "index_add_",
            "index_copy",
            "index_copy_",
            "index_fill",
            "index_fill_",
            "masked_scatter",
            "slice_scatter",
            "select_scatter",
        ],
        partial(scatter, source=-1),
    ),
    **dict.fromkeys(
        [
            "avg_pool1d",
            "avg_pool2d",
            "avg_pool3d",
            "max_pool1d",
            "max_pool2d",
            "max_pool3d",
            "max_pool2d_with_indices",
            "max_pool3d_with_indices",
        ],
        pool,
    ),
    **dict.fromkeys(("sort", "argsort", "topk", "kthvalue", "median"), sort),
}
