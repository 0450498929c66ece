"""Inputs as a person wrote them: `x=float32[8, 3, 224, 224]`, `mask=None`, `[a, b]`."""

from __future__ import annotations

from dataclasses import dataclass

from irene.worker.inputs.plans import Content, Placeholder
from irene.worker.protocol import BuildSpec, InputExpression
from irene.worker.refusals import describe, refuse

DTYPES = (
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
    "uint8", "int8", "int16", "int32", "int64", "bool",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _DType:
    """`float32` in an expression; `float32[8, 128]` is a tensor, `float32[()]` a scalar one."""

    name: str
    content: Content = "random"

    def __getitem__(self, shape: object) -> Placeholder:
        sizes = shape if isinstance(shape, tuple) else (shape,)
        if not all(isinstance(it, int) and not isinstance(it, bool) and it >= 0 for it in sizes):
            raise TypeError(f"{self.name}{list(sizes)} is not a shape of whole numbers")
        return Placeholder(self.name, sizes, self.content)


def evaluate(spec: BuildSpec) -> dict[str, object]:
    """The values of all expressions by parameter name; placeholders where tensors will be.

    Raises:
        Refused: an expression is malformed.
    """
    return {it.name: _value(it, spec) for it in spec.inputs}


def _value(written: InputExpression, spec: BuildSpec) -> object:
    is_mask = "mask" in written.name
    names: dict[str, object] = {
        name: _DType(name, "ones" if is_mask or name == "bool" else "random") for name in DTYPES
    }
    names |= {"batch": spec.batch_size, "sequence": spec.sequence_length}
    try:
        return eval(written.expression, {"__builtins__": {}, **names})  # noqa: S307 - the user's own
    except Exception as err:
        reason = err.msg if isinstance(err, SyntaxError) else describe(err)
        if isinstance(err, NameError):
            reason = f"{err.name} is no name there; only `batch`, `sequence` and dtypes are"
        raise refuse(
            "inputs",
            f"The input {written.name}={written.expression} cannot be evaluated: {reason}.",
            advice="Write a dtype and a shape: "
            f"`{written.name or 'x'}=float32[batch, sequence, 512]`.",
        ) from err
