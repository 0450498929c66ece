"""IrEne: the energy of a neural network, per module and line, with nothing run.

`irene.estimate(model, *inputs, device="A100-SXM4-80GB")` returns the priced tree. Importing
this package loads nothing else: the worker imports it inside the user's interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from irene.interactive import estimate

__version__ = "0.1.0"
__all__ = ["__version__", "estimate"]


def __getattr__(name: str) -> Any:
    if name == "estimate":
        from irene.interactive import estimate  # noqa: PLC0415 - loaded when first used

        return estimate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
