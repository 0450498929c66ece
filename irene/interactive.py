"""`irene.estimate(model, *inputs)`: the estimate of a module that exists, in its own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult

from irene.energy.catalogue import Device, find
from irene.energy.prices import PricedNode
from irene.energy.pricing import price_on
from irene.errors import TargetError
from irene.report import Condition, Report, layout, to_html, to_json
from irene.report.findings import inputs_text
from irene.tree import Trace
from irene.worker.protocol import Refusal
from irene.worker.refusals import Refused, in_words
from irene.worker.tracing import trace_module

if TYPE_CHECKING:
    import torch

_WIDTH = 120


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """The priced tree of a model; prints as a table, and as one in a notebook."""

    report: Report

    @property
    def tree(self) -> PricedNode:
        """The root; `children` and `node` lead on from there."""
        return self.report.priced

    @property
    def joules(self) -> float:
        """Energy of one forward pass, J."""
        return self.tree.energy.joules

    @property
    def seconds(self) -> float:
        """Time of one forward pass, s."""
        return self.tree.energy.seconds

    @property
    def interval_j(self) -> tuple[float, float]:
        """Ends of the 90 % interval of `joules`."""
        return self.tree.energy.low_j, self.tree.energy.high_j

    def to_json(self) -> dict[str, Any]:
        """The same values as `irene estimate --json` (docs/json.md)."""
        return to_json(self.report)

    def __str__(self) -> str:
        console = Console(width=_WIDTH, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    __repr__ = __str__

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield layout(self.report, options.max_width)

    def _repr_html_(self) -> str:
        return to_html(self.report)


def estimate(
    model: torch.nn.Module, *inputs: object, device: str = "auto", **keywords: object
) -> ModelEstimate:
    """The energy of `model(*inputs, **keywords)` on a device, with nothing run or allocated.

    The model is left as it is; its tensors and the inputs may be on meta.

    Raises:
        DeviceError: the device is unknown; the message offers the nearest names.
        TargetError: `model` is no module, or its forward pass fails on these inputs.
    """
    _check_model(model)
    found = find(device)
    try:
        trace = trace_module(model, inputs, keywords, found.torch_type)
    except Refused as refused:
        raise TargetError(in_words(_with_packed_inputs(refused.refusal, inputs))) from refused
    return ModelEstimate(_report(trace, found, device))


def _check_model(model: object) -> None:
    import torch

    if isinstance(model, torch.nn.Module):
        return
    if isinstance(model, type):
        name = model.__name__
        raise TargetError(f"{name} is a class: give a model of it, as in `{name}(...)`.")
    raise TargetError(
        f"irene.estimate takes a torch.nn.Module and its inputs, but got {type(model).__name__}."
    )


def _with_packed_inputs(refusal: Refusal, inputs: tuple[object, ...]) -> Refusal:
    """Names the likely cause where all inputs came in one collection: forward got that alone."""
    if len(inputs) != 1 or not isinstance(inputs[0], (tuple, list, Mapping)):
        return refusal
    stars = "**" if isinstance(inputs[0], Mapping) else "*"
    return replace(
        refusal,
        advice=f"forward was called with one {type(inputs[0]).__name__}; if it holds the inputs, "
        f"pass them one by one: irene.estimate(model, {stars}inputs).",
    )


def _report(trace: Trace, device: Device, asked: str) -> Report:
    argument = "call", "argument of irene.estimate"
    chosen = ("default", "default") if asked == "auto" else argument
    price = price_on(trace.root, device)
    return Report(
        class_name=trace.root.class_name,
        path="",
        line=None,
        device_id=device.id,
        device_name=device.name,
        batch_size=None,
        sequence_length=None,
        trace=trace,
        priced=price.tree,
        conditions=(
            Condition("device", device.id, *chosen),
            Condition("predictor", price.predictor, *chosen),
            Condition("dtype", trace.dtype, "call", "as the model is"),
            Condition("inputs", inputs_text(trace.inputs), *argument),
        ),
        notes=price.notes,
        profile=None,
    )
