"""Everything that is no matrix product: element-wise, softmax, norms, gathers, copies, sorts."""

from __future__ import annotations

import math
from functools import partial

from irene.tree import Primitive
from irene.worker.ops.costs import Call, Cost, Operand, Rule, cost, read_bytes

_TRANSCENDENTAL = 4  # FLOP per element, as the seed counts tanh


def per_output(call: Call, primitive: Primitive, flops: int) -> tuple[Cost, ...]:
    """`flops` for each element of the first output; all tensors move once."""
    n_kernels = _KERNELS.get(call.name, 1)
    return (cost(call, primitive, flops * call.n_outputs, n_kernels=n_kernels),)


def per_input(call: Call, primitive: Primitive, flops: int) -> tuple[Cost, ...]:
    """`flops` for each element of the first input: reductions and norms."""
    n = call.inputs[0].n_elements if call.inputs else call.n_outputs
    return (cost(call, primitive, flops * n, n_kernels=_KERNELS.get(call.name, 1)),)


def other(call: Call) -> tuple[Cost, ...]:
    """The general rule, for operations without a name in the table."""
    return (cost(call, "other", call.n_outputs, is_known=False),)


def copy(call: Call) -> tuple[Cost, ...]:
    # copy_(target, source): the target is written, not read
    written = call.outputs[0].n_bytes if call.outputs else 0
    return (cost(call, "elementwise", 0, n_bytes=read_bytes(call.inputs[-1:]) + written),)


def fill(call: Call) -> tuple[Cost, ...]:
    # zero_, fill_, arange, full: written only
    return (cost(call, "elementwise", 0, n_bytes=sum(it.n_bytes for it in call.outputs)),)


def random_fill(call: Call, flops: int) -> tuple[Cost, ...]:
    # normal_, uniform_, bernoulli_(p): written only, from what probabilities there are
    n_bytes = read_bytes(call.inputs[1:]) + sum(it.n_bytes for it in call.outputs)
    return (cost(call, "elementwise", flops * call.n_outputs, n_bytes=n_bytes),)


def gather(call: Call, primitive: Primitive) -> tuple[Cost, ...]:
    # the returned rows are read and written, the indices read
    indices = read_bytes(call.inputs[1:]) if len(call.inputs) > 1 else 0
    rows = sum(it.n_bytes for it in call.outputs)
    return (cost(call, primitive, 0, n_bytes=indices + 2 * rows),)


def scatter(call: Call) -> tuple[Cost, ...]:
    # (target, dim, index, source or a number): an element is written for each index
    return _written(call, _named(call, 2, "index").n_elements)


def scatter_add(call: Call) -> tuple[Cost, ...]:
    # the same, added to what is there, which is read
    return _written(call, _named(call, 2, "index").n_elements, is_read=True)


def index_rows(call: Call) -> tuple[Cost, ...]:
    # (target, dim, index (n,), source or a number): n rows of the target are written
    target, index = call.inputs[0], _named(call, 2, "index")
    length = target.shape[call.args[1]] if target.shape else 1
    n = target.n_elements // max(1, length) * index.n_elements
    return _written(call, n, is_read="add" in call.name or "reduce" in call.name)


def index_put(call: Call) -> tuple[Cost, ...]:
    # target[i, j, ...] = values: as many elements as the indices pick
    target, indices = call.inputs[0], [it for it in call.args[1] if isinstance(it, Operand)]
    if any(it.dtype in ("bool", "uint8") for it in indices):
        n = target.n_elements  # at most
    else:
        picked = [size for size, it in zip(target.shape, call.args[1], strict=False) if it]
        positions = max((it.n_elements for it in indices), default=1)
        n = positions * (target.n_elements // max(1, math.prod(picked)))
    return _written(call, n, is_read=bool(call.argument(3, default=False)))


def masked_scatter(call: Call) -> tuple[Cost, ...]:
    # target where the mask is true: at most everything, from as many values
    return _written(call, call.inputs[0].n_elements)


def slice_scatter(call: Call) -> tuple[Cost, ...]:
    # a copy of the target with a part from the source
    return _written(call, call.inputs[1].n_elements)


def _named(call: Call, position: int, name: str) -> Operand:
    found = call.argument(position, call.kwargs.get(name))
    assert isinstance(found, Operand)
    return found


def _written(call: Call, n_elements: int, *, is_read: bool = False) -> tuple[Cost, ...]:
    """Indices and values are read, `n_elements` of the target written; else it is copied first."""
    target = call.inputs[0]
    written = n_elements * target.itemsize
    copied = 0 if call.name.endswith("_") else target.n_bytes + call.outputs[0].n_bytes
    given = sum(min(it.n_bytes, n_elements * it.itemsize) for it in call.inputs[1:])
    n_bytes = copied + given + (2 if is_read else 1) * written
    flops, n_kernels = n_elements if is_read else 0, 2 if copied else 1
    return (cost(call, "elementwise", flops, n_bytes=n_bytes, n_kernels=n_kernels),)


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
    return (cost(call, "other", x.n_elements * depth, n_kernels=_KERNELS.get(call.name, 1)),)


def search(call: Call) -> tuple[Cost, ...]:
    # log2 n comparisons with n sorted boundaries for each value
    sizes = [it.shape[-1] if it.shape else 1 for it in call.inputs]
    length = sizes[0] if call.name == "searchsorted" else sizes[-1]
    depth = math.ceil(math.log2(max(2, length)))
    return per_output(call, "other", depth)


_FLOPS_PER_OUTPUT: dict[int, str] = {
    0: """_to_copy cat clone constant_pad_nd contiguous flip masked_fill reflection_pad1d
        reflection_pad2d repeat replication_pad1d replication_pad2d roll stack tril triu where
        im2col pixel_shuffle pixel_unshuffle upsample_nearest1d upsample_nearest2d
        upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
        _upsample_nearest_exact3d _unsafe_masked_index _pack_padded_sequence col2im
        channel_shuffle native_channel_shuffle reflection_pad3d replication_pad3d rot90
        diag_embed block_diag repeat_interleave masked_select unfold_copy view_as_complex_copy
        slice_copy expand_copy permute_copy t_copy transpose_copy select_copy squeeze_copy
        unsqueeze_copy view_copy alias_copy detach_copy diagonal_copy lift_fresh_copy
        max_unpool2d max_unpool3d randperm complex _stack _cat unbind_copy split_copy
        split_with_sizes_copy""",
    1: """abs add bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clamp_max clamp_min div
        eq floor floor_divide fmod ge gt isfinite isinf isnan le leaky_relu logical_and
        logical_not logical_or logical_xor lt maximum minimum mul ne neg relu remainder round
        rsub sign sub threshold trunc hardtanh prelu _prelu_kernel reciprocal square
        bernoulli bitwise_left_shift bitwise_right_shift heaviside copysign frac pow rsqrt
        sqrt fmax fmin nan_to_num signbit isneginf isposinf isreal native_dropout true_divide
        randint randint_like random isclose isin nll_loss_forward nll_loss2d_forward""",
    2: """addcdiv addcmul lerp hardsigmoid mse_loss smooth_l1_loss huber_loss cumsum cumprod
        logcumsumexp cummax cummin""",
    3: "hardswish",
    _TRANSCENDENTAL: """acos asin atan atan2 cos cosh erf erfc exp exp2 expm1 log log10 log1p log2
        sigmoid sin sinh tan tanh normal uniform randn rand randn_like rand_like
        exponential polar angle digamma lgamma asinh acosh atanh erfinv sinc logaddexp logaddexp2
        hypot logit xlogy special_xlog1py i0 special_i0e special_i1 special_i1e special_erfcx
        special_log_ndtr special_ndtri mvlgamma polygamma igamma igammac cauchy geometric
        log_normal poisson""",
    5: """celu elu selu silu softplus log_sigmoid_forward glu binary_cross_entropy
        linalg_cross rrelu_with_noise""",
    6: "gelu",
    9: "mish",
    7: "upsample_bilinear2d upsample_linear1d grid_sampler_2d _upsample_bilinear2d_aa",
    15: "upsample_trilinear3d",
    32: "upsample_bicubic2d _upsample_bicubic2d_aa",
}
_FLOPS_PER_INPUT: dict[int, str] = {
    1: """all amax amin any argmax argmin max mean min prod sum nansum count_nonzero
        _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d
        histc bincount trace nonzero unique_consecutive _unique2 unique_dim segment_reduce
        linalg_matrix_norm""",
    4: "_weight_norm_interface",
    2: "norm linalg_vector_norm var_mean std_mean",
    3: "var std",
    5: "logsumexp",
    6: "aminmax",
}
_KERNELS = {
    "native_group_norm": 3,  # moments, scale and shift, and their application
    "sort": 3,  # copies and indices, and the sort
    "argsort": 3,
    "topk": 2,  # a selection, and the sort of it
    "masked_fill": 2,  # a copy, and the value into it
    "constant_pad_nd": 2,  # the value everywhere, and the input into the middle
    "_safe_softmax": 5,  # softmax, which scores are -inf, which rows have no other, 0, a choice
    "logsumexp": 9,
}
"""Launches of a GPU where they are several: as its profiler shows the parts of an operation on a CPU
too, but for norms and sorts, whose parts are in `cuda/group_norm_kernel.cu` and `cuda/Sort.cpp`."""
_SOFTMAX = dict.fromkeys(
    ["_softmax", "_log_softmax", "_safe_softmax", "softmax", "log_softmax"],  # these two as `out=`
    5,
)
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
        ["cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "uniform_"],
        partial(random_fill, flops=_TRANSCENDENTAL),
    ),
    **dict.fromkeys(["bernoulli_", "random_"], partial(random_fill, flops=1)),
    **dict.fromkeys(
        ("gather", "index", "index_select", "_unsafe_index", "take", "take_along_dim"),
        partial(gather, primitive="elementwise"),
    ),
    "embedding": partial(gather, primitive="embedding"),
    "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag,
    **dict.fromkeys(
        ("index_put", "index_put_", "_unsafe_index_put", "_index_put_impl_"), index_put
    ),
    **dict.fromkeys(("scatter", "scatter_"), scatter),
    **dict.fromkeys(
        ("scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"), scatter_add
    ),
    **dict.fromkeys(
        [
            "index_add",
            "index_add_",
            "index_copy",
            "index_copy_",
            "index_fill",
            "index_fill_",
            "index_reduce",
            "index_reduce_",
        ],
        index_rows,
    ),
    **dict.fromkeys(("masked_scatter", "masked_scatter_"), masked_scatter),
    **dict.fromkeys(
        ("slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter"), slice_scatter
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
    **dict.fromkeys(
        ("sort", "argsort", "msort", "topk", "kthvalue", "median", "nanmedian", "mode"), sort
    ),
    **dict.fromkeys(("searchsorted", "bucketize"), search),
}
