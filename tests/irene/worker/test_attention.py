"""`scaled_dot_product_attention` on shapes, masks and settings at the edge of what kernels take.

For a CPU a real run says what is right, errors included. For a GPU it is
`cuda/sdp_utils.cpp`: fused kernels broadcast neither batches nor heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from traps.oracle import differences, really_run, traced_operations

from irene.tree import DeviceType, matrix_flops
from irene.worker.refusals import Refused
from irene.worker.tracing import trace_module

attend: Callable[..., Tensor] = nn.functional.scaled_dot_product_attention


class Attention(nn.Module):
    """One call, with options, under a setting."""

    def __init__(self, call: Callable[..., Tensor] = attend, **options: Any) -> None:
        super().__init__()
        self.call, self.options = call, options

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.call(*tensors, **self.options)


def of(*shapes: tuple[int, ...], mask: Tensor | None = None) -> tuple[Tensor, ...]:
    """Query, key and value of these shapes, the last one for what has none; and a mask."""
    tensors = tuple(torch.zeros(shapes[min(i, len(shapes) - 1)]) for i in range(3))
    return tensors if mask is None else (*tensors, mask)


Q, K = (2, 4, 6, 8), (2, 4, 9, 8)
CASES: Mapping[str, tuple[dict[str, Any], tuple[Tensor, ...]]] = {
    "one query for all": ({}, of((1, 4, 6, 8), K)),
    "keys of one batch": ({}, of(Q, (1, 4, 9, 8))),
    "values of one batch": ({}, of(Q, K, (1, 4, 9, 8))),
    "keys of one head": ({}, of(Q, (2, 1, 9, 8))),
    "fewer heads, not grouped": ({}, of(Q, (2, 2, 9, 8))),
    "other batches": ({}, of(Q, (3, 4, 9, 8))),
    "other rank": ({}, of(Q, (4, 9, 8))),
    "groups that do not fit": ({"enable_gqa": True}, of(Q, (2, 3, 9, 8))),
    "groups of keys and of values": ({"enable_gqa": True}, of(Q, (2, 2, 9, 8), (2, 1, 9, 8))),
    "one dimension": ({}, of((8,), (8,))),
    "two dimensions": ({}, of((6, 8), (9, 8))),
    "five dimensions": ({}, of((2, 3, 4, 6, 8), (2, 3, 4, 9, 8))),
    "impossible dropout": ({"dropout_p": 1.5}, of(Q, K)),
    "bool mask": ({}, of(Q, K, mask=torch.ones(6, 9).bool())),
    "float32 mask": ({}, of(Q, K, mask=torch.ones(6, 9))),
    "float16 mask": ({}, of(Q, K, mask=torch.ones(6, 9).half())),
    "float64 mask": ({}, of(Q, K, mask=torch.ones(6, 9).double())),
    "int64 mask": ({}, of(Q, K, mask=torch.ones(6, 9).long())),
    "uint8 mask": ({}, of(Q, K, mask=torch.ones(6, 9).byte())),
    "mask of another length": ({}, of(Q, K, mask=torch.ones(6, 7))),
    "mask by head": ({}, of(Q, K, mask=torch.ones(4, 6, 9))),
    "mask by batch, without its heads": ({}, of(Q, K, mask=torch.ones(2, 6, 9))),
    "mask that broadcasts": ({}, of(Q, K, mask=torch.ones(2, 1, 1, 9))),
    "mask that makes a batch": ({}, of((1, 4, 6, 8), (1, 4, 9, 8), mask=torch.ones(2, 1, 6, 9))),
    "mask and causal": ({"is_causal": True}, of(Q, K, mask=torch.ones(6, 9))),
    "float32 mask in half precision": (
        {}, (*(it.half() for it in of(Q, K)), torch.ones(6, 9))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_trace_for_a_cpu_takes_and_refuses_what_a_cpu_does(name: str) -> None:
    options, tensors = CASES[name]
    model = Attention(**options)
    try:
        run = really_run(model, tensors)
    except (RuntimeError, IndexError):
        with pytest.raises(Refused):
            trace_module(model, tensors, None, "cpu")
    else:
        trace = trace_module(model, tensors, None, "cpu")
        assert differences(run, traced_operations(trace), ()) == []


def on_a_gpu(model: nn.Module, tensors: tuple[Tensor, ...]) -> set[str]:
    trace = trace_module(model, tensors, None, "cuda")
    return {name for name, _, _ in traced_operations(trace)}


@pytest.mark.parametrize(
    "name", ["one query for all", "keys of one batch", "values of one batch", "keys of one head"]
)
def test_a_gpu_broadcasts_in_products_alone(name: str) -> None:
    options, tensors = CASES[name]
    trace = trace_module(Attention(**options), tensors, None, "cuda")
    assert "bmm" in {it for it, _, _ in traced_operations(trace)}
    assert matrix_flops(trace.root) == 2 * 2 * (2 * 4 * 6 * 9 * 8)


@pytest.mark.parametrize(
    "name",
    [
        "fewer heads, not grouped",
        "other batches",
        "groups that do not fit",
        "impossible dropout",
        "float64 mask",
        "int64 mask",
        "mask of another length",
        "float32 mask in half precision",
    ],
)
def test_a_gpu_refuses(name: str) -> None:
    """The last of these a CPU takes: "invalid dtype for bias", says the kernel for GPUs."""
    options, tensors = CASES[name]
    with pytest.raises(Refused):
        trace_module(Attention(**options), tensors, None, "cuda")


@pytest.mark.parametrize(
    ("device", "dtype", "masked", "kernel"),
    [
        # flash from sm_80 on (`check_flash_attention_hardware_support`)
        ("sm_70", torch.float16, False, "_scaled_dot_product_efficient_attention"),
        ("sm_75", torch.float16, False, "_scaled_dot_product_efficient_attention"),
        ("sm_80", torch.float16, False, "_scaled_dot_product_flash_attention"),
        ("sm_89", torch.bfloat16, False, "_scaled_dot_product_flash_attention"),
        ("sm_120", torch.bfloat16, False, "_scaled_dot_product_flash_attention"),
        ("cuda", torch.bfloat16, False, "_scaled_dot_product_flash_attention"),
        ("sm_80", torch.float16, True, "_scaled_dot_product_efficient_attention"),
        # no fused kernel has bfloat16 before Ampere
        ("sm_75", torch.bfloat16, False, "bmm"),
        # cuDNN's on data centre cards from Hopper on, masked too (`check_prefer_cudnn_attention`)
        ("sm_90", torch.float16, False, "_scaled_dot_product_cudnn_attention"),
        ("sm_100", torch.bfloat16, True, "_scaled_dot_product_cudnn_attention"),
        ("sm_90", torch.float32, False, "_scaled_dot_product_efficient_attention"),
        ("sm_61", torch.float32, False, "_scaled_dot_product_efficient_attention"),
    ],
)
def test_the_generation_of_a_card_decides(
    device: DeviceType, dtype: torch.dtype, masked: bool, kernel: str
) -> None:
    query = torch.zeros(2, 4, 16, 64, dtype=dtype)
    mask = (torch.ones(16, 16, dtype=dtype),) if masked else ()
    trace = trace_module(Attention(), (query, query, query, *mask), None, device)
    assert kernel in {name for name, _, _ in traced_operations(trace)}


def under(*backends: SDPBackend, in_this_order: bool = False) -> Callable[..., Tensor]:
    def call(*tensors: Tensor) -> Tensor:
        with sdpa_kernel(list(backends), set_priority=in_this_order):
            return attend(*tensors)

    return call


MATH, FLASH = SDPBackend.MATH, SDPBackend.FLASH_ATTENTION
EFFICIENT, CUDNN = SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION


@pytest.mark.parametrize(
    ("call", "dtype", "kernel"),
    [
        (attend, torch.float16, "_scaled_dot_product_flash_attention"),
        (under(FLASH), torch.float16, "_scaled_dot_product_flash_attention"),
        (under(EFFICIENT), torch.float16, "_scaled_dot_product_efficient_attention"),
        (under(CUDNN), torch.float16, "_scaled_dot_product_cudnn_attention"),
        (under(MATH), torch.float16, "bmm"),
        (under(MATH, FLASH), torch.float16, "_scaled_dot_product_flash_attention"),
        (under(MATH, FLASH, in_this_order=True), torch.float16, "bmm"),
        (under(EFFICIENT, FLASH, in_this_order=True), torch.float16,
         "_scaled_dot_product_efficient_attention"),
        (under(FLASH, EFFICIENT), torch.float32, "_scaled_dot_product_efficient_attention"),
        (under(FLASH, MATH), torch.float32, "bmm"),
        (under(FLASH), torch.float32, None),
        (under(CUDNN), torch.float32, None),
        (under(EFFICIENT), torch.float64, None),
    ],
)  # fmt: skip
def test_a_gpu_takes_the_first_enabled_kernel_that_fits(
    call: Callable[..., Tensor], dtype: torch.dtype, kernel: str | None
) -> None:
    """As `sdpa_kernel` documents it; where none fits torch raises, and so there is no tree."""
    tensors = tuple(it.to(dtype) for it in of(Q))
    if kernel is None:
        with pytest.raises(Refused):
            trace_module(Attention(call), tensors, None, "cuda")
    else:
        assert kernel in on_a_gpu(Attention(call), tensors)


@pytest.mark.parametrize(
    ("setting", "kernel"),
    [
        ("flash_sdp", "_scaled_dot_product_efficient_attention"),
        ("mem_efficient_sdp", "_scaled_dot_product_flash_attention"),
        ("math_sdp", "_scaled_dot_product_flash_attention"),
    ],
)
def test_a_setting_of_the_process_forbids_a_kernel(setting: str, kernel: str) -> None:
    enable = getattr(torch.backends.cuda, f"enable_{setting}")

    def call(*tensors: Tensor) -> Tensor:
        enable(False)
        try:
            return attend(*tensors)
        finally:
            enable(True)

    tensors = tuple(it.half() for it in of(Q))
    assert kernel in on_a_gpu(Attention(call), tensors)
    assert "_scaled_dot_product_flash_attention" in on_a_gpu(Attention(), tensors)
