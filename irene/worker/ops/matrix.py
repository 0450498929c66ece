"""Matrix products: linear layers, products of activations, grouped ones, convolutions."""

from __future__ import annotations

import math
from functools import partial

from irene.tree import Primitive
from irene.worker.ops.costs import Call, Cost, Operand, Rule, cost, read_bytes, with_bias

_ACTIVATION_FLOPS = {True: 6, False: 1}  # gelu, relu


def _product_kind(*factors: Operand) -> Primitive:
    """`linear` where a factor is a weight, `matmul` between activations."""
    return "linear" if any(it.is_weight for it in factors) else "matmul"


def linear(call: Call) -> tuple[Cost, ...]:
    # (..., k) @ (n, k).T + (n,)
    x, weight = call.args[0], call.args[1]
    n, k = weight.shape[0], weight.shape[-1]
    rows = x.n_elements // k if k else 0
    return with_bias(call, _product(call, (x, weight), (1, rows, n, k)), call.argument(2))


def mm(call: Call) -> tuple[Cost, ...]:
    # (m, k) @ (k, n), and (m, k) @ (k,)
    a, b = call.args[0], call.args[1]
    return (_product(call, (a, b), (1, a.shape[0], *_columns(b), a.shape[1])),)


def scaled_mm(call: Call) -> tuple[Cost, ...]:
    # (m, k) @ (k, n) in 8 bits, times the scales of its rows and columns, + (n,)
    a, b = call.args[0], call.args[1]
    bias = call.argument(4, call.kwargs.get("bias"))
    product = _product(call, (a, b), (1, a.shape[0], b.shape[1], a.shape[1]))
    return with_bias(call, product, bias if isinstance(bias, Operand) else None)


def packed_mm(call: Call) -> tuple[Cost, ...]:
    # (m, k) @ packed (n, k): the bytes are those of the packed weight
    a = call.args[0]
    rows, k = math.prod(a.shape[:-1]), a.shape[-1]
    return (_product(call, call.inputs, (1, rows, call.outputs[0].shape[-1], k)),)


def dot(call: Call) -> tuple[Cost, ...]:
    # (k,) @ (k,)
    a, b = call.args[0], call.args[1]
    return (_product(call, (a, b), (1, 1, 1, a.n_elements)),)


def addmm(call: Call) -> tuple[Cost, ...]:
    # (n,) + (m, k) @ (k, n)
    bias, a, b = call.args[:3]
    product = _product(call, (a, b), (1, a.shape[0], *_columns(b), a.shape[1]))
    return with_bias(call, product, bias)


def addmm_activation(call: Call) -> tuple[Cost, ...]:
    # relu((n,) + (m, k) @ (k, n)), or gelu: in the kernel of the product
    per_element = _ACTIVATION_FLOPS[bool(call.kwargs.get("use_gelu", False))]
    flops = per_element * call.n_outputs
    activation = cost(
        call, "elementwise", flops, n_bytes=0, n_kernels=0, name="activation", inputs=()
    )
    return *addmm(call), activation


def bmm(call: Call) -> tuple[Cost, ...]:
    # (b, m, k) @ (b, k, n)
    a, b = call.args[0], call.args[1]
    return (_product(call, (a, b), (*a.shape[:2], b.shape[2], a.shape[2]), "matmul"),)


def baddbmm(call: Call) -> tuple[Cost, ...]:
    # (b, m, n) + (b, m, k) @ (b, k, n); addbmm sums over b
    added, a, b = call.args[:3]
    sizes = (*a.shape[:2], b.shape[2], a.shape[2])
    return with_bias(call, _product(call, (a, b), sizes, "matmul"), added)


def outer(call: Call) -> tuple[Cost, ...]:
    # (m, n) + (m,) (n,)
    added, a, b = call.args[:3]
    product = _product(call, (a, b), (1, a.n_elements, b.n_elements, 1))
    return with_bias(call, product, added)


def grouped_mm(call: Call) -> tuple[Cost, ...]:
    # (m, k) @ (g, k, n): each row meets one group; (g, m, k) @ (g, k, n);
    # (m, k) @ (k, n) with k in g groups; (g, m, k) @ (k, n) with n in g groups
    a, b = call.args[0], call.args[1]
    n_column_groups = max(1, a.shape[0]) if len(a.shape) > len(b.shape) else 1
    n_bytes = a.n_bytes + _groups_read(a, b) + call.outputs[0].n_bytes
    sizes = _group_sizes(call, a, b)
    product = cost(
        call,
        "matmul",
        2 * a.n_elements * b.shape[-1] // n_column_groups,
        n_bytes=n_bytes,
        inputs=(a, b),
        product=sizes,
        n_kernels=_grouped_kernels(call, a, b),
    )
    bias = call.argument(3, call.kwargs.get("bias"))
    return with_bias(call, product, bias if isinstance(bias, Operand) else None)


def _grouped_kernels(call: Call, a: Operand, b: Operand) -> int:
    """A product for each group that has rows, but in bfloat16 and lower one for all.

    `cuda/GroupedBlas.cpp` and `GroupedMMUtils.h` in `aten/src/ATen/native`: that one runs on Hopper
    and data centre Blackwell, after a kernel that prepares its pointers; other cards and a CPU have
    one for each group in bfloat16 too, which is not told apart here.
    """
    if len(a.shape) == len(b.shape) == 3:
        return 1
    if call.name != "transformers::grouped_mm_fallback" and call.dtype not in (
        "float32",
        "float16",
    ):
        return 2
    if len(b.shape) == 3:
        return max(1, min(a.shape[0], b.shape[0]))
    return a.shape[0] if len(a.shape) == 3 else call.outputs[0].shape[0]


def _group_sizes(call: Call, a: Operand, b: Operand) -> tuple[int, int, int, int]:
    """Groups of rows as one product: how many rows meet a group is not known."""
    if len(a.shape) == len(b.shape) == 3:
        return (*a.shape[:2], b.shape[2], a.shape[2])
    if len(a.shape) == 2 and len(b.shape) == 2:
        n_groups = call.outputs[0].shape[0]
        return n_groups, a.shape[0], b.shape[1], math.ceil(a.shape[1] / max(1, n_groups))
    return 1, a.shape[-2], b.shape[-1], a.shape[-1]


def _groups_read(a: Operand, b: Operand) -> int:
    """Bytes of the matrices that rows meet: with fewer rows than groups not all of them."""
    if len(a.shape) != 2 or len(b.shape) != 3 or not b.shape[0]:
        return b.n_bytes
    return b.n_bytes * min(a.shape[0], b.shape[0]) // b.shape[0]


def convolution(
    call: Call, bias_at: int | None = 2, transposed_at: int | None = 6, groups_at: int | None = 8
) -> tuple[Cost, ...]:
    """As the implicit product of its windows with the filters; `*_at` are places of arguments.

    (b, c, *x) with (n, c / groups, *k), or transposed with (c, n / groups, *k).
    """
    x, weight = call.args[0], call.args[1]
    bias = None if bias_at is None else call.argument(bias_at)
    groups = 1 if groups_at is None else max(1, int(call.argument(groups_at, 1)))
    window = math.prod(weight.shape[2:])
    transposed = transposed_at is not None and bool(call.argument(transposed_at, default=False))
    if transposed:
        positions = x.shape[0] * math.prod(x.shape[2:])
        sizes = groups, positions, weight.shape[1] * window, weight.shape[0] // groups
    else:
        out = call.outputs[0].shape
        positions = out[0] * math.prod(out[2:])
        sizes = groups, positions, weight.shape[0] // groups, weight.shape[1] * window
    kinds: dict[int, Primitive] = {3: "conv1d", 4: "conv2d", 5: "conv3d"}
    kind = kinds.get(len(weight.shape), "conv2d")
    product = _product(call, (x, weight), sizes, kind)
    return with_bias(call, product, bias if isinstance(bias, Operand) else None)


def cudnn_transposed(call: Call) -> tuple[Cost, ...]:
    # x, weight, padding, output padding, stride, dilation, groups: no bias
    flagged = Call(
        call.name, (*call.args[:2], None, None, None, None, True, None, call.argument(6, 1)),
        {}, call.inputs, call.outputs,
    )  # fmt: skip
    return convolution(flagged)


def conv_tbc(call: Call) -> tuple[Cost, ...]:
    # (t, b, c) with (w, c, n) + (n,)
    x, weight, bias = call.args[:3]
    rows = math.prod(call.outputs[0].shape[:2])
    sizes = (1, rows, weight.shape[2], weight.shape[0] * weight.shape[1])
    return with_bias(call, _product(call, (x, weight), sizes, "conv1d"), bias)


def deformable(call: Call) -> tuple[Cost, ...]:
    # input, weight, offset, mask, bias: each element of a window is read between four others
    x, weight, offset, mask, bias = call.args[:5]
    out = call.outputs[0].shape
    positions, window = out[0] * math.prod(out[2:]), math.prod(weight.shape[1:])
    product = _product(call, (x, weight), (1, positions, weight.shape[0], window), "conv2d")
    given = tuple(it for it in (offset, mask) if isinstance(it, Operand))
    sampling = cost(
        call,
        "elementwise",
        7 * positions * window,
        n_bytes=read_bytes(given),
        n_kernels=1,
        name="sampling",
        inputs=given,
    )
    return *with_bias(call, product, bias if isinstance(bias, Operand) else None), sampling


def _columns(b: Operand) -> tuple[int]:
    return (b.shape[1] if len(b.shape) > 1 else 1,)


def _product(
    call: Call,
    factors: tuple[Operand, ...],
    sizes: tuple[int, int, int, int],
    kind: Primitive | None = None,
) -> Cost:
    """The cost of a product of these sizes, whose kernel reads the factors and writes the output."""
    return cost(
        call,
        kind or _product_kind(*factors),
        2 * math.prod(sizes),
        n_bytes=read_bytes(factors) + call.outputs[0].n_bytes,
        inputs=factors,
        product=sizes,
    )


MATRIX_RULES: dict[str, Rule] = {
    "linear": linear,
    "mm": mm,
    "mv": mm,
    "_int_mm": mm,
    "_scaled_mm": scaled_mm,
    "_scaled_mm_v2": scaled_mm,
    **dict.fromkeys(("_weight_int8pack_mm", "_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu"),
                    packed_mm),
    "dot": dot,
    "vdot": dot,
    "addmm": addmm,
    "addmv": addmm,
    "addr": outer,
    "_addmm_activation": addmm_activation,
    "bmm": bmm,
    "baddbmm": baddbmm,
    "addbmm": baddbmm,
    "_grouped_mm": grouped_mm,
    "_scaled_grouped_mm": grouped_mm,
    "transformers::grouped_mm_fallback": grouped_mm,
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), convolution),
    **dict.fromkeys(
        ("cudnn_convolution", "miopen_convolution", "mkldnn_convolution", "mps_convolution"),
        partial(convolution, transposed_at=None, groups_at=6),
    ),
    "cudnn_convolution": partial(convolution, bias_at=None, transposed_at=None, groups_at=5),
    "cudnn_convolution_transpose": cudnn_transposed,
    **dict.fromkeys(
        ["_slow_conv2d_forward", "_conv_depthwise2d", "conv_depthwise3d", "slow_conv3d_forward",
         "slow_conv_dilated2d", "slow_conv_dilated3d"],
        partial(convolution, bias_at=3, transposed_at=None, groups_at=None),
    ),
    "conv_tbc": conv_tbc,
    "torchvision::deform_conv2d": deformable,
}  # fmt: skip
