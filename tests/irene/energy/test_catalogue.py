"""Devices by the names that people and drivers use."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from irene.energy.catalogue import Device, auto, device_of_gpu, devices, find
from irene.energy.device import choose_rate
from irene.energy.gpu import GpuFacts
from irene.errors import DeviceError

DEVICES_CSV = Path(__file__).parents[3].parent / "shared" / "gpu-data" / "devices.csv"


@pytest.mark.parametrize(
    ("name", "device_id"),
    [
        ("A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("nvidia a100 sxm4 80gb", "A100-SXM4-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"),
        ("A100 SXM4 40GB", "A100-SXM4-40GB"),
        ("Tesla T4", "T4"),
        ("t4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100-SXM2-16GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("NVIDIA H100 PCIe", "H100-PCIE-80GB"),
        ("H200", "H200"),
        ("NVIDIA GeForce GTX 1080 Ti", "GTX-1080-Ti"),
        ("gtx 1080", "GTX-1080"),
        ("3090", "RTX-3090"),
        ("L40", "L40"),
        ("AMD Instinct MI300X", "MI300X"),
        ("M1 Pro", "M1-Pro"),
        ("Intel(R) Core(TM) i7-7700K CPU @ 4.20GHz", "i7-7700K"),
        ("Xeon Platinum 8480+", "Xeon-8480+"),
        ("cpu", "cpu"),
        (" CPU ", "cpu"),
    ],
)
def test_a_device_answers_to_its_names(name: str, device_id: str) -> None:
    assert find(name).id == device_id


@pytest.mark.parametrize("device", devices(), ids=lambda device: device.id)
def test_a_device_is_found_by_its_id_and_its_full_name(device: Device) -> None:
    assert (find(device.id), find(device.name)) == (device, device)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "A100",
            "device 'A100' is ambiguous: choose one of "
            "A100-PCIE-40GB, A100-PCIE-80GB, A100-SXM4-40GB, A100-SXM4-80GB",
        ),
        ("A100-80GB", "device 'A100-80GB' is ambiguous: choose one of A100-PCIE-80GB, A100-SXM4-"),
        ("V100", "device 'V100' is ambiguous: choose one of V100-PCIE-16GB, V100-SXM2-16GB, V100-"),
        ("H1000", "unknown device 'H1000': nearest are"),
        ("RTX 4091", "unknown device 'RTX 4091': nearest are RTX-4090"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", "unknown device"),
        ("zzz", "unknown device 'zzz': no similar name"),
        ("nvidia", "unknown device 'nvidia'"),
    ],
)
def test_a_name_that_fits_none_or_several_offers_others(name: str, message: str) -> None:
    with pytest.raises(DeviceError) as caught:
        find(name)
    assert message in str(caught.value)


def test_ids_are_short_and_unique() -> None:
    ids = [device.id for device in devices()]
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= 16


@pytest.mark.parametrize("device", devices(), ids=lambda device: device.id)
def test_every_device_is_physically_possible(device: Device) -> None:
    assert 0.0 < device.idle_w <= device.busy_w <= device.tdp_w
    assert device.spread >= 1.4
    assert device.provenance
    for rate in device.rates:
        assert rate.peak_flop_s > 0.0
        # All units at once cannot draw many times the card's limit: a wrong prefix would.
        assert rate.energy_j_flop * rate.peak_flop_s < 4.0 * device.tdp_w
    for efficiency in device.efficiencies:
        assert 0.0 < efficiency.of_peak <= 1.0
        assert 0.0 < efficiency.of_bandwidth <= 1.0


def test_facts_are_those_of_the_data_sheets() -> None:
    if not DEVICES_CSV.exists():
        pytest.skip(f"needs {DEVICES_CSV}")
    with DEVICES_CSV.open(newline="") as lines:
        rows = {row["device"]: row for row in csv.DictReader(lines)}
    shipped = {device.name: device for device in devices()}
    assert shipped.keys() == rows.keys()
    for name, row in rows.items():
        device = shipped[name]
        float32 = choose_rate(device, "float32", "linear").rate
        assert float32.peak_flop_s == pytest.approx(1e12 * float(row["peak_fp32_tflops"]))
        assert device.bandwidth_b_s == pytest.approx(1e9 * float(row["mem_bw_gb_s"]))
        assert device.tdp_w == float(row["tdp_w"])
        assert bool(row["unverified_fields"]) <= bool(device.unverified)


UNLISTED = GpuFacts(
    name="NVIDIA GeForce GTX 1660 SUPER",
    memory_bytes=6_442_450_944,
    memory_bus_bits=192,
    memory_clock_hz=7.001e9,
    n_cores=1408,
    core_clock_hz=2.1e9,
    power_limit_w=125.0,
    compute_capability=(7, 5),
)


def test_a_card_that_is_not_listed_is_made_of_its_own_facts() -> None:
    device = device_of_gpu(UNLISTED)
    assert (device.id, device.architecture, device.tdp_w) == ("GTX-1660-SUPER", "Turing", 125.0)
    assert device.bandwidth_b_s == pytest.approx(336e9, rel=0.01)  # data sheet: 336 GB/s
    assert device.rates[0].peak_flop_s == pytest.approx(5.9e12, rel=0.01)
    assert device.spread > find("T4").spread
    assert "not in the catalogue" in device.provenance


def test_auto_is_a_device_of_this_machine() -> None:
    assert find("auto") == auto()
    assert find(auto().id) == auto()
    assert find(find("cpu").name) == find("cpu")


def test_importing_the_room_reads_no_table_and_loads_no_heavy_library() -> None:
    program = (
        "import sys, irene.energy.catalogue, irene.energy.physics, irene.energy.measured as m\n"
        "heavy = {'numpy', 'torch', 'pynvml', 'psutil', 'libcst'} & set(sys.modules)\n"
        "from irene.energy.datasheet import shipped_facts\n"
        "print(sorted(heavy), shipped_facts.cache_info().currsize)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] 0\n"


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("GTX-1080-Ti", "sm_61"),
        ("P100", "sm_60"),
        ("V100-SXM2-32GB", "sm_70"),
        ("T4", "sm_75"),
        ("A100-SXM4-80GB", "sm_80"),
        ("A40", "sm_86"),
        ("L40S", "sm_89"),
        ("H100-SXM", "sm_90"),
        ("B200", "sm_100"),
        ("RTX-5090", "sm_120"),
        ("MI300X", "cuda"),
        ("M2", "cuda"),
        ("IrEne-device-1", "sm_61"),
    ],
)
def test_a_card_has_the_kernels_of_its_generation(name: str, kernels: str) -> None:
    """Compute capabilities of NVIDIA's table (developer.nvidia.com/cuda-gpus)."""
    assert find(name).torch_type == kernels


def test_every_card_of_nvidia_has_a_generation() -> None:
    unknown = [it.id for it in devices() if it.kind == "gpu" and it.torch_type == "cuda"]
    assert all(it.startswith("MI") for it in unknown)
