"""Build on meta, run one forward pass, fold what was seen into a tree."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from irene.tree import Assumption, DeviceType, Location, TensorSpec, Trace
from irene.worker.building import BuiltModel, build, with_mended_inputs
from irene.worker.frames import UserCode
from irene.worker.inputs.search import parameter_dtype
from irene.worker.loading import users_imports
from irene.worker.meta import (
    MEMO,
    ModelParts,
    Weights,
    asks_for_values,
    is_lazy,
    left_as_it_was,
    parts_of,
    run_on_meta,
    tensors_in,
    to_meta,
)
from irene.worker.protocol import BuildSpec
from irene.worker.refusals import Refused, refuse
from irene.worker.tracing import notes, trees
from irene.worker.tracing.failures import refusal_of
from irene.worker.tracing.recorder import Recorder
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch


def trace(spec: BuildSpec) -> Trace:
    """The tree of the model of `spec`, with nothing allocated and nothing computed.

    Raises:
        Refused: anything that is wrong with the user's code, arguments or inputs.
    """
    with users_imports(spec):
        built = build(spec, on_meta=True)
        try:
            return trace_built(built, spec.device_type)
        except Refused as refused:
            cause = refused.__cause__
            mended = (
                with_mended_inputs(built, spec, cause) if isinstance(cause, Exception) else None
            )
            if mended is None:
                raise
            return trace_built(mended, spec.device_type)


def trace_built(built: BuiltModel, device_type: DeviceType) -> Trace:
    """The tree of a model that `build` made, on meta or for real, as `device_type` runs it.

    Raises:
        Refused: its forward pass fails.
    """
    args, kwargs = built.inputs(on_meta=True)
    return _traced(
        parts_of(built.model),
        args,
        kwargs,
        user_code=built.user_code,
        created_at=built.created_at,
        values=built.values,
        arguments=built.arguments,
        inputs=built.input_specs,
        assumptions=built.assumptions,
        device_type=device_type,
    )


def trace_module(
    model: torch.nn.Module,
    args: tuple[object, ...] = (),
    kwargs: Mapping[str, object] | None = None,
    device_type: DeviceType = "cuda",
) -> Trace:
    """The tree of a module that exists already, as `device_type` runs it.

    It is left exactly as it was. Nothing of it moves or is copied: its tensors are replaced by meta tensors for the
    duration of one forward pass.

    Raises:
        Refused: its forward pass fails.
    """
    parts = parts_of(model)
    if parts.is_lazy:
        raise refuse(
            "forward",
            f"{type(model).__name__} has lazy layers that do not know their sizes yet.",
            advice="Run the model once on an example, then estimate it.",
        )
    values = KnownValues()
    meta_args, meta_kwargs = cast(
        "tuple[tuple[object, ...], dict[str, object]]",
        to_meta((tuple(args), dict(kwargs or {})), values),
    )
    with left_as_it_was(parts.scopes):
        return _traced(
            parts,
            meta_args,
            meta_kwargs,
            user_code=UserCode("", None),
            created_at={},
            values=values,
            arguments=f"{type(model).__name__}(...)",
            inputs=_specs(model, args, kwargs or {}),
            assumptions=(),
            device_type=device_type,
        )


def forget() -> None:
    """Remember nothing of any operation or tree, as a process that is new."""
    MEMO.clear()
    notes.forget()
    trees.forget()


def _traced(  # noqa: PLR0913 - the parts of a Trace
    parts: ModelParts,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    user_code: UserCode,
    created_at: Mapping[torch.nn.Module, Location],
    values: KnownValues,
    arguments: str,
    inputs: tuple[TensorSpec, ...],
    assumptions: tuple[Assumption, ...],
    device_type: DeviceType,
) -> Trace:
    import torch

    if notes.is_full() or trees.is_full():
        forget()  # all at once and between passes: equal things are told by identity
    first: Exception | None = None  # of which the refusal speaks: a trial may fail otherwise
    question: Refused | None = None
    while True:
        recorder = Recorder(parts, _weights_of(parts), user_code, created_at)
        try:
            with recorder.watching_calls(), _room_for_frames():
                run_on_meta(parts, args, kwargs, values, recorder, device_type)
            break
        except Exception as err:  # noqa: BLE001 - whatever the model raises
            if first is None or question is None:
                first, question = err, refusal_of(err, recorder, user_code, inputs)
            if not (asks_for_values(err) and values.begin_trial()):
                values.end_trial()
                raise question from first
    return Trace(
        root=recorder.root(),
        mode="inference",
        arguments=arguments,
        inputs=inputs,
        dtype=parameter_dtype(parts.model),
        assumptions=tuple(dict.fromkeys((*assumptions, *recorder.assumptions))),
        unpriced=tuple(dict.fromkeys(recorder.unpriced)),
        torch_version=torch.__version__,
        transformers_version=_version("transformers"),
    )


@contextmanager
def _room_for_frames() -> Iterator[None]:
    """What nests as deeply as Python allows can be traced: a watched call has more frames."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(4 * limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _weights_of(parts: ModelParts) -> Weights:
    weights = Weights()
    for buffer in parts.buffers:
        if not is_lazy(buffer):
            weights.add(buffer, 0)
    for parameter in parts.parameters:
        if not is_lazy(parameter):
            weights.add(parameter, parameter.numel())
    return weights


def _specs(
    model: torch.nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[TensorSpec, ...]:
    """The given tensors by the names that forward has for them."""
    try:
        named = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        named = {f"input {i}": it for i, it in enumerate(args)} | dict(kwargs)
    return tuple(
        TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, value in named.items()
        for tensor in tensors_in((value,), {})
    )


def _version(package: str) -> str | None:
    """Of a package that the model's code has loaded."""
    version = getattr(sys.modules.get(package), "__version__", None)
    return None if version is None else str(version)
