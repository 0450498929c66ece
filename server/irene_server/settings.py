"""The settings of section `irene`, from JSON to typed values, with all problems at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from irene.source.targets import Options

DTYPES = ("float32", "float16", "bfloat16")
ATTENTIONS = ("eager", "sdpa", "flash_attention_2")
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the person set for one folder; an option that is None was left open."""

    is_enabled: bool = True
    shows_hints: bool = True
    shows_lenses: bool = True
    interpreter: str | None = None  # counts only where the client names no interpreter itself
    options: Options = field(default_factory=lambda: Options(origin="settings"))


def parse(section: object) -> tuple[Settings, tuple[str, ...]]:
    """Settings from the answer to `workspace/configuration`; a wrong value is left out.

    Returns the settings and one sentence for each problem.
    """
    if section is None:
        return Settings(), ()
    if not isinstance(section, Mapping):
        return Settings(), (f"The settings of irene are not an object: {section!r}",)
    values, problems = _read(_flat(section))
    settings = Settings(
        is_enabled=values.get("enabled", True),
        shows_hints=values.get("inlayHints.enabled", True),
        shows_lenses=values.get("codeLens.enabled", True),
        interpreter=values.get("interpreter"),
        options=Options(
            origin="settings",
            device=values.get("device"),
            predictor=values.get("predictor"),
            batch_size=values.get("batchSize"),
            sequence_length=values.get("sequenceLength"),
            dtype=values.get("dtype"),
            attention=values.get("attention"),
        ),
    )
    return settings, problems


# Any stands for parsed JSON.
def _read(section: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, raw in section.items():
        read = _READERS.get(name)
        if read is None:
            problems.append(_unknown(name))
        elif raw is not None:
            try:
                values[name] = read(raw)
            except ValueError as err:
                problems.append(f"irene.{name} is {raw!r}, but must be {err}")
    return values, tuple(problems)


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"inlayHints": {"enabled": true}}` -> `{"inlayHints.enabled": true}`."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _READERS, n=1)
    advice = f"; did you mean irene.{near[0]}?" if near else ""
    return f"irene.{name} is not a setting of IrEne{advice}"


def _flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    raise ValueError("true or false")


def _size(raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool) and raw >= 1:
        return raw
    raise ValueError("a whole number from 1")


def _text(raw: object) -> str | None:
    if isinstance(raw, str):
        return raw.strip() or None
    raise ValueError("a text")


def _name(raw: object) -> str | None:
    """A text; `auto` leaves the choice open."""
    text = _text(raw)
    return None if text == AUTO else text


def _one_of(*choices: str) -> Callable[[object], str | None]:
    def read(raw: object) -> str | None:
        if raw == AUTO:
            return None
        if isinstance(raw, str) and raw in choices:
            return raw
        raise ValueError(f"{', '.join((AUTO, *choices[:-1]))} or {choices[-1]}")

    return read


_READERS: dict[str, Callable[[object], Any]] = {
    "enabled": _flag,
    "interpreter": _text,
    "server.interpreter": _text,
    "device": _name,
    "predictor": _name,
    "batchSize": _size,
    "sequenceLength": _size,
    "dtype": _one_of(*DTYPES),
    "attention": _one_of(*ATTENTIONS),
    "inlayHints.enabled": _flag,
    "codeLens.enabled": _flag,
}
