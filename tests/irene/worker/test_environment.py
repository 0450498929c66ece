"""What the interpreter and the machine have, with a reason for each part that is missing."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
import torch
import transformers

from irene.worker import environment

INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) E5-2630 v4\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU part\t: 0xd0c\n"


def test_the_interpreter_is_described_as_it_is() -> None:
    found = environment.describe()
    assert (found.python, found.executable) == (platform.python_version(), sys.executable)
    assert (found.torch, found.transformers) == (torch.__version__, transformers.__version__)
    assert found.cuda == (torch.version.cuda if torch.cuda.is_available() else None)


def test_each_missing_part_has_a_reason_and_each_found_one_none() -> None:
    found = environment.describe()
    said = "\n".join(found.reasons)
    assert ("torch is built" in said) == (found.cuda is None)
    assert ("NVML finds no" in said) == ("nvml" not in found.meters)
    assert ("RAPL" in said) == ("rapl" not in found.meters)
    assert all(it.endswith(".") for it in found.reasons)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (INTEL + INTEL.replace("v4", "v5"), "Intel(R) Xeon(R) E5-2630 v4"),
        (ARM, platform.machine()),
        (None, platform.machine()),
    ],
)
def test_a_processor_without_a_name_is_its_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert environment.cpu_name(tmp_path / "cpuinfo") == name


@pytest.mark.parametrize(
    ("meminfo", "n_bytes"),
    [
        ("MemTotal:       24683520 kB\nMemAvailable:   18999296 kB\n", 18_999_296 * 1024),
        ("MemTotal:       24683520 kB\n", None),
        (None, None),
    ],
)
def test_memory_that_the_system_does_not_tell_is_unknown(
    tmp_path: Path, meminfo: str | None, n_bytes: int | None
) -> None:
    if meminfo is not None:
        (tmp_path / "meminfo").write_text(meminfo)
    assert environment.available_memory_bytes(tmp_path / "meminfo") == n_bytes
