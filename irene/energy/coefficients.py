"""Coefficients that devices share: by architecture, memory technology and primitive.

Fitted by us, or taken from published fits, as each table says; docs/physics.md shows how
well they do on measurements that were not used for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from irene.energy.device import Efficiency
from irene.tree import Primitive

LAUNCH_S = 20e-6
"""One kernel in eager mode, PyTorch's and the framework's Python included. Published launch
floors are 10 to 60 µs; the IrEne machines show 10 to 30 µs per primitive."""

CPU_LAUNCH_S = 5e-6
"""One operation on a CPU: dispatch and the framework's Python (measured: 1 µs for an addition,
3 µs for a small linear layer, before any module around it)."""

STEP_S = 3e-6
"""One step of a recurrent layer, which waits for the one before it, on a GPU. cuDNN under PyTorch
takes 0.6 to 15 µs per time step and layer for LSTMs of 32 to 192 units (the benchmark of
pytorch/pytorch#62143, float32, the better of its two algorithms: median 2.5), 0.4 to 15 µs for plain
layers of 56 to 360; 30 µs for an LSTM of 256 on a V100 in 2018 (DeepBench)."""

CPU_STEP_S, CORE_STEP_S = 4e-6, 1e-6
"""One step of an LSTM on a CPU, with threads and on a single core. Measured on two cores of an EPYC
(Zen 5), torch 2.13, hidden sizes of 16 and 64, batch 1: 2.6 to 3.8 µs with two threads, 0.3 to 1.3
with one. Where other processes want the cores, threads wait for one another: 8 to 120 µs."""

CPU_STEP_RATIO = {"gru": 6.0, "rnn_tanh": 2.5, "rnn_relu": 2.5}
"""Against an LSTM, which is one kernel of oneDNN: the others are operations for each step. Measured
with it: a GRU takes 5.5 to 6.4 µs with one thread, a plain layer 2.0 to 2.5."""

BUSY_SHARE_OF_TDP = {"HBM": 0.20, "GDDR": 0.48, "LPDDR": 0.50}
"""Busy power before bytes and FLOPs. HBM: fits to power sweeps of the A100-40 (0.17) and H200
(0.15), raised to the idle power with a context where that is higher (B200 0.24, A100 PCIe 0.27).
GDDR: L40 (0.49), A40 (0.48), the two Pascal cards of IrEne (0.53, 0.55). LPDDR: no fit, as GDDR."""

IDLE_SHARE_OF_TDP = {"HBM": 0.19, "GDDR": 0.27, "LPDDR": 0.25}
"""With a CUDA context, where no measurement is listed: published values are 0.17 to 0.29; IrEne's
launch-bound rows read 0.27 on both cards."""

BYTE_ENERGY_J = {
    "GDDR5": 200e-12,
    "GDDR5X": 170e-12,
    "GDDR6": 95e-12,
    "GDDR6X": 95e-12,
    "GDDR7": 95e-12,
    "HBM2": 150e-12,
    "HBM2e": 120e-12,
    "HBM3": 120e-12,
    "HBM3e": 120e-12,
    "LPDDR4X": 95e-12,
    "LPDDR5": 95e-12,
    "LPDDR5X": 95e-12,
}
"""The partner of the busy power above (the two trade off): fits of A100-40 118, H200 122, L40 95,
A40 94, IrEne's Pascal cards 231 and 138 pJ per byte. The memory technology sets it; GDDR7 and
LPDDR stand for their nearest kin."""

UNKNOWN_BYTE_ENERGY_J = 110e-12

PACKAGE_IDLE_SHARE = 0.3
"""Of a CPU package's TDP with nothing to do: an assumption, servers draw 20 to 50 %."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Energy per FLOP and efficiencies of one family of chips; None: not measured."""

    float32_j: float
    float16_j: float
    linear: float | None = None  # of peak
    matmul: float | None = None
    elementwise: float | None = None  # of bandwidth, from here on
    layer_norm: float | None = None
    softmax: float | None = None


ARCHITECTURES: dict[str, Architecture] = {
    # P100. Efficiencies: NeuSight's P100; energy as GP10x.
    "GP100": Architecture(14e-12, 7e-12, 0.55, 0.54, 0.72, 0.42, 0.39),
    # float32: fits to IrEne's machines (21 and 8.3 pJ). Efficiencies: IrEne's two cards and P4.
    "GP10x": Architecture(14e-12, 14e-12, 0.60, 0.53, 0.73, 0.39, 0.65),
    # No power sweep: between Pascal and Ampere. Efficiencies: V100.
    "Volta": Architecture(8e-12, 2e-12, 0.79, 0.58, 0.87, 0.54, 0.61),
    # The T4's power cap decides its time: 11 pJ reproduces its 39 % of peak. Efficiencies: T4.
    "Turing": Architecture(11e-12, 1.8e-12, 0.60, 0.50, 0.72, 0.49, 0.60),
    # Power sweep of the A100-40. Efficiencies: A100.
    "GA100": Architecture(5.2e-12, 1.4e-12, 0.72, 0.60, 0.84, 0.60, 0.62),
    # Power sweep of the A40. float16: a published 3 pJ would hold the A40 to a third of its
    # peak at 300 W, it reaches 75 %: 1.3 pJ is what that leaves. Efficiencies: A40, float16.
    "GA10x": Architecture(5.9e-12, 1.3e-12, 0.75, None, 0.82, None, None),
    # Power sweep of the L40. float16: a published 1.6 pJ, lowered like that of GA10x.
    "Ada Lovelace": Architecture(3.3e-12, 1.0e-12),
    # Power sweep of the H200. Efficiencies: H100, float16.
    "Hopper": Architecture(5.8e-12, 0.79e-12, 0.70, None, 0.95, None, None),
    # float16: power sweep of the B200; float32 as Hopper.
    "Blackwell": Architecture(5.8e-12, 0.64e-12),
    # No power sweep: as Ada.
    "Blackwell 2.0": Architecture(3.3e-12, 1.0e-12),
    # No power sweep: such that the TDP suffices for about 60 % of peak.
    "CDNA 1.0": Architecture(8e-12, 1.8e-12),
    "CDNA 2.0": Architecture(6e-12, 1.4e-12),
    "CDNA 3.0": Architecture(4e-12, 0.8e-12),
}

TF32_ENERGY_RATIO = 2.0
"""Of the energy of a float16 FLOP: no power sweep, but the same units run it at half the rate."""

UNKNOWN_ARCHITECTURE = Architecture(6e-12, 1.3e-12)
"""In the middle of the fits above."""


def family(architecture: str, memory_technology: str) -> str:
    """Pascal and Ampere are two chips each: GP100 and GA100 with HBM, the others without."""
    has_hbm = memory_technology.startswith("HBM")
    match architecture:
        case "Pascal":
            return "GP100" if has_hbm else "GP10x"
        case "Ampere":
            return "GA100" if has_hbm else "GA10x"
    return architecture


def float64_share(architecture: str, memory_technology: str) -> float:
    """Of the float32 peak (CUDA C++ Programming Guide, throughput of arithmetic instructions)."""
    if memory_technology.startswith("HBM"):
        return 1 / 2
    return 1 / 32 if architecture in ("Pascal", "Turing") else 1 / 64


_GENERAL: dict[Primitive, tuple[float, float]] = {
    # primitive: share of peak, share of bandwidth. Medians over NeuSight's five cards and
    # Vidur's three; attention, convolutions and embedding have no data there.
    # Recurrent layers of 256 units and more on the CPU of CPU_STEP_S reach 0.3 (GRU, plain) to
    # 0.9 (LSTM) of it. Products that wait for memory: Vidur's aligned linear layers reach 0.6 to
    # 0.8; NeuSight's batched ones of random shape 0.42, IrEne's attention 0.7.
    "linear": (0.65, 0.70),
    "matmul": (0.53, 0.55),
    "attention": (0.50, 0.60),
    "conv1d": (0.50, 0.65),
    "conv2d": (0.50, 0.65),
    "conv3d": (0.50, 0.65),
    "recurrent": (0.45, 0.50),
    "softmax": (0.50, 0.61),
    "layer_norm": (0.50, 0.49),
    "embedding": (0.50, 0.60),
    "elementwise": (0.50, 0.78),
    "other": (0.50, 0.60),
}


def efficiencies(known: Architecture) -> tuple[Efficiency, ...]:
    """Efficiencies of every primitive: measured on the architecture, else general."""
    return tuple(_efficiency(primitive, known) for primitive in _GENERAL)


def _efficiency(primitive: Primitive, known: Architecture) -> Efficiency:
    of_peak, of_bandwidth = _GENERAL[primitive]
    measured: float | None = getattr(known, primitive, None)
    if measured is None:
        return Efficiency(primitive, of_peak, of_bandwidth, is_measured=False)
    if primitive in ("linear", "matmul"):
        return Efficiency(primitive, measured, of_bandwidth, is_measured=True)
    return Efficiency(primitive, of_peak, measured, is_measured=True)


def memory_family(technology: str) -> str:
    """`HBM2e -> HBM`: the families that share their power at rest."""
    return next((it for it in BUSY_SHARE_OF_TDP if technology.startswith(it)), "GDDR")


# Spreads are factors of a 68 % band; independent ones add as the squares of their logarithms.
SPREAD_BASE = 1.4
"""Uncalibrated encoders (published comparisons of this formula): covers time and power."""
SPREAD_CPU = 1.6
"""CPUs: frequency under load, library and memory channels are not known."""
SPREAD_TDP_GUESS = 1.5
"""TDP per core of an unknown package, or of one that a virtual machine hides."""
SPREAD_UNVERIFIED = 1.2
"""A peak, bandwidth or TDP that one secondary source gives."""
SPREAD_UNMEASURED_ARCHITECTURE = 1.25
"""Efficiencies between architectures differ that much in the measurements."""
SPREAD_UNMEASURED_PRIMITIVE = 1.3
SPREAD_SHAPE: dict[Primitive, float] = {"linear": 1.15, "matmul": 1.4, "recurrent": 2.0}
"""How far a product's efficiency varies with its shape (odd sizes, few tiles, short sides), beyond
the base: NeuSight's random shapes. Those of attention, as IrEne's machines ran them, vary less.
Recurrent layers: with the kind of layer and the library, see CPU_STEP_RATIO."""
SPREAD_DTYPE = 1.4
"""A dtype whose rate is not known and that another stands for; TF32, of which no share of the peak
was measured and which cuDNN may leave for other kernels."""
SPREAD_STEP = 3.0
"""Step-bound: steps vary from a tenth of the floor to ten times it, see there."""
SPREAD_LAUNCH = 1.5
"""Launch-bound: 10 to 60 µs around the floor, as the host's CPU has it."""

Z_90 = 1.6449
"""Standard deviations of a 90 % interval; a 68 % one has 1."""


def combine(*spreads: float) -> float:
    """Factor of several independent log-symmetric errors together."""
    return math.exp(math.sqrt(sum(math.log(it) ** 2 for it in spreads)))


def band(spread: float) -> float:
    """Factor of the 90 % interval that belongs to a factor of the 68 % band."""
    return float(spread**Z_90)
