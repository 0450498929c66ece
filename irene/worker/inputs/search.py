"""Finds inputs for a model: what was written, then what forward's signature tells."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from irene.tree import Assumption
from irene.worker import advice
from irene.worker.inputs import conventions
from irene.worker.inputs.annotated import from_annotation
from irene.worker.inputs.context import Context
from irene.worker.inputs.expressions import evaluate
from irene.worker.inputs.first_layer import from_first_layer
from irene.worker.inputs.mending import mended
from irene.worker.inputs.plans import Inputs, Placeholder
from irene.worker.protocol import BuildSpec
from irene.worker.refusals import Refused, refuse
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch


def find_inputs(model: torch.nn.Module, spec: BuildSpec) -> Inputs:
    """Inputs for forward of `model`.

    Raises:
        Refused: an expression is malformed, or nothing tells what a parameter wants.
    """
    parameters = _parameters(model)
    dtype = parameter_dtype(model)
    context = Context(model, spec, dtype, tuple(it.name for it in parameters))
    if spec.inputs:
        written = _cast(evaluate(spec), dtype, spec)
        return _with_written(parameters, written, context)
    required = [it for it in parameters if _is_required(it)]
    values: dict[str, object] = {}
    unknown: list[inspect.Parameter] = []
    for parameter in required:
        value = _value(parameter, context)
        if value is None:
            unknown.append(parameter)
        else:
            values[parameter.name] = value
    others = [it.name for it in parameters if not _is_required(it)]
    values |= conventions.optional(context, others, values)
    if not unknown and values:
        return _inputs(parameters, values, context.assumptions())
    if len(unknown) == 1 and len(required) == 1:
        found = from_first_layer(model, unknown[0], context)
        if found is not None:
            return found
    if not unknown and not required:
        return _inputs(parameters, {}, ())
    raise _unknown(model, unknown)


def mend_inputs(
    model: torch.nn.Module,
    spec: BuildSpec,
    planned: Inputs,
    values: KnownValues,
    error: Exception | None = None,
) -> Inputs | None:
    """Inputs with which forward runs, where `planned`, which nobody wrote, does not.

    `error` is what they raised, where they were tried already. None where there are none to
    be found.
    """
    if spec.inputs:
        return None
    names = tuple(it.name for it in _parameters(model))
    return mended(Context(model, spec, parameter_dtype(model), names), planned, values, error)


def parameter_dtype(model: torch.nn.Module) -> str:
    """The dtype of the first floating parameter, of torch's default where there is none."""
    import torch

    for parameter in model.parameters():
        if parameter.is_floating_point():
            return str(parameter.dtype).removeprefix("torch.")
    return str(torch.get_default_dtype()).removeprefix("torch.")


def _parameters(model: torch.nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def _value(parameter: inspect.Parameter, context: Context) -> object | None:
    found = conventions.value(context, parameter.name)
    if found is not None:  # also an empty list
        return found
    return from_annotation(parameter, context) or conventions.by_ending(context, parameter.name)


def _is_required(parameter: inspect.Parameter) -> bool:
    is_variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not is_variadic


def _inputs(
    parameters: list[inspect.Parameter],
    values: Mapping[str, object],
    assumptions: tuple[Assumption, ...],
) -> Inputs:
    """By keyword, except what forward takes by position alone."""
    by_position = [it.name for it in parameters if it.kind is it.POSITIONAL_ONLY]
    args = tuple(values[name] for name in by_position if name in values)
    rest = {name: it for name, it in values.items() if name not in by_position}
    return Inputs(args, rest, tuple(by_position), assumptions)


def _with_written(
    parameters: list[inspect.Parameter],
    written: tuple[dict[str, object], tuple[Assumption, ...]],
    context: Context,
) -> Inputs:
    """What a person wrote; the rest of what is required, from conventions."""
    values, assumptions = written
    names = [it.name for it in parameters]
    takes_any = any(it.kind is it.VAR_KEYWORD for it in parameters)
    for name in values:
        if name and name not in names and not takes_any:
            raise refuse(
                "inputs",
                f"forward has no parameter {name}; it has {', '.join(names)}.",
                advice="Name the inputs as forward does.",
            )
    named, positional = dict(values), tuple[object, ...]()
    if "" in named:
        positional = (named.pop(""),)
    given = set(named) | set(names[: len(positional)])
    for parameter in parameters:
        if _is_required(parameter) and parameter.name not in given:
            value = _value(parameter, context)
            if value is None:
                raise _missing(context.model, parameter.name, sorted(given))
            named[parameter.name] = value
    found = _inputs(parameters, named, (*assumptions, *context.assumptions()))
    return replace(
        found, args=(*positional, *found.args), names=tuple(names[: len(positional)]) or found.names
    )


def _cast(
    values: dict[str, object], dtype: str, spec: BuildSpec
) -> tuple[dict[str, object], tuple[Assumption, ...]]:
    """With a dtype chosen for the model, floating inputs follow it."""
    if spec.dtype is None:
        return values, ()
    cast, assumptions = dict(values), []
    for name, value in values.items():
        if isinstance(value, Placeholder) and "float" in value.dtype and value.dtype != dtype:
            cast[name] = replace(value, dtype=dtype)
            assumptions.append(Assumption(f"{name}: {dtype} as the model, not {value.dtype}", None))
    return cast, tuple(assumptions)


def _missing(model: torch.nn.Module, name: str, given: list[str]) -> Refused:
    return refuse(
        "inputs",
        f"forward also needs {name}, beside {', '.join(given)}.",
        advice=advice.write_inputs(type(model), f"{name}=float32[batch, ...]"),
    )


def _unknown(model: torch.nn.Module, unknown: list[inspect.Parameter]) -> Refused:
    names = ", ".join(it.name for it in unknown)
    example = ", ".join(f"{it.name}=float32[batch, ...]" for it in unknown)
    name = type(model).__name__
    return refuse(
        "inputs",
        f"Nothing tells the shape of {names}, which {name}.forward takes.",
        advice=advice.write(type(model), "...", example),
    )
