"""Recurrent layers and cells: every weight matrix meets every token once.

cuDNN launches two kernels for a layer and direction, the product of all inputs and all steps in
one, and in float32 a third that adds the biases, as recorded (see the test of recorded kernels).
Where it has no kernel for all steps, in bfloat16 and for wide layers, it launches some for each step
from within the same call: they are counted as steps, not as launches from Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from irene.worker.ops.costs import Call, Cost, Operand, Rule, cost, read_bytes, traffic

_MODES = ("rnn_relu", "rnn_tanh", "lstm", "gru")  # of cuDNN and oneDNN, by number


def whole(call: Call) -> tuple[Cost, ...]:
    """All layers, directions and steps in one call, as cuDNN runs them.

    Padded (x, states, weights, has_biases, n_layers, dropout, train, bidirectional, batch_first)
    or packed (rows, batch sizes, states, weights, ...).
    """
    is_packed = isinstance(call.args[1], Operand) and call.args[1].dtype == "int64"
    weights, rest = call.args[3 if is_packed else 2], call.args[4 if is_packed else 3 :]
    x = call.args[0]
    n_times = call.args[1].n_elements if is_packed else x.shape[1 if rest[5] else 0]
    n_passes = rest[1] * (2 if rest[4] else 1)
    return _layers(call, call.name, weights, n_passes, n_times)


def cudnn(call: Call) -> tuple[Cost, ...]:
    """`_cudnn_rnn` and `miopen_rnn`: x, weights, weights per layer, buffer, states, mode, ..."""
    mode = next(it for it in call.args[4:] if isinstance(it, int) and not isinstance(it, bool))
    weights, per_layer = call.args[1], call.args[2]
    n_passes = max(1, len(weights) // max(1, per_layer))
    return _layers(call, _MODES[mode], weights, n_passes, call.args[0].shape[0])


def onednn_layer(call: Call) -> tuple[Cost, ...]:
    """`mkldnn_rnn_layer`: x, two matrices, two biases, states, reverse, sizes, mode, ..."""
    return _layers(call, _MODES[call.args[9]], call.args[1:5], 1, call.args[0].shape[0])


def _layers(
    call: Call, kind: str, weights: Sequence[Operand], n_passes: int, n_times: int
) -> tuple[Cost, ...]:
    """`n_passes`: layers times directions, in each of which the steps wait for those before."""
    x = call.args[0]
    tokens = math.prod(x.shape[:-1])
    if call.name == "mkldnn_rnn_layer":  # without biases it gets zeros of other shapes
        matrices, biases = tuple(weights[:2]), tuple(weights[2:])
    else:
        matrices = tuple(it for it in weights if len(it.shape) == 2)
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
        tokens * _gate_flops(kind, matrices),
        n_bytes=bias_bytes,
        n_kernels=0,
        name="gates",
        inputs=biases,
    )
    n_kernels = 1  # oneDNN's, a layer and direction at a time
    if call.name != "mkldnn_rnn_layer":
        n_kernels = n_passes * (3 if biases and call.dtype == "float32" else 2)
    return replace(product, n_steps=n_passes * n_times, n_kernels=n_kernels), gates


def _gate_flops(kind: str, matrices: Sequence[Operand]) -> int:
    """Per token: each gate adds two products and two biases and is squashed (3 + 4 FLOP).

    An LSTM then updates cell and output (3 + 4 + 1 per unit), a GRU mixes states (4).
    """
    n_gates = sum(it.shape[0] for it in matrices) // 2  # rows of w_ih and w_hh
    per_gate = {"lstm": 7 + 8 / 4, "gru": 7 + 4 / 3}.get(kind, 7)
    return round(n_gates * per_gate)


def cell(call: Call) -> tuple[Cost, ...]:
    # gates of the input and of the state (b, g n), state (b, n): as in a layer, for one step
    per_unit = 4 * 7 + 8 if call.name == "_thnn_fused_lstm_cell" else 3 * 7 + 4
    return (cost(call, "elementwise", per_unit * call.n_outputs),)


RECURRENT_RULES: dict[str, Rule] = {
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), whole),
    "_cudnn_rnn": cudnn,
    "miopen_rnn": cudnn,
    "mkldnn_rnn_layer": onednn_layer,
    "_thnn_fused_lstm_cell": cell,
    "_thnn_fused_gru_cell": cell,
}
