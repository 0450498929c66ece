"""A report: a priced model, the conditions that it stands for, and who set each of them."""

from __future__ import annotations

from dataclasses import dataclass

from irene.energy.prices import PricedNode
from irene.estimation import Estimate, is_open
from irene.source.targets import Chosen, Target
from irene.tree import TensorSpec, Trace
from irene.worker.protocol import Profile


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that the values depend on; `where` is for people: "pyproject.toml, line 12"."""

    name: str
    value: str
    origin: str  # of `irene.source.targets.Origin`, or "call": an argument of irene.estimate
    where: str


@dataclass(frozen=True, slots=True)
class Report:
    """One model on one device, ready to be shown; `class_name` and `path` of its source."""

    class_name: str
    path: str  # "" where the model has no file
    line: int | None  # of the class statement
    device_id: str
    device_name: str
    batch_size: int | None  # None: the inputs were given with their sizes
    sequence_length: int | None
    trace: Trace
    priced: PricedNode
    conditions: tuple[Condition, ...]
    notes: tuple[str, ...]  # how the price was made
    profile: Profile | None


def report_of(estimate: Estimate, line: int | None) -> Report:
    """The report of a target's estimate; `line` is that of its class statement."""
    target = estimate.target
    return Report(
        class_name=target.class_name or estimate.trace.root.class_name,
        path=target.build.path,
        line=line,
        device_id=estimate.device_id,
        device_name=estimate.device_name,
        batch_size=target.build.batch_size if is_open(estimate, "batch") else None,
        sequence_length=target.build.sequence_length if is_open(estimate, "sequence") else None,
        trace=estimate.trace,
        priced=estimate.priced,
        conditions=_conditions(target, estimate),
        notes=estimate.notes,
        profile=estimate.profile,
    )


def inputs_text(inputs: tuple[TensorSpec, ...]) -> str:
    """`input_ids int64[8, 128], attention_mask int64[8, 128]`."""
    return ", ".join(f"{it.name} {it.dtype}{list(it.shape)}" for it in inputs)


def _conditions(target: Target, estimate: Estimate) -> tuple[Condition, ...]:
    trace = estimate.trace
    sizes = (
        ("batch", _condition("batch size", target.batch_size.value, target.batch_size)),
        (
            "sequence",
            _condition("sequence length", target.sequence_length.value, target.sequence_length),
        ),
    )
    return (
        _condition("device", estimate.shown_device, target.device),
        _condition("predictor", estimate.predictor, target.predictor),
        *(condition for size, condition in sizes if is_open(estimate, size)),
        _condition("dtype", trace.dtype, target.dtype),
        _condition("attention", target.attention.value, target.attention),
        _condition("model", trace.arguments, target.arguments),
        _condition("inputs", inputs_text(trace.inputs), target.inputs),
    )


def _condition(name: str, value: str, chosen: Chosen) -> Condition:
    return Condition(name, value, chosen.origin, chosen.where)
