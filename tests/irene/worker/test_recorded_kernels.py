"""Trees for a GPU against kernel lists that others recorded on NVIDIA cards and published.

Each recording is one forward pass: how often each operation of the device ran, and how many kernels
it launched. Facts taken from, with the day, card and torch version of the run where they are stated:

- HolisticTraceAnalysis: github.com/facebookresearch/HolisticTraceAnalysis, `tests/data`, PyTorch
  profiler traces. `ns_resolution_trace`: ResNet-50, training, Tesla V100-SXM2-32GB, 2024-04-03.
  `nccl_parser_config`: the same, A100, 2024-05-22. `critical_path/alexnet`: AlexNet, A100, 2023-09.
- HDAI: github.com/anshulk-cmu/HDAI---cuDNN-Profiling, `results/traces`, 2026-04-18: ResNet-18,
  DistilBERT and a GRU, inference in float32, GeForce RTX 5070 Ti Laptop, torch 2.10.0+cu128,
  cuDNN 9.10.2, Transformers 5.5.4.
- Profiling in PyTorch: huggingface.co/blog/torch-mlp-fusion (2026-06-11) and /torch-attention-profile
  (2026-07-10): A100-SXM4-80GB, bfloat16, links to the documentation of torch 2.13.
- Torch profiling tutorial: github.com/Quentin-Anthony/torch-profiling-tutorial, 2025-07-09: a layer
  around `nn.MultiheadAttention`, inference, float32, RTX 4090, NGC PyTorch 23.10 (torch 2.1).
- NFL: github.com/Sam-v6/nfl, README of 2025-12: `nn.TransformerEncoder`, inference, float32,
  torch >= 2.8, card not stated; compiled, which leaves the fused layers as they are.
- SDPA tutorial: PyTorch's `scaled_dot_product_attention_tutorial` as translated on
  pytorch.apachecn.org: causal attention, inference, float16, torch 2; card not stated.
- TorchDynamo: github.com/pytorch/pytorch, `benchmarks/dynamo/microbenchmarks/operator_inp_logs`,
  2022-08 (github.com/pytorch/torchdynamo/pull/785): what a dispatch mode saw of a training step in
  float16 on CUDA, with shapes; the benchmarks' README names A100. Rows of the backward pass and of
  the loss are left out, and a row that both share is divided as said beside it. The log leaves out
  calls without tensors and those with a memory format (`operator_inp_utils.py`).
- AIoTC: github.com/nvSiruiW/aiotc, `results/kernel_profile.json`, 2026-07-15: launches of an LSTM in
  float16 and bfloat16, RTX PRO 6000 Blackwell. That float16 has no kernel for the biases is read from
  its total, which leaves two for each layer; github.com/Artelnics/opennn, `benchmarks/reports/lstm.md`,
  2026-09, has one recurrent kernel for a layer in float16 too.

Sizes that a source does not state are made up where no count depends on them (batches of ResNet-50
and AlexNet, lengths of single attentions). Copies and fills by the driver count as launches. The tree
knows no generation of cards, so that each recording is compared whatever its card. No recording of a
mixture-of-experts in PyTorch's own operations was found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from irene.tree import Trace, matrix_flops, walk
from irene.worker.tracing import trace_module

AS_TRACED = {
    "cudnn_convolution": "convolution",
    "cudnn_batch_norm": "native_batch_norm",
    "clamp_min_": "relu_",  # what relu_ launches
    "index_select": "embedding",  # what embedding launches
    "copy_": "clone",
    "fill_": "zeros",
    "_efficient_attention_forward": "_scaled_dot_product_efficient_attention",
    "_flash_attention_forward": "_scaled_dot_product_flash_attention",
    "norm": "linalg_vector_norm",
}
"""The operation that a profiler sees, and the one of the tree that issued it."""

LAYOUTS = "cuDNN's own: copies to and from channels last, offsets, transforms of filters and tiles"
SPLIT = "cuBLAS splits a sum and adds its parts, or adds the bias, in a kernel of its own"
COUNTER = "in training each batch norm counts its batches; a tree is of inference"
BUCKETS = "DistributedDataParallel broadcasts the buffers"
DROPOUT = "the recorded model trained; a tree is of inference"
NO_MASK = "Transformers added a mask of zeros in 2022, and leaves it out in 5"
SCALING = "Transformers divided scores in 2022, and multiplies them in 5"
NOT_LOGGED = "the log has no calls without tensors or with a memory format"
TOKEN_TYPES = "Transformers 5 gathers the token types of the positions"
TIME_FIRST = "the copy that puts time first is within `_cudnn_rnn`, below a dispatch mode"
STEPS = (
    "cuDNN has no kernel for all steps in bfloat16: the 600 steps of three layers launch their own"
)
SAVED = "autograd keeps a copy of what an operation in place overwrites; a tree is of inference"
COMPILED = "the last product is of the layers around, which were compiled"


@dataclass(frozen=True, slots=True)
class Difference:
    """What the tree has more than the recording, and why."""

    why: str
    calls: int = 0
    launches: int = 0


@dataclass(frozen=True, slots=True)
class Recording:
    """One forward pass as recorded.

    `operations`: calls of each that launched something, by the profiler's name; a pair adds its
    launches where they are not one for each call. `n_launches`: of the whole pass, where only that
    is known of the kernels. `flops`: of the products of the recorded shapes. Not `has_launches`: the
    source has no kernels, or not all.
    """

    trace: Callable[[], Trace]
    operations: Mapping[str, int | tuple[int, int]] = field(default_factory=dict)
    n_launches: int | None = None
    flops: int | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    has_launches: bool = True


class Block(nn.Module):
    """A residual block of ResNet: two convolutions, or three around a bottleneck."""

    def __init__(self, n_in: int, width: int, stride: int, *, is_bottleneck: bool) -> None:
        super().__init__()
        n_out = 4 * width if is_bottleneck else width
        sizes = [(n_in, width, 3, stride), (width, n_out, 3, 1)]
        if is_bottleneck:
            sizes = [(n_in, width, 1, 1), (width, width, 3, stride), (width, n_out, 1, 1)]
        layers: list[nn.Module] = []
        for first, last, kernel, step in sizes:
            layers += [
                nn.Conv2d(first, last, kernel, step, kernel // 2, bias=False),
                nn.BatchNorm2d(last),
                nn.ReLU(inplace=True),
            ]
        self.main, self.last = nn.Sequential(*layers[:-1]), layers[-1]
        self.short = nn.Sequential()
        if stride > 1 or n_in != n_out:
            self.short.append(nn.Conv2d(n_in, n_out, 1, stride, bias=False))
            self.short.append(nn.BatchNorm2d(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.main(x)
        out += self.short(x)
        return self.last(out)


def resnet(depths: tuple[int, ...], batch: int, *, is_bottleneck: bool) -> Trace:
    """The torchvision ResNet on images of 224 pixels, in float32."""
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
              nn.MaxPool2d(3, 2, 1)]  # fmt: skip
    n_in = 64
    for stage, depth in enumerate(depths):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            layers.append(Block(n_in, 64 << stage, stride, is_bottleneck=is_bottleneck))
            n_in = (64 << stage) * (4 if is_bottleneck else 1)
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, 1000)]
    return traced(nn.Sequential(*layers), torch.empty(batch, 3, 224, 224))


class Inverted(nn.Module):
    """A block of MobileNetV2: wider, a filter for each channel, narrow again."""

    def __init__(self, n_in: int, n_out: int, stride: int, ratio: int) -> None:
        super().__init__()
        width = ratio * n_in
        layers = [] if ratio == 1 else rectified(nn.Conv2d(n_in, width, 1, bias=False))
        layers += rectified(nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False))
        layers += [nn.Conv2d(width, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
        self.main, self.is_residual = nn.Sequential(*layers), stride == 1 and n_in == n_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.main(x) if self.is_residual else self.main(x)


def rectified(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU6(inplace=True)]


def mobilenet(batch: int) -> Trace:
    """The torchvision MobileNetV2 on images of 224 pixels, in float16."""
    layers, n_in = rectified(nn.Conv2d(3, 32, 3, 2, 1, bias=False)), 32
    for ratio, n_out, depth, stride in [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:  # fmt: skip
        for index in range(depth):
            layers.append(Inverted(n_in, n_out, 1 if index else stride, ratio))
            n_in = n_out
    layers += [*rectified(nn.Conv2d(n_in, 1280, 1, bias=False)), nn.AdaptiveAvgPool2d(1),
               nn.Flatten(), nn.Dropout(), nn.Linear(1280, 1000)]  # fmt: skip
    return traced(nn.Sequential(*layers).half(), torch.empty(batch, 3, 224, 224).half())


def alexnet() -> Trace:
    """The torchvision AlexNet, in float32."""

    def layer(*sizes: int) -> list[nn.Module]:
        return [nn.Conv2d(*sizes), nn.ReLU(inplace=True)]

    pool = nn.MaxPool2d(3, 2)
    model = nn.Sequential(
        *layer(3, 64, 11, 4, 2), pool, *layer(64, 192, 5, 1, 2), pool, *layer(192, 384, 3, 1, 1),
        *layer(384, 256, 3, 1, 1), *layer(256, 256, 3, 1, 1), pool, nn.AdaptiveAvgPool2d(6),
        nn.Flatten(), nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000),
    )  # fmt: skip
    return traced(model, torch.empty(8, 3, 224, 224))


class Last(nn.Module):
    """A recurrent layer and a product of its last step."""

    def __init__(self, layer: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0][:, -1])


class Voice(nn.Module):
    """torchbench's `tts_angular`: three LSTMs, each with a projection, and a unit vector."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(n, 768, batch_first=True) for n in (40, 256, 256))
        self.projections = nn.ModuleList(nn.Linear(768, 256, bias=False) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, projection in zip(self.layers, self.projections, strict=True):
            x = projection(layer(x)[0])
        return functional.normalize(x[:, -1], dim=1)


class Walker(nn.Module):
    """RoNIN's LSTM: three layers of 100 units, two products, states of zeros made at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(6, 100, 3, batch_first=True)
        self.head = nn.Sequential(nn.Linear(100, 10), nn.Linear(10, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = tuple(torch.zeros(3, 1, 100, device=x.device, dtype=x.dtype) for _ in range(2))
        return self.head(self.layer(x, state)[0])


def walker(dtype: torch.dtype) -> Trace:
    return traced(Walker().to(dtype), torch.empty(1, 200, 6, dtype=dtype))


class Naive(nn.Module):
    """Causal attention in single operations, masked in a copy or in place."""

    def __init__(self, *, is_in_place: bool) -> None:
        super().__init__()
        self.is_in_place = is_in_place

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        scores = torch.matmul(q, k.transpose(-2, -1)) * (1 / math.sqrt(q.shape[-1]))
        masked = scores.masked_fill_ if self.is_in_place else scores.masked_fill
        return torch.matmul(torch.softmax(masked(mask, -math.inf), dim=-1), v)


class Fused(nn.Module):
    """Causal attention in one call, on a backend."""

    def __init__(self, backend: SDPBackend) -> None:
        super().__init__()
        self.backend = backend

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel(self.backend):
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


HEADS = torch.empty(1, 8, 256, 64, dtype=torch.bfloat16, device="meta")


def fused(backend: SDPBackend) -> Trace:
    return traced(Fused(backend), HEADS, HEADS, HEADS)


def naive(*, is_in_place: bool) -> Trace:
    mask = torch.ones(256, 256, dtype=torch.bool)
    return traced(Naive(is_in_place=is_in_place), HEADS, HEADS, HEADS, mask)


class Gated(nn.Module):
    """A feed-forward network with a gate, without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.gelu(self.gate(x), approximate="tanh") * self.up(x))


class Layer(nn.Module):
    """A layer of a transformer that asks attention for its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(512, 8, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(512) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norms[0](x + self.attention(x, x, x)[0])
        return self.norms[1](x + self.mlp(x))


class Causal(nn.Module):
    """Attention with its projections, as in the tutorial of `scaled_dot_product_attention`."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.inner = nn.Linear(width, 3 * width, bias=False)
        self.outer = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (it.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
                   for it in self.inner(x).chunk(3, -1))  # fmt: skip
        return self.outer(
            functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        )


class Vision(nn.Module):
    """timm's `vit_base_patch16_224` of 2022, with attention in products."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, 768))
        self.positions = nn.Parameter(torch.zeros(1, 197, 768))
        self.blocks = nn.Sequential(*(VisionBlock() for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(768), nn.Linear(768, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class VisionBlock(nn.Module):
    """Attention in products, and a network of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(768) for _ in range(2))
        self.qkv, self.projection = nn.Linear(768, 2304), nn.Linear(768, 768)
        self.mlp = nn.Sequential(nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norms[0](x)).reshape(batch, length, 3, 12, 64).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = ((q @ k.transpose(-2, -1)) * 0.125).softmax(dim=-1)
        x = x + self.projection((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norms[1](x))


def traced(model: nn.Module, *inputs: torch.Tensor, **named: torch.Tensor) -> Trace:
    return trace_module(model.eval(), inputs, named, "cuda")


def library(name: str, batch: int, length: int, **settings: Any) -> Trace:
    """A model of Transformers with its default sizes, in float16 where its attention is eager."""
    config_class = getattr(transformers, name).config_class
    model = getattr(transformers, name)(config_class(**settings))
    if settings.get("attn_implementation") == "eager":
        model = model.half()
    return traced(model, input_ids=torch.ones(batch, length, dtype=torch.long))


def product(m: int, k: int, n: int) -> int:
    """FLOPs of (m, k) @ (k, n)."""
    return 2 * m * k * n


RESNET_50 = {
    "cudnn_batch_norm": 53, "clamp_min_": 49, "max_pool2d_with_indices": 1, "mean": 1,
    "add_": 69, "copy_": 159, "cat": 2,
}  # fmt: skip
TRAINING = {
    "add_": Difference(COUNTER, -53, -53),
    "clone": Difference(BUCKETS, -159, -159),
    "cat": Difference(BUCKETS, -2, -2),
    "linear": Difference(SPLIT, 0, -1),
}
RECORDINGS: dict[str, Recording] = {
    "ResNet-50, V100": Recording(
        lambda: resnet((3, 4, 6, 3), 32, is_bottleneck=True),
        {**RESNET_50, "cudnn_convolution": (53, 124), "linear": (1, 2)},
        differences={**TRAINING, "convolution": Difference(LAYOUTS, 0, -71)},
    ),
    "ResNet-50, A100": Recording(
        lambda: resnet((3, 4, 6, 3), 32, is_bottleneck=True),
        {**RESNET_50, "cudnn_convolution": (53, 114), "linear": (1, 2)},
        differences={**TRAINING, "convolution": Difference(LAYOUTS, 0, -61)},
    ),
    "ResNet-18, RTX 5070 Ti": Recording(
        lambda: resnet((2, 2, 2, 2), 32, is_bottleneck=False),
        {"cudnn_convolution": (20, 68), "cudnn_batch_norm": 20, "clamp_min_": 17, "add_": 8,
         "max_pool2d_with_indices": 1, "mean": 1, "linear": (1, 2)},
        flops=product(32 * 112**2, 3 * 49, 64) + 4 * product(32 * 56**2, 64 * 9, 64)
        + sum(product(32 * size**2, n * 9 // 2, n) + 3 * product(32 * size**2, n * 9, n)
              + product(32 * size**2, n // 2, n) for size, n in ((28, 128), (14, 256), (7, 512)))
        + product(32, 512, 1000),
        differences={
            "convolution": Difference(LAYOUTS, 0, -48), "linear": Difference(SPLIT, 0, -1)},
    ),
    "AlexNet, A100": Recording(
        alexnet,
        {"cudnn_convolution": (5, 15), "add_": 5, "clamp_min_": 7, "max_pool2d_with_indices": 3,
         "_adaptive_avg_pool2d": 1, "native_dropout": 2, "linear": (3, 7)},
        differences={
            "convolution": Difference(LAYOUTS, 0, -10),
            "native_dropout": Difference(DROPOUT, -2, -2),
            "linear": Difference(SPLIT, 0, -4),
        },
    ),
    "DistilBERT, memory-efficient attention": Recording(
        lambda: library("DistilBertModel", 8, 128),
        {"index_select": 2, "add": 13, "native_layer_norm": 13, "linear": 36,
         "_efficient_attention_forward": 6, "gelu": 6},
        n_launches=76,
        flops=24 * product(1024, 768, 768) + 12 * product(1024, 768, 3072)
        + 6 * 8 * 12 * 2 * product(128, 64, 128),
    ),
    "GRU": Recording(
        lambda: traced(
            Last(nn.GRU(64, 128, 2, batch_first=True), nn.Linear(128, 10)),
            torch.empty(32, 100, 64)),
        {"fill_": 1, "copy_": 1, "gru": (1, 6), "linear": (1, 2)},
        n_launches=10,
        flops=product(32 * 100, 64 + 128 + 128 + 128, 384) + product(32, 128, 10),
        differences={"linear": Difference(SPLIT, 0, -1)},
    ),
    "LSTM, float16": Recording(lambda: walker(torch.float16), n_launches=10),
    "LSTM, bfloat16": Recording(
        lambda: walker(torch.bfloat16),
        n_launches=1241,
        differences={"lstm": Difference(STEPS, 0, 10 - 1241)},
    ),
    "encoder, fused layers": Recording(
        lambda: traced(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(96, 2, 192, batch_first=True), 2),
            torch.empty(1, 11, 96)),
        {"linear": (4, 8), "_efficient_attention_forward": 2, "add_": 4, "native_layer_norm": 4,
         "_addmm_activation": (2, 4), "addmm": (7 - 4, 5)},  # of 7 addmm `linear` called 4
        differences={"addmm": Difference(f"{COMPILED}; {SPLIT}", -1, -3),
                     "linear": Difference(SPLIT, 0, -4),
                     "_addmm_activation": Difference(SPLIT, 0, -2)},
    ),
    "multi-head attention with weights": Recording(
        lambda: traced(Layer(), torch.empty(16, 128, 512)), n_launches=16
    ),
    "attention, masked in a copy": Recording(lambda: naive(is_in_place=False), n_launches=6),
    "attention, masked in place": Recording(lambda: naive(is_in_place=True), n_launches=5),
    "attention, math": Recording(lambda: fused(SDPBackend.MATH), n_launches=20),
    "attention, memory-efficient": Recording(
        lambda: fused(SDPBackend.EFFICIENT_ATTENTION),
        {"_efficient_attention_forward": 1}, n_launches=1),
    "attention, flash": Recording(
        lambda: fused(SDPBackend.FLASH_ATTENTION),
        {"_flash_attention_forward": 1}, n_launches=1),
    "attention, cuDNN": Recording(
        lambda: fused(SDPBackend.CUDNN_ATTENTION),
        {"_scaled_dot_product_cudnn_attention": 1}, n_launches=1),
    "gated feed-forward": Recording(
        lambda: traced(Gated(768, 3072).bfloat16(),
                       torch.empty(64, 128, 768, dtype=torch.bfloat16)),
        {"linear": 3, "gelu": 1, "mul": 1},
        n_launches=5, flops=3 * product(8192, 768, 3072)),
    "causal attention with projections": Recording(
        lambda: traced(Causal(512, 8).half(), torch.empty(32, 256, 512, dtype=torch.half)),
        {"linear": 2, "_flash_attention_forward": 1},
        has_launches=False),
    "BERT, eager attention": Recording(
        lambda: library("BertForMaskedLM", 64, 128, attn_implementation="eager"),
        # 73 + 1 additions of hidden states, of which 48 sum gradients, four a layer, and 12 of a
        # mask; a third of 72 bmm, the others are gradients; half of 24 divisions
        {"embedding": 3, "add": 26 + 12, "native_layer_norm": 26, "linear": 74, "bmm": 24,
         "div": 12, "_softmax": 12, "gelu": 13, "_to_copy": 1, "rsub": 1, "mul": 1},
        flops=49 * product(8192, 768, 768) + 24 * product(8192, 768, 3072)
        + product(8192, 768, 30522) + 24 * 768 * product(128, 64, 128),
        differences={
            "add": Difference(NO_MASK, -12), "_to_copy": Difference(NO_MASK, -1),
            "rsub": Difference(NO_MASK, -1), "div": Difference(SCALING, -12),
            "mul": Difference(f"{SCALING}; {NO_MASK}", 12 - 1),
            "gather": Difference(TOKEN_TYPES, 1), "clone": Difference(NOT_LOGGED, 48),
        },
        has_launches=False,
    ),
    "MobileNetV2": Recording(
        lambda: mobilenet(96),
        # 20 additions, of which 10 sum gradients
        {"convolution": 52, "native_batch_norm": 52, "hardtanh_": 35, "clone": 35, "add": 10,
         "mean": 1, "linear": 1},
        flops=57_748_660_224,
        differences={"clone": Difference(SAVED, -35)},
        has_launches=False,
    ),
    "ViT, eager attention": Recording(
        lambda: traced(Vision().half(), torch.empty(64, 3, 224, 224, dtype=torch.half)),
        # 49 additions, of which 24 sum gradients, two a layer; a third of bmm, half of mul
        {"convolution": 1, "cat": 1, "add": 25, "native_layer_norm": 25, "linear": 49, "bmm": 24,
         "mul": 12, "_softmax": 12, "gelu": 12},
        flops=product(64 * 196, 768, 768) + 12 * product(12608, 768, 2304 + 768 + 2 * 3072)
        + product(64, 768, 1000) + 24 * 768 * product(197, 64, 197),
        differences={
            "add_": Difference("a GPU adds the bias of a convolution below a dispatch mode", 1),
            "clone": Difference(NOT_LOGGED, 48),
        },
        has_launches=False,
    ),
    "LSTMs with projections": Recording(
        lambda: traced(Voice().half(), torch.empty(64, 50, 40, dtype=torch.half)),
        {"lstm": 3, "linear": 3, "norm": 1, "clamp_min": 1, "div": 1},
        flops=product(3200, 40 + 768 + 2 * (256 + 768), 3072) + 3 * product(3200, 768, 256),
        differences={
            "zeros": Difference(NOT_LOGGED, 6), "clone": Difference(TIME_FIRST, 3),
        },
        has_launches=False,
    ),
}  # fmt: skip


def calls_and_launches(trace: Trace) -> tuple[Counter[str], Counter[str]]:
    """Of each operation of one pass that launches something."""
    calls: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for node, n_calls in walk(trace.root):
        if node.kind == "primitive" and node.operation and node.operation.n_kernels:
            calls[node.class_name] += n_calls
            launches[node.class_name] += n_calls * node.operation.n_kernels
    return calls, launches


def more_than(ours: Counter[str], theirs: Counter[str]) -> dict[str, int]:
    return {name: ours[name] - theirs[name] for name in ours | theirs if ours[name] != theirs[name]}


RECORDED_OPERATIONS = [name for name, it in RECORDINGS.items() if it.operations]


@pytest.mark.parametrize("name", RECORDED_OPERATIONS)
def test_a_tree_for_a_gpu_has_the_operations_of_a_recorded_run(name: str) -> None:
    """As often as recorded; each difference is known by its number, and has a reason."""
    recording = RECORDINGS[name]
    calls, launches = calls_and_launches(recording.trace())
    recorded_calls: Counter[str] = Counter()
    recorded_launches: Counter[str] = Counter()
    for operation, counts in recording.operations.items():
        n_calls, n_launches = counts if isinstance(counts, tuple) else (counts, counts)
        recorded_calls[AS_TRACED.get(operation, operation)] += n_calls
        recorded_launches[AS_TRACED.get(operation, operation)] += n_launches
    known = recording.differences
    assert more_than(calls, recorded_calls) == {
        operation: it.calls for operation, it in known.items() if it.calls
    }
    if recording.has_launches:
        assert more_than(launches, recorded_launches) == {
            operation: it.launches for operation, it in known.items() if it.launches
        }


@pytest.mark.parametrize("name", [name for name, it in RECORDINGS.items() if it.n_launches])
def test_a_tree_for_a_gpu_launches_as_many_kernels_as_a_recorded_run(name: str) -> None:
    recording = RECORDINGS[name]
    _, launches = calls_and_launches(recording.trace())
    assert recording.n_launches is not None
    assert launches.total() - recording.n_launches == sum(
        it.launches for it in recording.differences.values()
    )


@pytest.mark.parametrize("name", [name for name, it in RECORDINGS.items() if it.flops])
def test_products_have_the_recorded_shapes(name: str) -> None:
    """Their FLOPs are those of the recorded sizes, to the last digit."""
    recording = RECORDINGS[name]
    assert matrix_flops(recording.trace().root) == recording.flops
