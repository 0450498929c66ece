"""Why a forward pass did not go through, as a sentence with the user's line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from irene.tree import Location, TensorSpec
from irene.worker import advice
from irene.worker.frames import UserCode
from irene.worker.meta import NoMetaKernel, ValueQuestion, asks_for_values
from irene.worker.refusals import Refused, describe, line_in, refuse

if TYPE_CHECKING:
    from irene.worker.tracing.recorder import FailedOperation, Recorder


def refusal_of(
    error: Exception,
    recorder: Recorder,
    user_code: UserCode,
    inputs: tuple[TensorSpec, ...],
) -> Refused:
    """The refusal for an exception that left forward."""
    if isinstance(error, Refused):
        return error
    line = line_in(error, user_code.document)
    if isinstance(error, ValueQuestion):
        return _needs_value(error.operation, line, recorder)
    if isinstance(error, NoMetaKernel):
        return refuse(
            "forward",
            f"{error.operation} has no shape rule for meta tensors and does not run on zeros.",
            line=line,
            advice="Register a fake implementation for it (torch.library.register_fake).",
        )
    if asks_for_values(error):
        return _needs_value("an operation", line, recorder)
    return _raised(error, line, recorder, inputs, _advice(user_code))


def _needs_value(operation: str, line: int | None, recorder: Recorder) -> Refused:
    return refuse(
        "data-dependent",
        f"forward needs the values of a tensor for {operation}{_where(recorder.failure)}, "
        "and an estimate runs on tensors without values.",
        line=line,
        advice="Compute it with tensor operations (torch.where, masked_fill), or pass it as a "
        "plain Python number.",
    )


def _raised(
    error: Exception,
    line: int | None,
    recorder: Recorder,
    inputs: tuple[TensorSpec, ...],
    advice: str,
) -> Refused:
    failure = recorder.failure
    message = f"forward raised {describe(error).rstrip('.')}"
    if failure is not None and failure.shapes:
        message += f"; {failure.name} got {', '.join(failure.shapes)}{_where(failure)}"
    elif recorder.last_scope:
        message += f"; in `{recorder.last_scope}`"
    given = ", ".join(f"{it.name}={it.dtype}{list(it.shape)}" for it in inputs)
    if given:
        message += f". The inputs were {given}"
    return refuse("forward", f"{message}.", line=line, advice=advice)


def _advice(user_code: UserCode) -> str:
    if user_code.is_everywhere:
        return "Give the model inputs of the shape that it takes, or correct its forward."
    return advice.correct("forward", user_code.document, "inputs of another shape")


def _where(failure: FailedOperation | None) -> str:
    if failure is None:
        return ""
    if not failure.scope:
        return _line(failure.at)
    return f" in `{failure.scope}` ({failure.class_name}){_line(failure.at)}"


def _line(at: Location | None) -> str:
    return "" if at is None else f", line {at.line} of {Path(at.path).name}"
