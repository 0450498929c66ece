"""What is known of a device: peaks, bandwidth, power, efficiencies, and how sure that is.

`catalogue` makes these values from data sheets, `processor` and `gpu` from this machine;
`physics` prices with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from irene.tree import MATRIX_PRIMITIVES, DeviceType, Primitive

DeviceKind = Literal["gpu", "cpu", "soc"]

TENSOR_CORES = "tensor cores"


@dataclass(frozen=True, slots=True)
class Rate:
    """Arithmetic in one dtype: its peak, its energy, and the units that do it."""

    dtype: str
    peak_flop_s: float  # dense
    energy_j_flop: float  # on top of the busy power
    unit: str  # TENSOR_CORES, "vector units", ...
    is_verified: bool


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Shares of peak and bandwidth that a primitive reaches when it is large."""

    primitive: Primitive
    of_peak: float
    of_bandwidth: float
    is_measured: bool  # on a card of this architecture


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the energy model sees it; `spread` is the factor of the 68 % band.

    Power is `idle_w` with a context open and nothing to do, `busy_w` with work but before
    the energy of its bytes and FLOPs, never above `tdp_w`.
    """

    id: str
    name: str
    kind: DeviceKind
    architecture: str
    memory_technology: str
    memory_bytes: int | None
    bandwidth_b_s: float
    energy_j_byte: float
    rates: tuple[Rate, ...]
    efficiencies: tuple[Efficiency, ...]
    tdp_w: float
    idle_w: float
    busy_w: float
    launch_s: float  # floor of one kernel in eager mode
    step_s: float  # floor of one step of an LSTM, which waits for the one before it
    spread: float
    aliases: tuple[str, ...]
    unverified: tuple[str, ...]
    provenance: str

    @property
    def torch_type(self) -> DeviceType:
        """Whose kernels torch runs there; Apple's and AMD's chips have a GPU's fused ones."""
        if self.kind != "gpu":
            return "cpu" if self.kind == "cpu" else "cuda"
        has_hbm = self.memory_technology.startswith("HBM")
        return _GENERATIONS.get((self.architecture, has_hbm), "cuda")

    def efficiency(self, primitive: Primitive) -> Efficiency:
        return next(it for it in self.efficiencies if it.primitive == primitive)


_GENERATIONS: dict[tuple[str, bool], DeviceType] = {
    # architecture, with HBM or without
    ("Pascal", True): "sm_60",
    ("Pascal", False): "sm_61",
    ("Volta", True): "sm_70",
    ("Turing", False): "sm_75",
    ("Ampere", True): "sm_80",
    ("Ampere", False): "sm_86",
    ("Ada Lovelace", False): "sm_89",
    ("Hopper", True): "sm_90",
    ("Blackwell", True): "sm_100",
    ("Blackwell 2.0", False): "sm_120",
}
"""Compute capabilities of the architectures (CUDA C++ Programming Guide)."""


@dataclass(frozen=True, slots=True)
class ChosenRate:
    """The arithmetic that a dtype gets on a device; `reason` where it is not its own."""

    rate: Rate
    reason: str | None


def shown_device(device_id: str, name: str) -> str:
    """A device in a few words: its id, which of a trained predictor is a folder, so its name."""
    return name if Path(device_id).is_absolute() else device_id


CUDNN_PRIMITIVES: frozenset[Primitive] = frozenset({"conv1d", "conv2d", "conv3d", "recurrent"})
"""What cuDNN runs: in TF32 by torch's default (`torch.backends.cudnn.allow_tf32`), which leaves
the other products in full float32 (`torch.backends.cuda.matmul.allow_tf32`)."""


def choose_rate(device: Device, dtype: str, primitive: Primitive) -> ChosenRate:
    """The rate for `dtype`: tensor cores for matrix products alone, else the vector units.

    A dtype without a rate of its own falls back: float8 to float16, everything else to
    float32. float32 is TF32 where torch's defaults have it so, on NVIDIA's cards alone.
    """
    by_dtype = {rate.dtype: rate for rate in device.rates}
    float32, tf32 = by_dtype["float32"], by_dtype.get("tf32")
    if primitive not in MATRIX_PRIMITIVES:
        return ChosenRate(float32, None)
    if dtype == "float32" and primitive in CUDNN_PRIMITIVES and tf32 and tf32.unit == TENSOR_CORES:
        reason = "float32 in convolutions and recurrent layers is TF32, PyTorch's default"
        return ChosenRate(tf32, reason)
    if dtype in by_dtype:
        return ChosenRate(by_dtype[dtype], None)
    if dtype.startswith("float8") and "float16" in by_dtype:
        return ChosenRate(by_dtype["float16"], f"{dtype} is priced as float16")
    return ChosenRate(
        float32, f"{device.id} has no known rate for {dtype}: priced at its float32 rate"
    )
