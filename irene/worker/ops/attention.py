"""Fused attention: the same FLOPs whatever the kernel, different bytes.

Keys that a causal mask hides are counted, as in FlopCounterMode: kernels skip some of them.
The scores stay on the chip. Flash kernels also write the logarithm of each sum (arXiv 2205.14135,
algorithm 1), memory-efficient ones do not outside training.
"""

from __future__ import annotations

import math

from irene.worker.ops.costs import Call, Cost, Operand, Rule, cost, read_bytes

_SOFTMAX_FLOPS = 5  # per score: maximum, subtract, exponential, sum, divide


def attention(call: Call) -> tuple[Cost, ...]:
    # (b, h, s, d), (b, g, t, d), (b, g, t, e): scores (b, h, s, t)
    query, key, value = call.args[:3]
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return _costs(call, scores, query, value)


def rows_first(call: Call) -> tuple[Cost, ...]:
    # (b, s, h, d), (b, t, g, d), (b, t, g, e)
    query, key, value = call.args[:3]
    return _costs(call, math.prod(query.shape[:-1]) * key.shape[1], query, value)


def torch_flash(call: Call) -> tuple[Cost, ...]:
    # query, key, value, offsets of the sequences (none: padded), their maximum lengths
    return rows_first(call) if call.args[3] is None else packed(call)


def torch_efficient(call: Call) -> tuple[Cost, ...]:
    # query, key, value, bias, offsets of the sequences in (1, all rows, h, d)
    if not isinstance(call.argument(4), Operand):
        return rows_first(call)
    query, key, value, _, offsets = call.args[:5]
    n_sequences = max(1, offsets.n_elements - 1)
    scores = math.prod(query.shape[:-1]) * math.ceil(key.shape[1] / n_sequences)
    return _costs(call, scores, query, value)


def packed(call: Call) -> tuple[Cost, ...]:
    # (all rows, h, d) of sequences with at most args[6] keys each: an upper bound
    query, value = call.args[0], call.args[2]
    return _costs(call, math.prod(query.shape[:-1]) * int(call.args[6]), query, value)


def masked_softmax(call: Call) -> tuple[Cost, ...]:
    # scores (b, h, s, t) and what they must not see
    return (cost(call, "softmax", _SOFTMAX_FLOPS * call.n_outputs),)


def transform_bias_rescale(call: Call) -> tuple[Cost, ...]:
    # (b, s, 3 n) + (3 n,), the queries scaled, to three of (b, h, s, n / h)
    x = call.args[0]
    return (cost(call, "elementwise", x.n_elements + x.n_elements // 3),)


def _costs(call: Call, scores: int, query: Operand, value: Operand) -> tuple[Cost, ...]:
    """Two products with the softmax between them."""
    flops = 2 * scores * query.shape[-1] + 2 * scores * value.shape[-1]
    logarithms = call.outputs[1:2] if call.outputs[1:2] and _is_float(call.outputs[1]) else ()
    written = sum(it.n_bytes for it in (call.outputs[0], *logarithms))
    softmax = cost(
        call, "softmax", _SOFTMAX_FLOPS * scores, n_bytes=0, n_kernels=0, name="softmax", inputs=()
    )
    return cost(call, "attention", flops, n_bytes=read_bytes(call.inputs) + written), softmax


def _is_float(operand: Operand) -> bool:
    return operand.dtype.startswith("float")


ATTENTION_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        [
            "scaled_dot_product_attention",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_attention_math_for_mps",
            "_scaled_dot_product_fused_attention_overrideable",
        ],
        attention,
    ),
    "_flash_attention_forward": torch_flash,
    "_efficient_attention_forward": torch_efficient,
    "flash_attn::_flash_attn_forward": rows_first,
    "flash_attn::_flash_attn_varlen_forward": packed,
    "_masked_softmax": masked_softmax,
    "_transform_bias_rescale_qkv": transform_bias_rescale,
}
