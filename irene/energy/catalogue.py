"""Devices by name: data-sheet facts joined with the coefficients that devices share.

`devices()` is the list of data/devices.json; `find` reads what people and drivers write;
`auto` is this machine's GPU where NVML finds one, else its CPU.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from irene.energy import gpu, processor
from irene.energy.datasheet import assemble, shipped_facts
from irene.energy.device import Device
from irene.energy.predicted.shipped import machine_in, machines
from irene.errors import DeviceError, PredictorError

__all__ = ["Device", "auto", "devices", "find", "machine_of", "selectable"]

_VENDOR_WORDS = frozenset(
    {"nvidia", "geforce", "tesla", "jetson", "amd", "instinct", "radeon", "intel", "core"}
    | {"xeon", "gold", "platinum", "apple", "cpu", "gpu"}
)


@cache
def devices() -> tuple[Device, ...]:
    """All devices of the catalogue, this machine's own ones left out."""
    return tuple(assemble(facts) for facts in shipped_facts())


@cache
def selectable() -> tuple[Device, ...]:
    """What a person can choose: the catalogue, and the machines with a shipped predictor."""
    return (*devices(), *machines(devices()))


def find(name: str) -> Device:
    """The device that `name` means: id, full name, or a driver's product name.

    Letter case, spaces, hyphens and vendor words do not count. `cpu` is this machine's
    processor, `auto` what `auto()` returns.

    Raises:
        DeviceError: unknown, or several devices fit; the message offers names.
    """
    match name.strip().lower():
        case "auto" | "":
            return auto()
        case "cpu":
            return processor.device()
    device = _by_exact_name(name) or _here(name) or _by_words(name)
    if device is None:
        raise DeviceError(f"unknown device {name!r}: {_nearest(name)}")
    return device


def machine_of(predictor: str) -> Device:
    """The machine that a predictor speaks for: the name of a shipped one, or a trained folder.

    Raises:
        PredictorError: unknown, or the folder's predictor cannot be used.
    """
    if not predictor.strip():
        raise PredictorError(
            "the name of the predictor is empty: give `auto`, or one of `irene predictors`"
        )
    shipped = {key: device for device in machines(devices()) for key in _keys(device)}
    found = shipped.get("".join(_words(predictor)))
    if found is not None:
        return found
    if Path(predictor).is_dir():
        return machine_in(Path(predictor), devices())
    names = ", ".join(it.id for it in machines(devices()))
    raise PredictorError(
        f"unknown predictor {predictor!r}: give {names}, or a folder that `irene train` wrote"
    )


@cache
def auto() -> Device:
    """This machine's GPU where NVML finds one, else its CPU."""
    facts = gpu.local_gpu()
    return processor.device() if facts is None else device_of_gpu(facts)


def device_of_gpu(facts: gpu.GpuFacts) -> Device:
    """The catalogue's entry for a GPU that NVML found, else one made of NVML's own facts."""
    return _by_exact_name(facts.name) or gpu.device(facts)


def _by_exact_name(name: str) -> Device | None:
    key = "".join(_words(name))
    return _by_key().get(key)


@cache
def _by_key() -> Mapping[str, Device]:
    return {key: device for device in selectable() for key in _keys(device)}


def _by_words(name: str) -> Device | None:
    """The one device whose names have all words of `name`."""
    wanted = set(_words(name))
    fitting = [it for it in selectable() if wanted and wanted <= _all_words(it)]
    if len(fitting) > 1:
        offers = ", ".join(it.id for it in fitting)
        raise DeviceError(f"device {name!r} is ambiguous: choose one of {offers}")
    return fitting[0] if fitting else None


def _here(name: str) -> Device | None:
    """This machine's own devices, which the catalogue may not know, by id or name."""
    key = "".join(_words(name))
    own = (auto(), processor.device())
    return next((it for it in own if key and key in _keys(it)), None)


def _keys(device: Device) -> set[str]:
    return {"".join(_words(it)) for it in (device.id, device.name, *device.aliases)}


def _all_words(device: Device) -> set[str]:
    return {word for name in (device.id, device.name, *device.aliases) for word in _words(name)}


def _words(name: str) -> list[str]:
    """`NVIDIA A100-SXM4-80GB -> [a100, sxm4, 80gb]`: no vendor, trade marks or clock."""
    plain = re.sub(r"\((r|tm|c)\)|@.*", " ", name.lower())
    return [it for it in re.findall(r"[a-z0-9+]+", plain) if it not in _VENDOR_WORDS]


def _nearest(name: str) -> str:
    by_key = {"".join(_words(it.id)): it.id for it in selectable()}
    close = difflib.get_close_matches("".join(_words(name)), by_key, n=4, cutoff=0.4)
    if not close:
        return "no similar name"
    return "nearest are " + ", ".join(by_key[it] for it in close)
