"""This machine's CPU, from what systems say about theirs."""

import pytest

from irene.energy.processor import (
    Processor,
    device,
    device_of,
    processor_of_cpuinfo,
    quota_of,
    share_of_tdp,
    this_processor,
    vector_of,
)
from irene.energy.tdp import Tdp, find_tdp

DESKTOP_FLAGS = "fpu sse2 avx fma avx2"


def cpuinfo(name: str, n_cores: int, n_threads: int = 1, flags: str = DESKTOP_FLAGS) -> str:
    blocks = [
        f"processor\t: {core * n_threads + thread}\nmodel name\t: {name}\ncpu MHz\t\t: 3600.000\n"
        f"physical id\t: 0\ncore id\t\t: {core}\nflags\t\t: {flags}\n"
        for core in range(n_cores)
        for thread in range(n_threads)
    ]
    return "\n".join(blocks)


ALL = frozenset(range(256))


@pytest.mark.parametrize(
    ("text", "usable", "quota", "max_clock_hz", "expected"),
    [
        (
            cpuinfo("Intel(R) Core(TM) i7-7700K CPU @ 4.20GHz", 4, n_threads=2),
            ALL,
            None,
            4.5e9,
            Processor("Intel(R) Core(TM) i7-7700K CPU @ 4.20GHz", 4, 4, 4.5e9, "avx2", False),
        ),
        (
            cpuinfo("AMD EPYC", 2, flags="hypervisor avx2 fma avx512f"),
            ALL,
            None,
            None,
            Processor("AMD EPYC", 2, 2, 3.6e9, "avx512", True),
        ),
        (
            cpuinfo("AMD EPYC 7763 64-Core Processor", 64),
            frozenset({0, 1, 2}),
            None,
            3.5e9,
            Processor("AMD EPYC 7763 64-Core Processor", 3, 64, 3.5e9, "avx2", False),
        ),
        (
            cpuinfo("AMD EPYC 7763 64-Core Processor", 64),
            ALL,
            1.5,
            3.5e9,
            Processor("AMD EPYC 7763 64-Core Processor", 2, 64, 3.5e9, "avx2", False),
        ),
    ],
    ids=["threads are not cores", "virtual machine", "affinity", "container quota"],
)
def test_cores_are_physical_and_usable(
    text: str,
    usable: frozenset[int],
    quota: float | None,
    max_clock_hz: float | None,
    expected: Processor,
) -> None:
    assert processor_of_cpuinfo(text, usable, quota, max_clock_hz) == expected


def test_a_machine_that_says_next_to_nothing_is_still_a_processor() -> None:
    processor = processor_of_cpuinfo("processor: 0", ALL, None, None)
    assert (processor.n_cores, processor.vector, processor.clock_hz) == (1, "scalar", 2.5e9)


@pytest.mark.parametrize(
    ("flags", "vector"),
    [
        ({"avx2", "fma", "avx512f"}, "avx512"),
        ({"avx2", "fma"}, "avx2"),
        ({"avx2"}, "scalar"),
        ({"avx"}, "avx"),
        ({"asimd", "sve"}, "sve"),
        ({"asimd"}, "neon"),
        (set(), "scalar"),
    ],
)
def test_the_widest_vector_unit_counts(flags: set[str], vector: str) -> None:
    assert vector_of(flags) == vector


@pytest.mark.parametrize(
    ("cpu_max", "cores"), [("max 100000", None), ("150000 100000", 1.5), ("-1 100000", None)]
)
def test_a_cgroup_may_allow_less_than_the_machine_has(cpu_max: str, cores: float | None) -> None:
    assert quota_of(cpu_max) == cores


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Intel(R) Core(TM) i7-7700K CPU @ 4.20GHz", Tdp("Intel Core i7-7700K", 91.0, True)),
        ("AMD EPYC 7763 64-Core Processor", Tdp("AMD EPYC 7763", 280.0, True)),
        ("AMD Ryzen 9 7950X 16-Core Processor", Tdp("AMD Ryzen 9 7950X", 170.0, True)),
        ("Intel(R) Xeon(R) Gold 6342 CPU @ 2.80GHz", Tdp("Intel Xeon Gold 6342", 230.0, True)),
        ("Xeon Gold 6342", Tdp("Intel Xeon Gold 6342", 230.0, False)),
        ("AMD EPYC", None),
        ("Intel Xeon Gold 99999", None),
        ("", None),
    ],
)
def test_a_tdp_belongs_to_a_product_not_to_a_similar_name(name: str, expected: Tdp | None) -> None:
    assert find_tdp(name) == expected


MILAN = Tdp("AMD EPYC 7763", 280.0, is_exact=True)


def milan(n_cores: int, *, is_virtual: bool = False) -> Processor:
    visible = n_cores if is_virtual else 64
    return Processor("AMD EPYC 7763", n_cores, visible, 2.45e9, "avx2", is_virtual)


@pytest.mark.parametrize(
    ("processor", "tdp", "watts", "said"),
    [
        (milan(64), MILAN, 280.0, "TDP 280 W of AMD EPYC 7763"),
        (milan(2), MILAN, 8.75, "2 of 64 cores"),
        (milan(128), MILAN, 560.0, "2 sockets"),
        (milan(2, is_virtual=True), MILAN, 11.0, "hides how many cores"),
        (milan(64, is_virtual=True), MILAN, 280.0, "hides how many cores"),
        (Processor("AMD EPYC", 2, 2, 2.6e9, "avx512", True), None, 11.0, "has no row"),
        (Processor("Apple M2", 8, 8, 3.5e9, "neon", False), None, 32.0, "has no row"),
    ],
)
def test_a_process_is_charged_with_the_cores_that_it_may_use(
    processor: Processor, tdp: Tdp | None, watts: float, said: str
) -> None:
    tdp_w, reason = share_of_tdp(processor, tdp)
    assert tdp_w == pytest.approx(watts)
    assert said in reason


def test_a_processor_is_a_device_with_a_wide_interval() -> None:
    known = device_of(milan(64))
    guessed = device_of(milan(64, is_virtual=True))
    assert (known.id, known.kind, known.name) == ("cpu", "cpu", "AMD EPYC 7763 (64 cores)")
    assert known.rates[0].peak_flop_s == 64 * 2.45e9 * 32
    assert 1.6 < known.spread < guessed.spread


def test_this_machine_has_a_processor() -> None:
    assert this_processor().n_cores >= 1
    assert device() is device()
