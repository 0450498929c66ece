"""Inputs that did not run, mended: what the error says is missing, then other shapes.

Tried by forward passes on meta, only after the likeliest inputs failed, and shown as
assumptions. What a person wrote is never changed.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

from irene.tree import Assumption
from irene.worker.inputs import conventions
from irene.worker.inputs.context import Context
from irene.worker.inputs.plans import Inputs, Placeholder
from irene.worker.meta import asks_for_values, left_as_it_was, parts_of, run_on_meta
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch

_MOST_RUNS = 60
_LONGEST_S = 15.0  # of processor time


@dataclass(frozen=True, slots=True)
class _Try:
    """Keyword arguments to try, and what they assume beside the first ones."""

    kwargs: dict[str, object]
    texts: tuple[str, ...] = ()
    without: str = ""  # the error that it is to mend


def mended(
    context: Context, planned: Inputs, values: KnownValues, error: Exception | None
) -> Inputs | None:
    """Inputs near `planned`, with which forward runs on meta; None where none were found.

    `error` is what `planned` raised, None where it was not tried yet.
    """
    model = context.model
    names = [it for it in _parameters(model) if it not in _NEVER]
    if "kwargs" in context.names:
        names += conventions.particular_names(context)
    waiting, tried = [_Try(dict(planned.kwargs))], set[str]()
    end = time.process_time() + _LONGEST_S
    with left_as_it_was(model.modules()):
        while waiting and len(tried) < _MOST_RUNS and time.process_time() < end:
            attempt = waiting.pop(0)
            key = str(sorted((name, str(it)) for name, it in attempt.kwargs.items()))
            if key in tried:
                continue
            if error is None or tried:
                error = _error(model, replace(planned, kwargs=attempt.kwargs), values)
            tried.add(key)
            if error is None:
                return _found(planned, attempt)
            if repr(error) == attempt.without:  # what was added made no difference
                continue
            added = _with_missing(context, names, attempt, error)
            others = () if asks_for_values(error) else _otherwise(context, attempt)
            switched = () if attempt.texts else _switched(context, attempt, repr(error))
            waiting = [*switched, *added, *waiting, *others]
    return None


def _found(planned: Inputs, attempt: _Try) -> Inputs:
    assumed = tuple(Assumption(text, None) for text in attempt.texts)
    kept = tuple(it for it in planned.assumptions if it not in assumed)
    return replace(planned, kwargs=attempt.kwargs, assumptions=(*kept, *assumed))


def _error(model: torch.nn.Module, inputs: Inputs, values: KnownValues) -> Exception | None:
    args, kwargs = inputs.on_meta(values)
    try:
        run_on_meta(parts_of(model), args, kwargs, values)
    except Exception as err:  # noqa: BLE001 - what a model raises says what it lacks
        return err
    return None


def _with_missing(
    context: Context, names: list[str], attempt: _Try, error: Exception
) -> Iterator[_Try]:
    """With the parameters that the error names, else with those that were None where it rose.

    Each alone, as errors also name parameters of which one is enough; then all.
    """
    for missing in (_named_in(error, names), *_none_in(error.__traceback__, names)):
        found: dict[str, tuple[object, tuple[str, ...]]] = {}
        for name in missing:
            if name in attempt.kwargs or (
                name == "inputs_embeds" and "input_ids" in attempt.kwargs
            ):
                continue
            made, assumed = _made(context, name)
            if made is not None:
                text = f"{name}: {made}, as forward does not run without it"
                found[name] = (made, (text, *assumed))
        alone = [[name] for name in found] if len(found) > 1 else []
        for chosen in (*alone, list(found)):
            if chosen:
                texts = [text for name in chosen for text in found[name][1]]
                added = {name: found[name][0] for name in chosen}
                yield _Try({**attempt.kwargs, **added}, (*attempt.texts, *texts), repr(error))


def _made(context: Context, name: str) -> tuple[object | None, list[str]]:
    n_before = len(context.assumptions())
    made = conventions.value(context, name) or conventions.by_ending(context, name)
    return made, [it.text for it in context.assumptions()[n_before:]]


def _named_in(error: Exception, names: list[str]) -> list[str]:
    words = set(re.findall(r"[A-Za-z_]\w*", str(error)))
    return [name for name in names if name in words]


def _none_in(traceback: TracebackType | None, names: list[str]) -> Iterator[list[str]]:
    """Parameters of forward that are None in a frame of the error, the innermost frame first."""
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    for frame in reversed(frames):
        code = frame.f_code
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        local = frame.f_locals
        found = [it for it in arguments if it in names and it in local and local[it] is None]
        if found:
            yield found


def _otherwise(context: Context, attempt: _Try) -> Iterator[_Try]:
    """With one input of another shape."""
    for name, given in attempt.kwargs.items():
        for other in conventions.otherwise(context, name):
            if other != given:
                text = f"{name}: {other}, the first shape with which forward runs"
                kept = tuple(it for it in attempt.texts if not it.startswith(f"{name}: "))
                masks = _masks_like(attempt.kwargs, given, other)
                yield _Try({**attempt.kwargs, **masks, name: other}, (*kept, text))


def _switched(context: Context, attempt: _Try, error: str) -> Iterator[_Try]:
    """Without a cache; with positions; embedded text for ids; samples for spectrograms."""
    kwargs, names = attempt.kwargs, context.names
    for switch, setting in (("use_cache", False), ("output_hidden_states", True)):
        if (switch in names or "kwargs" in names) and switch not in kwargs:
            text = f"{switch}={setting}, as forward does not run with its default"
            yield _Try({**kwargs, switch: setting}, (*attempt.texts, text), error)
    for name, instead in (("input_ids", "inputs_embeds"), ("input_features", "input_values")):
        made = conventions.value(context, instead) if instead in names else None
        if name in kwargs and instead not in kwargs and made is not None:
            rest = {key: it for key, it in kwargs.items() if key != name}
            text = f"{instead}: {made}, as forward does not run with {name}"
            yield _Try({**rest, instead: made}, (*attempt.texts, text), error)
    if context.batch > 1:
        alone = {name: _first_alone(it, context.batch) for name, it in kwargs.items()}
        text = "a batch of one, as more was not traced"
        yield _Try(alone, (*attempt.texts, text), error)
    if "position_ids" in names and "position_ids" not in kwargs and "input_ids" in kwargs:
        plain = conventions.value(context, "position_ids")
        if isinstance(plain, Placeholder):
            for made in (plain, replace(plain, shape=(3, *plain.shape))):
                text = f"position_ids: {made}, as forward does not run without it"
                yield _Try({**kwargs, "position_ids": made}, (*attempt.texts, text), error)


def _first_alone(value: object, batch: int) -> object:
    """The same input for the first example alone."""
    if isinstance(value, Placeholder) and value.shape[:1] == (batch,):
        return replace(value, shape=(1, *value.shape[1:]))
    return value


def _masks_like(
    kwargs: Mapping[str, object], given: object, other: Placeholder
) -> dict[str, Placeholder]:
    """The masks of all ones that were as long as an input, as long as it is now."""
    if not isinstance(given, Placeholder) or len(given.shape) != len(other.shape):
        return {}
    lengths = {a: b for a, b in zip(given.shape[1:], other.shape[1:], strict=True) if a != b}
    if len(lengths) != 1:
        return {}
    ((before, after),) = lengths.items()
    return {
        name: replace(it, shape=(it.shape[0], after))
        for name, it in kwargs.items()
        if isinstance(it, Placeholder) and it.content == "ones" and it.shape[1:] == (before,)
    }


def _parameters(model: torch.nn.Module) -> list[str]:
    try:
        return list(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):
        return []


_NEVER = frozenset(
    ["labels", "past_key_values", "cache_position", "encoder_outputs", "return_dict", "use_cache",
     "output_attentions", "output_hidden_states", "self", "args", "kwargs", "position_ids"]
)  # fmt: skip
"""Parameters that no forward of inference needs."""
