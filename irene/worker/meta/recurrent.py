"""Recurrent layers as a device runs them.

On a GPU cuDNN runs all layers, directions and steps in one call, of inputs whose time comes first
(`_cudnn_rnn` in `aten/src/ATen/native/cudnn/RNN.cpp` makes that copy). On a CPU oneDNN runs an LSTM
layer and direction at a time (`mkldnn_rnn` in `aten/src/ATen/native/mkldnn/RNN.cpp`); the others
are loops over time after one product of all inputs (`FullLayer` in `aten/src/ATen/native/RNN.cpp`,
which on other devices multiplies at every step).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from irene.worker.meta.device_path import current_device_type
from irene.worker.meta.tensors import to_meta

if TYPE_CHECKING:
    import torch

_LSTM_MODE = 2  # of cuDNN and oneDNN

Step = Callable[["torch.Tensor", "State", "Sequence[torch.Tensor]"], "State"]
"""From the input's part of the gates, the state before, and the weights to the state after."""
State = tuple["torch.Tensor", ...]

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})


def whole_on_meta(
    func: torch._ops.OpOverload, args: tuple[object, ...], _kwargs: object
) -> tuple[torch.Tensor, ...]:
    """Shapes of an LSTM, GRU or plain recurrent layer, without its loop over time.

    Padded: (x, states, weights, has_biases, n_layers, dropout, train, bidirectional,
    batch_first); packed: (data, batch_sizes, states, weights, ...).
    """
    is_packed = func._overloadname == "data"
    states = args[2 if is_packed else 1]
    rest = args[5 if is_packed else 4 :]
    x, bidirectional = cast("torch.Tensor", args[0]), rest[3]
    finals = cast(
        "list[torch.Tensor]", list(states) if isinstance(states, (list, tuple)) else [states]
    )
    width = finals[0].shape[-1] * (2 if bidirectional else 1)
    output = x.new_empty((*x.shape[:-1], width))
    return (output, *(it.new_empty(it.shape) for it in finals))


def recurrent_arguments(
    func: torch._ops.OpOverload, args: tuple[object, ...]
) -> tuple[object, ...]:
    """All tensors on meta, as C++ wants them on one device, but the sizes of packed steps."""
    sizes_at = 1 if func._overloadname == "data" else None
    return tuple(it if i == sizes_at else to_meta(it) for i, it in enumerate(args))


@dataclass(frozen=True, slots=True)
class _Layers:
    """A padded recurrent layer as it was called; time comes first in `x`."""

    x: torch.Tensor
    states: tuple[torch.Tensor, ...]  # (layers * directions, batch, n) each
    weights: Sequence[torch.Tensor]
    has_biases: bool
    n_layers: int
    train: bool
    bidirectional: bool
    batch_first: bool

    @property
    def n_directions(self) -> int:
        return 2 if self.bidirectional else 1

    def own_weights(self, at: int) -> Sequence[torch.Tensor]:
        """Those of one layer and direction: w_ih, w_hh, biases, projection."""
        per_layer = len(self.weights) // (self.n_layers * self.n_directions)
        return self.weights[at * per_layer : (at + 1) * per_layer]

    @property
    def has_projection(self) -> bool:
        return len(self.own_weights(0)) % 2 == 1


def issue_recurrent(
    func: torch._ops.OpOverload, args: tuple[object, ...]
) -> tuple[torch.Tensor, ...] | None:
    """Issue the operations of a recurrent layer; None for packed sequences.

    On a CPU a packed sequence is left to C++'s loop for other devices: the same products, but
    those of the inputs step by step. A GPU runs one whole.
    """
    if func._overloadname != "input":
        return None
    if current_device_type() == "cuda":
        return _time_first(func, args)
    layers = _layers(args)
    name = func.overloadpacket.__name__
    layer = _onednn_layer if name == "lstm" and _suits_onednn(layers) else _loop(_STEPS[name])
    return _run(layers, layer)


def _time_first(func: torch._ops.OpOverload, args: tuple[object, ...]) -> tuple[torch.Tensor, ...]:
    """A layer whose batch comes first, by one whose time does: (b, t, n) -> (b, t, m)."""
    x = cast("torch.Tensor", args[0]).transpose(0, 1).contiguous()
    output, *finals = cast("tuple[torch.Tensor, ...]", func(x, *args[1:8], False))
    return output.transpose(0, 1), *finals


def _layers(args: tuple[object, ...]) -> _Layers:
    x, states = cast("torch.Tensor", args[0]), args[1]
    return _Layers(
        x=x.transpose(0, 1) if args[8] else x,
        states=tuple(cast("Sequence[torch.Tensor]", states))
        if isinstance(states, (list, tuple))
        else (cast("torch.Tensor", states),),
        weights=cast("Sequence[torch.Tensor]", args[2]),
        has_biases=bool(args[3]),
        n_layers=cast("int", args[4]),
        train=bool(args[6]),
        bidirectional=bool(args[7]),
        batch_first=bool(args[8]),
    )


_Layer = Callable[["_Layers", "torch.Tensor", int, State], tuple["torch.Tensor", State]]
"""One layer in one direction, by its number, from its first state: output and last state."""


def _run(layers: _Layers, layer: _Layer) -> tuple[torch.Tensor, ...]:
    import torch

    x, states = layers.x, layers.states
    if layer is _onednn_layer:
        x, states = x.contiguous(), tuple(it.contiguous() for it in states)
    firsts = [it.unbind(0) for it in states]
    finals: list[State] = []
    for number in range(layers.n_layers):
        outputs = []
        for direction in range(layers.n_directions):
            at = number * layers.n_directions + direction
            output, final = layer(layers, x, at, tuple(it[at] for it in firsts))
            outputs.append(output)
            finals.append(final)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
    last = (torch.stack(it) for it in zip(*finals, strict=True))
    return x.transpose(0, 1) if layers.batch_first else x, *last


def _suits_onednn(layers: _Layers) -> bool:
    import torch

    x = layers.x
    is_supported = x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    is_on = torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)
    return is_on and is_supported and x.numel() > 0 and not layers.has_projection


def _onednn_layer(
    layers: _Layers, x: torch.Tensor, at: int, first: State
) -> tuple[torch.Tensor, State]:
    import torch

    weights = list(layers.own_weights(at))
    if not layers.has_biases:
        weights += [torch.zeros(it.shape, dtype=it.dtype, device=x.device) for it in weights]
    is_reverse = layers.bidirectional and at % 2 == 1
    out, hidden, cell, _ = torch.ops.aten.mkldnn_rnn_layer(
        x, *weights, *first, is_reverse, [], _LSTM_MODE, first[0].shape[-1], layers.n_layers,
        layers.has_biases, layers.bidirectional, layers.batch_first, layers.train,
    )  # fmt: skip
    return out, (hidden, cell)


def _loop(step: Step) -> _Layer:
    """(t, b, n) -> (t, b, m): one product of all inputs, then a step for each."""
    import torch
    from torch.nn.functional import linear

    def layer(
        layers: _Layers, x: torch.Tensor, at: int, first: State
    ) -> tuple[torch.Tensor, State]:
        weights = layers.own_weights(at)
        inputs = linear(x, weights[0], weights[2] if layers.has_biases else None)
        state, outputs = first, []
        for gates in inputs.unbind(0):
            state = step(gates, state, weights)
            outputs.append(state[0])
        return torch.stack(outputs), state

    return layer


def _from_hidden(hidden: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    from torch.nn.functional import linear

    return linear(hidden, weights[1], weights[3] if len(weights) >= 4 else None)


def _lstm_step(gates: torch.Tensor, state: State, weights: Sequence[torch.Tensor]) -> State:
    hidden, cell = state
    into, forget, new, out = _from_hidden(hidden, weights).add_(gates).chunk(4, 1)
    into, forget, new, out = into.sigmoid_(), forget.sigmoid_(), new.tanh_(), out.sigmoid_()
    cell = (forget * cell).add_(into * new)
    hidden = out * cell.tanh()
    if len(weights) % 2 == 1:
        hidden = hidden.matmul(weights[-1].t())
    return hidden, cell


def _gru_step(gates: torch.Tensor, state: State, weights: Sequence[torch.Tensor]) -> State:
    (hidden,) = state
    ours, theirs = gates.chunk(3, 1), _from_hidden(hidden, weights).chunk(3, 1)
    reset = theirs[0].add_(ours[0]).sigmoid_()
    update = theirs[1].add_(ours[1]).sigmoid_()
    new = ours[2].add(theirs[2].mul_(reset)).tanh_()
    return ((hidden - new).mul_(update).add_(new),)


def _tanh_step(gates: torch.Tensor, state: State, weights: Sequence[torch.Tensor]) -> State:
    return (_from_hidden(state[0], weights).add_(gates).tanh(),)


def _relu_step(gates: torch.Tensor, state: State, weights: Sequence[torch.Tensor]) -> State:
    return (_from_hidden(state[0], weights).add_(gates).relu(),)


_STEPS: Mapping[str, Step] = {
    "lstm": _lstm_step,
    "gru": _gru_step,
    "rnn_tanh": _tanh_step,
    "rnn_relu": _relu_step,
}
