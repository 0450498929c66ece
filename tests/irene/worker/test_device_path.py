"""The kernels of a trace against those of real runs, operation by operation, on models of others.

A plain dispatch mode watches a real run on the CPU: random weights, real values. What it sees is
priced by the same rules from the real tensors, so that names, dtypes, shapes, strides and what
is a weight must be the same on meta. The table of equivalences is at `FUSED`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from irene.tree import DeviceType, Node, Trace, matrix_flops, walk
from irene.worker import ops
from irene.worker.meta.operators import operator_of
from irene.worker.meta.weights import Weights
from irene.worker.tracing import trace_module

FUSED = {
    "_transformer_encoder_layer_fwd": "one operation to a dispatch mode, shown by its kernels",
    "_native_multi_head_attention": "the same; the profiler sees these kernels in the real run",
}
"""Operations of real runs that the tree takes apart, and why. Beside these `linear` stays whole
here as there: that is how torch hands it over, and addmm or mm is its one kernel."""

COMPOSITE = ("layer_norm", "reshape", "contiguous", "to")
"""What the fused operations call that is no kernel of its own."""

Kernel = tuple[Any, ...]


class RealRun(TorchDispatchMode):
    """The costs of what a real run issues; composite operations in the parts that C++ has."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.kernels: Counter[Kernel] = Counter()
        self.inside_fused: Counter[str] = Counter()
        self._weights = Weights()
        for buffer in model.buffers():
            self._weights.add(buffer, 0)
        for parameter in model.parameters():
            self._weights.add(parameter, parameter.numel())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        operator = operator_of(func)
        if operator.is_composite and operator.name != "linear":
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        if operator.name in FUSED:
            with profile(activities=[ProfilerActivity.CPU]) as profiled:
                result = func(*args, **kwargs)
            roots = [it for it in profiled.events() if it.cpu_parent is None]
            self.inside_fused.update(name for root in roots for name in kernels_in(root))
            return result
        result = func(*args, **kwargs)
        if operator.name not in ops.FREE:
            call = self._weights.call_of(operator, args, kwargs, result)
            self.kernels.update(as_kernel(it) for it in ops.cost_of(call))
        return result


def kernels_in(event: Any) -> Iterator[str]:
    """The first operations below an event that are kernels of their own."""
    name = event.name.removeprefix("aten::")
    if name not in (*FUSED, *COMPOSITE):
        if event.name.startswith("aten::") and name not in ops.FREE:
            yield name
        return
    for child in event.cpu_children:
        yield from kernels_in(child)


def as_kernel(cost: ops.Cost) -> Kernel:
    return (cost.name, cost.dtype, cost.input_shapes, cost.output_shapes, cost.n_kernels,
            cost.flops, cost.n_bytes, cost.primitive, cost.n_parameters)  # fmt: skip


def leaves(trace: Trace) -> list[tuple[Node, int]]:
    return [(node, calls) for node, calls in walk(trace.root) if node.kind == "primitive"]


def kernels_of(trace: Trace) -> Counter[Kernel]:
    found: Counter[Kernel] = Counter()
    for node, calls in leaves(trace):
        operation = node.operation
        assert operation is not None
        found[(operation.name, operation.dtype, operation.input_shapes, operation.output_shapes,
               operation.n_kernels, node.flops, node.n_bytes, node.primitive,
               node.n_parameters)] += calls  # fmt: skip
    return found


def names_of(trace: Trace, *, launched: bool = True) -> Counter[str]:
    found: Counter[str] = Counter()
    for node, calls in leaves(trace):
        if not launched or (node.operation and node.operation.n_kernels):
            found[node.class_name] += calls
    return found


def real_run(model: nn.Module, inputs: dict[str, Any] | tuple[Any, ...]) -> RealRun:
    run = RealRun(model.eval())
    with torch.inference_mode(), run:
        model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    return run


def traced(
    model: nn.Module, inputs: dict[str, Any] | tuple[Any, ...], device: DeviceType = "cpu"
) -> Trace:
    if isinstance(inputs, dict):
        return trace_module(model.eval(), (), inputs, device)
    return trace_module(model.eval(), inputs, None, device)


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "vocab_size": 100}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2}
IMAGES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
          "intermediate_size": 64, "image_size": 64, "patch_size": 16}  # fmt: skip
SEQ2SEQ = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
           "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
           "vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip

IDS = {"input_ids": torch.arange(24).view(2, 12) + 3}
BOTH = {**IDS, "decoder_input_ids": IDS["input_ids"]}


def library(name: str, inputs: dict[str, Any], **sizes: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model of Transformers with random weights."""
    config = getattr(transformers, f"{name}Config")(**sizes)
    return getattr(transformers, f"{name}Model")(config), inputs


class Residual(nn.Module):
    """The layers of a ResNet, and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=4), nn.BatchNorm2d(16))
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.up(torch.relu(x + self.block(x)))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Packed(nn.Module):
    """Sequences of three lengths, without their padding."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(8, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lengths = torch.tensor([5, 4, 2])
        packed = pack_padded_sequence(x, lengths, batch_first=True)
        return self.layer(packed)[0].data


class Projected(nn.Module):
    """A recurrent layer that no library runs as one, cells, and a state of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 16, proj_size=4)
        self.gru = nn.GRU(8, 16, bidirectional=True)
        self.cell, self.gru_cell = nn.LSTMCell(8, 16), nn.GRUCell(8, 16)

    def forward(self, x: torch.Tensor) -> tuple[Any, ...]:
        state = torch.zeros(2, 4, 16)
        return self.layer(x), self.gru(x, state), self.cell(x[0]), self.gru_cell(x[0])


class Attentions(nn.Module):
    """Attention with masks of both kinds, other head sizes, other ranks."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        attend = nn.functional.scaled_dot_product_attention
        return [
            attend(q, k, k, mask), attend(q, k, k, mask.float()), attend(q[0], k[0], k[0]),
            attend(q, k, k[..., :4]), attend(q[..., :7], k[..., :7], k, is_causal=True),
            attend(q, k, k, dropout_p=0.5), attend(q, k[:, :2], k[:, :2], enable_gqa=True), attend(q[0, 0], k[0, 0], k[0, 0]),
        ]  # fmt: skip


class Asking(nn.Module):
    """Code that asks where its tensors are, and makes others there."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.ones(4, device=x.device).to(x.device)
        x = x.to("cpu") * scale if x.device.type == "cpu" else x * 2 * scale
        x = x.cpu() + 1 if x.is_cpu else x
        return x.relu() if x.is_cuda else x.to(scale)


Made = tuple[nn.Module, "dict[str, Any] | tuple[Any, ...]"]
X = torch.randn(2, 10, 32)
MODELS: dict[str, Callable[[], Made]] = {
    "BERT": lambda: library("Bert", IDS, **SIZES),
    "GPT-2": lambda: library("GPT2", IDS, n_embd=32, n_layer=2, n_head=4, vocab_size=100,
                             bos_token_id=1, eos_token_id=2),
    "Llama": lambda: library("Llama", IDS, **GROUPED),
    "Mixtral": lambda: library("Mixtral", IDS, **GROUPED, num_local_experts=4),
    "ViT": lambda: library("ViT", {"pixel_values": torch.randn(2, 3, 64, 64)}, **IMAGES),
    "Whisper": lambda: library(
        "Whisper", {"input_features": torch.randn(2, 80, 60),
                    "decoder_input_ids": IDS["input_ids"]},
        **SEQ2SEQ, max_source_positions=30, decoder_start_token_id=1),
    "T5": lambda: library("T5", BOTH, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                          vocab_size=100),
    "Wav2Vec2": lambda: library(
        "Wav2Vec2", {"input_values": torch.randn(2, 400)}, **SIZES, conv_dim=(16, 16),
        conv_kernel=(10, 3), conv_stride=(5, 2), num_feat_extract_layers=2,
        num_conv_pos_embeddings=16),
    "Mamba": lambda: library("Mamba", IDS, hidden_size=32, num_hidden_layers=2, vocab_size=100),
    "ResNet": lambda: (Residual(), (torch.randn(2, 3, 32, 32),)),
    "Transformer": lambda: (nn.Transformer(32, 4, 2, 2, 64, batch_first=True), (X, X[:, :6])),
    "TransformerEncoder": lambda: (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2), (X,)),
    "encoder layer with a mask": lambda: (
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True,
                                   activation="gelu"),
        {"src": X, "src_key_padding_mask": torch.zeros(2, 10).bool()}),
    "attention with weights": lambda: (nn.MultiheadAttention(32, 4, batch_first=True), (X, X, X)),
    "cross attention": lambda: (nn.MultiheadAttention(32, 4), (X, X + 1, X + 1)),
    "LSTM": lambda: (nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True),
                     (torch.randn(4, 10, 8),)),
    "LSTM without biases": lambda: (nn.LSTM(8, 16, bias=False), (torch.randn(5, 4, 8),)),
    "LSTM in float64": lambda: (nn.LSTM(8, 16).double(), (torch.randn(5, 4, 8).double(),)),
    "GRU": lambda: (nn.GRU(8, 16, 2), (torch.randn(5, 4, 8),)),
    "RNN": lambda: (nn.RNN(8, 16, nonlinearity="relu"), (torch.randn(5, 4, 8),)),
    "projection, cells, own state": lambda: (Projected(), (torch.randn(5, 4, 8),)),
    "attention of all kinds": lambda: (
        Attentions(),
        (torch.randn(2, 4, 6, 8), torch.randn(2, 4, 9, 8), torch.ones(6, 9).bool())),
    "asking for the device": lambda: (Asking(), (torch.randn(3, 4),)),
    "bfloat16": lambda: half(library("Llama", IDS, **GROUPED)),
}  # fmt: skip


def half(made: tuple[nn.Module, dict[str, Any]]) -> Made:
    return made[0].bfloat16(), made[1]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", MODELS)
def test_a_trace_has_the_kernels_of_a_real_run(name: str) -> None:
    """Each with its dtype, shapes, FLOPs, bytes and launches, as often as it runs."""
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    run = real_run(model, inputs)
    ours = kernels_of(traced(model, inputs))
    missing, more = run.kernels - ours, ours - run.kernels
    assert missing == Counter()
    launched = {kernel: calls for kernel, calls in more.items() if kernel[4]}
    parts: Counter[str] = Counter()
    for kernel, calls in launched.items():
        parts[kernel[0]] += calls
    assert parts == run.inside_fused


def test_a_cpu_attends_with_its_fused_kernel_at_any_size() -> None:
    """Torch is asked for shapes that would take gigabytes."""

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    made = traced(Net(), (torch.empty(64, 32, 8192, 128, device="meta"),))
    assert names_of(made) == {"_scaled_dot_product_flash_attention_for_cpu": 1}


def test_packed_sequences_differ_only_in_when_the_inputs_are_multiplied() -> None:
    """A CPU multiplies all rows at once, the trace step by step: the same FLOPs."""
    model, x = Packed(), torch.randn(3, 5, 8)
    run, made = real_run(model, (x,)), traced(model, (x,))
    missing, more = run.kernels - kernels_of(made), kernels_of(made) - run.kernels
    assert {kernel[0] for kernel in missing} == {kernel[0] for kernel in more} == {"linear", "bias"}
    flops = [sum(kernel[5] * n for kernel, n in found.items()) for found in (missing, more)]
    assert flops[0] == flops[1]


class Cast(nn.Module):
    """A model under autocast, on the device that its first input is on."""

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        first = next(iter((*args, *kwargs.values())))
        with torch.autocast(first.device.type, dtype=self.dtype):
            self.model(*args, **kwargs)
            with torch.autocast(first.device.type, enabled=False):
                first.relu()
            return self.model(*args, **kwargs)


@pytest.mark.parametrize("name", ["BERT", "Llama", "ViT", "Whisper", "T5", "Mamba", "ResNet"])
def test_autocast_on_a_cpu_casts_what_it_casts_in_a_real_run(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    run = real_run(Cast(model), inputs)
    assert kernels_of(traced(Cast(model), inputs)) == run.kernels
    assert {kernel[1] for kernel in run.kernels if kernel[0] in ("linear", "convolution")} == {
        "bfloat16"
    }


def test_autocast_reaches_the_parts_of_a_recurrent_layer() -> None:
    """Within a dispatch mode torch forgets autocast, so that the profiler says how often it casts."""
    model, x = Cast(nn.LSTM(8, 16, 2)), torch.randn(5, 4, 8)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as profiled:
        model(x)
    n_casts = sum(event.name == "aten::_to_copy" for event in profiled.events())
    assert names_of(traced(model, (x,)))["_to_copy"] == n_casts


def test_autocast_on_a_gpu_multiplies_in_half_precision_and_normalises_in_float32() -> None:
    """The lists of torch's documentation, "CUDA Ops that can autocast to"."""
    model, inputs = MODELS["BERT"]()
    made = traced(Cast(model), inputs, "cuda")
    dtypes: dict[str, set[str]] = {}
    for node, _ in leaves(made):
        assert node.operation is not None
        dtypes.setdefault(node.class_name, set()).add(node.operation.dtype)
    assert dtypes["linear"] == {"float16"}
    assert dtypes["_scaled_dot_product_flash_attention"] == {"float16"}
    assert dtypes["native_layer_norm"] == {"float32"}
    on_cpu = traced(Cast(model), inputs, "cpu")
    assert matrix_flops(made.root) == matrix_flops(on_cpu.root)


def test_a_disabled_autocast_and_that_of_another_device_cast_nothing() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cuda", enabled=False):
                x = x @ x
            with torch.autocast("cpu"):
                return x @ x

    assert names_of(traced(Net(), (torch.zeros(4, 4),), "cuda")) == {"mm": 2}
    assert not torch.is_autocast_enabled("cpu")


KERNELS = [
    # the documentation of scaled_dot_product_attention: flash in half precision without a mask,
    # memory-efficient also in float32 and with one, grouped heads in flash and products alone
    ("float32", {}, "efficient"),
    ("float16", {}, "flash"),
    ("bfloat16", {"is_causal": True}, "flash"),
    ("float16", {"attn_mask": True}, "efficient"),
    ("float32", {"enable_gqa": True}, "products"),
    ("float16", {"enable_gqa": True}, "flash"),
    ("float64", {}, "products"),
]


@pytest.mark.parametrize(("dtype", "options", "kernel"), KERNELS)
def test_a_gpu_attends_with_the_kernel_that_fits(
    dtype: str, options: dict[str, Any], kernel: str
) -> None:
    """The same FLOPs for each; eager products also move the scores."""

    class Net(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            given = {**options, "attn_mask": mask} if "attn_mask" in options else options
            return nn.functional.scaled_dot_product_attention(q, k, k, **given)

    query = torch.zeros(2, 4, 16, 8, dtype=getattr(torch, dtype))
    key = query[:, :2] if "enable_gqa" in options else query
    mask = torch.zeros(16, 16, dtype=query.dtype)
    made = traced(Net(), (query, key, mask), "cuda")
    names = names_of(made)
    if kernel == "products":
        assert names["bmm"] == 2
        assert names["_safe_softmax"] + names["_softmax"] == 1
    else:
        assert names == {f"_scaled_dot_product_{kernel}_attention": 1}
    assert matrix_flops(made.root) == 2 * 2 * (2 * 4 * 16 * 16 * 8)


def test_flash_pads_heads_to_eight_and_writes_the_logarithms_of_its_sums() -> None:
    class Net(nn.Module):
        def forward(self, q: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(q, q, q)

    made = traced(Net(), (torch.zeros(1, 2, 4, 6, dtype=torch.float16),), "cuda")
    assert names_of(made) == {"constant_pad_nd": 3, "_scaled_dot_product_flash_attention": 1}
    (flash,) = (it for it, _ in leaves(made) if it.primitive == "attention")
    padded, logarithms = 2 * (1 * 2 * 4 * 8), 4 * (1 * 2 * 4)
    assert flash.n_bytes == 4 * padded + logarithms


@pytest.mark.parametrize(
    ("bias", "dtype", "n_kernels"),
    [(True, "float32", 3), (False, "float32", 2), (True, "float16", 2)],
)
def test_a_gpu_s_recurrent_layer_is_one_call_of_many_steps(
    bias: bool, dtype: str, n_kernels: int
) -> None:
    """The inputs, in float32 their biases, and the steps: for each layer and direction."""
    model = nn.LSTM(8, 16, 2, bidirectional=True, bias=bias, dtype=getattr(torch, dtype))
    made = traced(model, (torch.zeros(5, 3, 8, dtype=getattr(torch, dtype)),), "cuda")
    (layer,) = (it for it, _ in leaves(made) if it.primitive == "recurrent")
    assert layer.operation is not None
    assert (layer.operation.n_kernels, layer.operation.n_steps) == (2 * 2 * n_kernels, 2 * 2 * 5)


def test_a_gpu_s_recurrent_layer_copies_its_inputs_so_that_time_comes_first() -> None:
    x = torch.zeros(3, 5, 8)
    made = traced(nn.GRU(8, 16, batch_first=True), (x,), "cuda")
    assert names_of(made) == {"zeros": 1, "clone": 1, "gru": 1}
    alone = traced(nn.GRU(8, 16, batch_first=True), (x[:1],), "cuda")
    assert names_of(alone) == {"zeros": 1, "gru": 1}


def test_a_gpu_s_fused_encoder_layer_attends_with_one_kernel() -> None:
    """`cuda/attention.cu`: the projection with its bias, then fused attention."""
    model, inputs = MODELS["TransformerEncoder"]()
    gpu, cpu = traced(model, inputs, "cuda"), traced(model, inputs, "cpu")
    assert names_of(gpu) == {
        "linear": 4, "_scaled_dot_product_efficient_attention": 2, "add_": 4,
        "native_layer_norm": 4, "_addmm_activation": 2, "addmm": 2,
    }  # fmt: skip
    assert matrix_flops(gpu.root) == matrix_flops(cpu.root)


def test_a_gpu_adds_the_bias_of_a_convolution_afterwards() -> None:
    """`Convolution.cpp`: cuDNN gives the product; the kernel for depthwise ones takes the bias."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))
    made = traced(model, (torch.zeros(1, 3, 9, 9),), "cuda")
    assert names_of(made, launched=False) == {"convolution": 2, "add_": 1, "bias": 1}


def test_grouped_products_are_traced_in_float32() -> None:
    """Where torch's own rule for meta takes bfloat16 alone."""
    model, inputs = MODELS["Mixtral"]()
    for device in ("cpu", "cuda"):
        assert names_of(traced(model, inputs, device))["_grouped_mm"] == 2 * 2


def test_tensors_say_that_they_are_on_the_device() -> None:
    seen: list[tuple[str, bool, bool]] = []

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((str(x.device), x.is_cuda, x.is_cpu))
            return torch.zeros(2, device=x.device) + x.new_zeros(2) + x

    made = [names_of(traced(Net(), (torch.zeros(2),), device)) for device in ("cpu", "cuda")]
    assert seen == [("cpu", False, True), ("cuda:0", True, False)]
    assert made[0] == made[1]


def test_a_padding_mask_of_an_encoder_is_an_assumption() -> None:
    """Torch would look at the values of the mask, and leave out what is padded at the end."""
    model, inputs = MODELS["TransformerEncoder"]()
    mask = torch.zeros(2, 10).bool()
    made = traced(model, {"src": inputs[0], "src_key_padding_mask": mask})
    assert any("padded tokens are computed" in it.text for it in made.assumptions)
