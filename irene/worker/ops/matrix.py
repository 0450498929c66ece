"""Matrix products: linear layers, products of activations, convolutions, attention, recurrence."""

from __future__ import annotations

import math
from dataclasses import replace

from irene.tree import Primitive
from irene.worker.ops.costs import (
    Call,
    Cost,
    Operand,
    Rule,
    cost,
    read_bytes,
    traffic,
    with_bias,
)

_SOFTMAX_FLOPS = 5  # per score: maximum, subtract, exponential, sum, divide


def _product_kind(*factors: Operand) -> Primitive:
    """`linear` where a factor is a weight, `matmul` between activations."""
    return "linear" if any(it.is_weight for it in factors) else "matmul"


def linear(call: Call) -> tuple[Cost, ...]:
    # (..., k) @ (n, k).T + (n,)
    x, weight = call.args[0], call.args[1]
    bias = call.argument(2)
    flops = 2 * x.n_elements * weight.shape[0]
    n_bytes = read_bytes((x, weight)) + call.outputs[0].n_bytes
    product = cost(call, _product_kind(weight), flops, n_bytes=n_bytes, inputs=(x, weight))
    return with_bias(call, product, bias)


def mm(call: Call) -> tuple[Cost, ...]:
    # (m, k) @ (k, n), and (m, k) @ (k,)
    a, b = call.args[0], call.args[1]
    columns = b.shape[1] if len(b.shape) > 1 else 1
    return (cost(call, _product_kind(a, b), 2 * a.n_elements * columns),)


def dot(call: Call) -> tuple[Cost, ...]:
    # (k,) @ (k,)
    a, b = call.args[0], call.args[1]
    return (cost(call, _product_kind(a, b), 2 * a.n_elements),)


def addmm(call: Call) -> tuple[Cost, ...]:
    # (n,) + (m, k) @ (k, n)
    bias, a, b = call.args[:3]
    columns = b.shape[1] if len(b.shape) > 1 else 1
    n_bytes = read_bytes((a, b)) + call.outputs[0].n_bytes
    flops = 2 * a.n_elements * columns
    product = cost(call, _product_kind(a, b), flops, n_bytes=n_bytes, inputs=(a, b))
    return with_bias(call, product, bias)


def bmm(call: Call) -> tuple[Cost, ...]:
    # (b, m, k) @ (b, k, n)
    a, b = call.args[0], call.args[1]
    return (cost(call, "matmul", 2 * a.n_elements * b.shape[-1]),)


def baddbmm(call: Call) -> tuple[Cost, ...]:
    # (b, m, n) + (b, m, k) @ (b, k, n)
    added, a, b = call.args[:3]
    n_bytes = read_bytes((a, b)) + call.outputs[0].n_bytes
    flops = 2 * a.n_elements * b.shape[-1]
    product = cost(call, "matmul", flops, n_bytes=n_bytes, inputs=(a, b))
    return with_bias(call, product, added)


def grouped_mm(call: Call) -> tuple[Cost, ...]:
    # (m, k) @ (g, k, n): each row meets one group; (g, m, k) @ (g, k, n); (k of all groups)
    a, b = call.args[0], call.args[1]
    n_bytes = a.n_bytes + _groups_read(a, b) + call.outputs[0].n_bytes
    flops = 2 * a.n_elements * b.shape[-1]
    product = cost(call, "matmul", flops, n_bytes=n_bytes, inputs=(a, b))
    bias = call.argument(3, call.kwargs.get("bias"))
    return with_bias(call, product, bias if isinstance(bias, Operand) else None)


def _groups_read(a: Operand, b: Operand) -> int:
    """Bytes of the matrices that rows meet: with fewer rows than groups not all of them."""
    if len(a.shape) != 2 or len(b.shape) != 3 or not b.shape[0]:
        return b.n_bytes
    return b.n_bytes * min(a.shape[0], b.shape[0]) // b.shape[0]


def convolution(call: Call) -> tuple[Cost, ...]:
    # (b, c, *x) with (n, c / groups, *k), or transposed with (c, n / groups, *k)
    x, weight, bias = call.args[:3]
    transposed = call.argument(6, default=False)
    positions = x.n_elements if transposed else call.n_outputs
    flops = 2 * positions * math.prod(weight.shape[1:])
    n_bytes = read_bytes((x, weight)) + call.outputs[0].n_bytes
    kinds: dict[int, Primitive] = {3: "conv1d", 4: "conv2d", 5: "conv3d"}
    kind = kinds.get(len(weight.shape), "conv2d")
    product = cost(call, kind, flops, n_bytes=n_bytes, inputs=(x, weight))
    return with_bias(call, product, bias)


def attention(call: Call) -> tuple[Cost, ...]:
    # (b, h, s, d), (b, g, t, d), (b, g, t, e): scores (b, h, s, t); causal masks skip nothing
    query, key, value = call.args[:3]
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    flops = 2 * scores * query.shape[-1] + 2 * scores * value.shape[-1]
    n_bytes = read_bytes(call.inputs) + call.outputs[0].n_bytes
    softmax = cost(
        call, "softmax", _SOFTMAX_FLOPS * scores, n_bytes=0, n_kernels=0, name="softmax", inputs=()
    )
    return cost(call, "attention", flops, n_bytes=n_bytes), softmax


def recurrent(call: Call) -> tuple[Cost, ...]:
    """LSTM, GRU and plain layers: every weight matrix meets every token once."""
    x = call.args[0]
    weights = tuple(it for it in call.inputs[1:] if it.is_weight)
    tokens = math.prod(x.shape[:-1])
    matrices = [it for it in weights if len(it.shape) == 2]
    biases = tuple(it for it in weights if len(it.shape) == 1)
    bias_bytes = read_bytes(biases) if biases else 0
    product = cost(
        call,
        "recurrent",
        2 * tokens * sum(it.n_elements for it in matrices),
        n_bytes=traffic(call) - bias_bytes,
        inputs=(x, *matrices),
    )
    gates = cost(
        call,
        "elementwise",
        tokens * _gate_flops(call.name, matrices),
        n_bytes=bias_bytes,
        n_kernels=0,
        name="gates",
        inputs=biases,
    )
    return replace(product, n_steps=_n_steps(call)), gates


def _n_steps(call: Call) -> int:
    """Time steps of all layers and directions: the states of one wait for those before it.

    (input, states, weights, has_biases, n_layers, dropout, train, bidirectional, batch_first), or
    packed (input, batch_sizes, states, ...), which has a batch size for each time step.
    """
    x, *_ = call.args
    packed = isinstance(call.args[3], tuple | list)
    n_layers, is_both_ways = call.args[4 + packed], call.args[7 + packed]
    n_times = call.args[1].shape[0] if packed else x.shape[1 if call.args[8] else 0]
    return int(n_times * n_layers * (2 if is_both_ways else 1))


def _gate_flops(name: str, matrices: list[Operand]) -> int:
    """Per token: each gate adds two products and two biases and is squashed (3 + 4 FLOP).

    An LSTM then updates cell and output (3 + 4 + 1 per unit), a GRU mixes states (4).
    """
    n_gates = sum(it.shape[0] for it in matrices) // 2  # rows of w_ih and w_hh
    per_gate = {"lstm": 7 + 8 / 4, "gru": 7 + 4 / 3}.get(name, 7)
    return round(n_gates * per_gate)


def fft(call: Call) -> tuple[Cost, ...]:
    # 5 n log2 n per transform of length n over the given dimensions
    x = call.inputs[0]
    larger = max(x.shape, call.outputs[0].shape, key=math.prod)
    length = math.prod(larger[dim] for dim in call.args[1]) or 1
    flops = round(5 * math.prod(larger) * math.log2(max(2, length)))
    return (cost(call, "other", flops),)


MATRIX_RULES: dict[str, Rule] = {
    "linear": linear,
    "mm": mm,
    "mv": mm,
    "dot": dot,
    "vdot": dot,
    "addmm": addmm,
    "addmv": addmm,
    "_addmm_activation": addmm,
    "bmm": bmm,
    "baddbmm": baddbmm,
    "_grouped_mm": grouped_mm,
    "transformers::grouped_mm_fallback": grouped_mm,
    "convolution": convolution,
    "_convolution": convolution,
    "convolution_overrideable": convolution,
    "scaled_dot_product_attention": attention,
    "_scaled_dot_product_flash_attention": attention,
    "_scaled_dot_product_flash_attention_for_cpu": attention,
    "_scaled_dot_product_efficient_attention": attention,
    "_scaled_dot_product_cudnn_attention": attention,
    "lstm": recurrent,
    "gru": recurrent,
    "rnn_tanh": recurrent,
    "rnn_relu": recurrent,
    "_fft_r2c": fft,
    "_fft_c2r": fft,
    "_fft_c2c": fft,
}
