"""Global and ambient states: gradients, autocast, functorch levels, devices, settings of backends."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from traps.table import Weighted, images, rows, sequences, small_or_large, trap, two


@trap()
class GradModes(Weighted):
    """Switching gradients takes no tensor, gives none, and decides what is asked next."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [small_or_large(x, torch.is_grad_enabled())]
        for enabled in (True, False, True):
            with torch.set_grad_enabled(enabled):
                found.append(small_or_large(x, torch.is_grad_enabled()))
            torch.set_grad_enabled(enabled)
            found.append(small_or_large(x, torch.is_grad_enabled()))
            torch._C._set_grad_enabled(not enabled)
            found.append(small_or_large(x, torch.is_grad_enabled()))
        torch.set_grad_enabled(False)
        with torch.enable_grad():
            found.append(small_or_large(x, torch.is_inference_mode_enabled()))
            found.append(small_or_large(x, (self.fc(x) + 1).requires_grad))
        return found


@trap()
class NoGradDecorated(Weighted):
    """A function is decorated, its neighbour is not."""

    @torch.no_grad()
    def without(self, x: Tensor) -> Tensor:
        return small_or_large(x, torch.is_grad_enabled())

    @torch.enable_grad()
    def with_gradients(self, x: Tensor) -> Tensor:
        return small_or_large(x, torch.is_grad_enabled())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.without(x), self.with_gradients(x), self.without(x)


@trap()
class OutsideInference(Weighted):
    """Inference mode is left for a while, and gradients are taken of a layer."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            y = torch.ones(x.shape[0], 8, requires_grad=True)
            (gradient,) = torch.autograd.grad((y * y * 3).sum(), y)
        return gradient * 2 + small_or_large(x, torch.is_inference_mode_enabled())[:, :1]


class Product(torch.autograd.Function):
    """A function with a forward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, times: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        for _ in range(times):
            x = x @ weight
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError


@trap()
class AutogradFunction(Weighted):
    """Its `apply` has no shapes of its own, and an argument that is no tensor."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return Product.apply(x, self.weight, 1), Product.apply(x, self.weight, 3)


@trap()
class Checkpointed(Weighted):
    """One function that is given functions, the arguments besides equal."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.fc, functional.relu, lambda t: t @ self.weight, self.fc, torch.tanh):
            x = checkpoint(layer, x, use_reentrant=False)
        return x


@trap(sequences)
class Vmap(Weighted):
    """Below `vmap` a row looks like a row, however many there are of it."""

    def forward(self, x: Tensor) -> list[Tensor]:
        def row(v: Tensor) -> Tensor:
            return torch.relu(v * 2 + 1) @ self.weight

        return [
            row(x[0, 0]),
            torch.vmap(row)(x[0]),
            torch.vmap(row)(x[0, :3]),
            torch.vmap(row, in_dims=1)(x[0].T),
            torch.vmap(torch.vmap(row))(x),
            torch.vmap(row, out_dims=1)(x[:, 0]),
            torch.vmap(row, chunk_size=2)(x[0]),
            row(x[0, 1]),
        ]


@trap(two)
class VmapOfSome(nn.Module):
    """Of two rows of one shape sometimes both, sometimes one is a batch."""

    def forward(self, x: Tensor, y: Tensor) -> list[Tensor]:
        def both(a: Tensor, b: Tensor) -> Tensor:
            return a * b + a.sum()

        return [torch.vmap(both, in_dims=it)(*args) for it, args in (
            ((0, 0), (x, y)), ((0, None), (x, y[0])), ((None, 0), (x[0], y)),
        )]  # fmt: skip


@trap()
class Ensemble(nn.Module):
    """Stacked weights of several layers in one call of `functional_call`."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weights, buffers = torch.func.stack_module_state(list(self.members))

        def call(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(self.members[0], (weights, buffers), (x,))

        return torch.vmap(call, in_dims=(0, 0, None))(weights, buffers, x).mean(0)


@trap()
class OtherWeights(Weighted):
    """A layer is called with weights that are not its own, then with its own."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        other = {"weight": x.T @ x, "bias": x[0]}
        return torch.func.functional_call(self.fc, other, (x,)), self.fc(x)


@trap()
class Derivatives(Weighted):
    """Forward and backward derivatives run more than the function."""

    def forward(self, x: Tensor) -> list[Tensor]:
        def energy(v: Tensor) -> Tensor:
            return (v @ self.weight * v).sum()

        value, back = torch.func.vjp(energy, x)
        return [
            energy(x),
            torch.func.grad(energy)(x),
            torch.func.jvp(energy, (x,), (torch.ones_like(x),))[1],
            value * back(torch.ones((), device=x.device))[0],
            torch.func.vmap(torch.func.grad(energy))(x),
            energy(x),
        ]


@trap()
class AutocastOnTheCpu(Weighted):
    """What is computed in bfloat16 depends on where it is called, not on its arguments."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [self.fc(x)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found += [self.fc(x), x @ self.weight, x.softmax(-1), x + 1, self.fc(self.fc(x))]
            with torch.autocast("cpu", enabled=False):
                found += [self.fc(x)]
            found += [small_or_large(x, torch.is_autocast_enabled("cpu"))]
            found += [small_or_large(x, (x @ self.weight).dtype == torch.bfloat16)]
        return [*found, self.fc(x), small_or_large(x, torch.is_autocast_enabled("cpu"))]


@trap()
class AutocastTwice(Weighted):
    """One weight in two kinds of half precision, and its copies that autocast keeps."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for dtype in (torch.bfloat16, torch.float16):
            for keeps in (True, False):
                with torch.autocast("cpu", dtype=dtype, cache_enabled=keeps):
                    found += [self.fc(x), self.fc(x), self.fc(x)]
        return found


@trap()
class TrainingOrNot(Weighted):
    """`training` is changed, and asked, in `forward`; dropout and norms follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = torch.cat([x, x])
        found = [self.norm(x), self.drop(x) + 1, small_or_large(x, self.training)]
        self.norm.train()
        found += [self.norm(x), small_or_large(x, self.norm.training)]
        self.norm.eval()
        return [*found, self.norm(x), functional.batch_norm(x, None, None, training=True)]


@trap(images)
class StatisticsOfTheBatch(nn.Module):
    """Norms without statistics of their own; one function with and without them."""

    def __init__(self) -> None:
        super().__init__()
        self.without = nn.BatchNorm2d(4, track_running_stats=False)
        self.instance = nn.InstanceNorm2d(4, affine=True)
        self.kept = nn.InstanceNorm2d(4, track_running_stats=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.without(x), self.instance(x), self.kept(x)]


@trap()
class DefaultDevice(Weighted):
    """A device that is set for a while, as a mode and as a setting."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [x + torch.ones(8)]
        with torch.device("cpu"):
            found.append(x + torch.ones(8) * 2)
            found.append(nn.Linear(8, 2)(x))
        torch.set_default_device("cpu")
        found.append(x + torch.zeros(8))
        torch.set_default_device(None)
        return [*found, x + torch.ones(8)]


ENCODER_LAYER = "one operation to a dispatch mode, shown by its kernels: see test_device_path"


@trap(
    sequences,
    aside=dict.fromkeys(
        [
            "_transformer_encoder_layer_fwd",
            "_addmm_activation",
            "_softmax",
            "_transform_bias_rescale_qkv",
            "add_",
            "addmm",
            "bmm",
            "clone",
            "mm",
            "native_layer_norm",
        ],
        ENCODER_LAYER,
    ),
)
class BackendsOfAttention(nn.Module):
    """Which kernel attention may take is a setting."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        before = torch.backends.mha.get_fastpath_enabled()
        for enabled in (False, before, False):
            torch.backends.mha.set_fastpath_enabled(enabled)
            try:
                found.append(self.encoder(x) + 1)
            finally:
                torch.backends.mha.set_fastpath_enabled(before)
        return found


class Doubling(TorchFunctionMode):
    """While it lasts, `relu` doubles."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.relu:
            return args[0] * 2
        return func(*args, **(kwargs or {}))


class Counting(TorchDispatchMode):
    """Counts what is run below it."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def] # as torch calls it
        self.n += func is torch.ops.aten.relu.default
        return func(*args, **(kwargs or {}))


@trap()
class ModesOfTheUser(Weighted):
    """The user's own function mode changes what a function is; afterwards it does not."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = [torch.relu(x)]
        with Doubling():
            found += [torch.relu(x), x.relu(), self.fc(x)]
        return [*found, torch.relu(x)]


@trap()
class CountsOperations(Weighted):
    """The user's own dispatch mode counts operations, and the count is a size."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for times in (2, 3, 2):
            with Counting() as counting:
                for _ in range(times):
                    x = torch.relu(x)
            found.append(x @ torch.ones(8, counting.n))
        return found


class Tagged(Tensor):
    """A tensor class without behaviour of its own."""


class Louder(Tensor):
    """A tensor class for which a sum is something else."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.add:
            return super().__torch_function__(torch.Tensor.mul, types, (args[0], 3.0), {})
        return super().__torch_function__(func, types, args, kwargs or {})


@trap()
class Subclasses(nn.Module):
    """Three classes of tensors with one shape; a result has the class of its argument."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for cls in (Tensor, Tagged, Louder, Tagged, Tensor):
            y = x.as_subclass(cls)
            found.append(y.add(1))
            found.append(small_or_large(x, isinstance(y * 2, Tagged)))
            found.append(small_or_large(x, type(y.view(-1)) is cls))
        return [it.as_subclass(Tensor) * 2 for it in found]


@trap()
class Determinism(nn.Module):
    """A setting adds operations, or changes which are run."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for is_on in (False, True, False):
            torch.use_deterministic_algorithms(is_on)
            try:
                y = torch.empty(x.shape[0], 8)
                y.copy_(x)
                index = torch.tensor([0, 1])
                y[:, index] = x[:, :2]
                found += [y.index_add(1, index, x[:, :2]), y.cumsum(0), y[:, index] + 1]
            finally:
                torch.use_deterministic_algorithms(False)
        return found


@trap(rows)
class Warnings(nn.Module):
    """A warning is an answer for whoever records it."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for _ in range(3):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                functional.softmax(x)
                functional.relu(x)
            found.append(small_or_large(x, bool(caught)))
        return found


@trap()
class WantsGradients(nn.Module):
    """Two tensors differ in nothing but that gradients of one are wanted."""

    def forward(self, x: Tensor) -> list[Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            a, b = torch.ones(4), torch.ones(4, requires_grad=True)
            answers = []
            for it in (a, b, a, b):
                doubled = it * 2
                answers += [doubled.requires_grad, doubled.is_leaf, doubled.detach().requires_grad]
                with torch.no_grad():
                    answers.append((it * 2).requires_grad)
        return [small_or_large(x, it) for it in answers]


@trap()
class InferenceTensors(nn.Module):
    """Outside of inference mode a tensor of it cannot be written to."""

    def forward(self, x: Tensor) -> list[Tensor]:
        inside = torch.ones(4)
        with torch.inference_mode(False):
            outside = torch.ones(4)
            answers = [inside.is_inference(), outside.is_inference(), (outside * 2).is_inference()]
            for it in (outside, inside):
                try:
                    it.add_(1)
                    answers.append(True)
                except RuntimeError:
                    answers.append(False)
        return [small_or_large(x, it) for it in answers]


@trap(lambda batch: (torch.zeros(batch, 3, dtype=torch.long),))
class Embeddings(nn.Module):
    """One table is read as it is, with rows made shorter in place, and as bags."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8, padding_idx=0)
        self.shortened = nn.Embedding(10, 8, max_norm=1.0)
        self.bag = nn.EmbeddingBag(10, 8)

    def forward(self, ids: Tensor) -> list[Tensor]:
        return [self.table(ids), self.bag(ids), functional.embedding(ids, self.table.weight)]


@trap(sequences)
class Recurrent(nn.Module):
    """Layers of one size: with and without states, biases, a second direction."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.LSTM(8, 8, batch_first=True)
        self.bare = nn.LSTM(8, 8, batch_first=True, bias=False)
        self.both = nn.LSTM(8, 4, batch_first=True, bidirectional=True)
        self.gated = nn.GRU(8, 8, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        states = torch.zeros(1, x.shape[0], 8), torch.zeros(1, x.shape[0], 8)
        return [
            self.plain(x)[0],
            self.plain(x, states)[1][0],
            self.bare(x)[0],
            self.both(x)[0],
            self.gated(x)[1],
            self.gated(x.transpose(0, 1))[0],
        ]


@trap(lambda batch: (torch.ones(batch, 2, 6, 4),))
class KernelsOfAttention(nn.Module):
    """A context says which kernels attention may take."""

    def forward(self, x: Tensor) -> list[Tensor]:
        attend = functional.scaled_dot_product_attention
        found = [attend(x, x, x)]
        for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
            with sdpa_kernel(backend):
                found.append(attend(x, x, x))
        return [*found, attend(x, x, x), attend(x, x, x, is_causal=True)]
