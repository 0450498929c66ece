"""From a `BuildSpec` to a model with its inputs: the first half of every request."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from irene.tree import Assumption, Location, TensorSpec
from irene.worker.building.attention import Attention
from irene.worker.building.calls import constructor_call
from irene.worker.building.construction import Constructed, construct
from irene.worker.frames import UserCode
from irene.worker.inputs import Inputs, find_inputs, mend_inputs
from irene.worker.loading import users_imports
from irene.worker.meta import parts_of, stay_on_meta
from irene.worker.protocol import BuildSpec
from irene.worker.refusals import refuse
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model in eval mode, and how to feed it."""

    model: torch.nn.Module
    arguments: str  # as Python: "BertModel(BertConfig())"
    planned: Inputs
    assumptions: tuple[Assumption, ...]
    created_at: Mapping[torch.nn.Module, Location]
    user_code: UserCode
    values: KnownValues

    @property
    def path(self) -> str:
        """The document, "" where a config folder alone was given."""
        return self.user_code.document

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        return self.planned.specs

    def inputs(
        self, *, on_meta: bool, device: str = "cpu", seed: int = 0
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Arguments and keyword arguments of forward; real ones are random, from `seed`."""
        if on_meta:
            return self.planned.on_meta(self.values)
        return self.planned.for_real(self.model, device, seed)


def build(spec: BuildSpec, *, on_meta: bool) -> BuiltModel:
    """Build the model of `spec`; on meta nothing is allocated or computed.

    Raises:
        Refused: anything that is wrong with the user's code, arguments or inputs.
    """
    _require_torch()
    with users_imports(spec):
        user_code = UserCode(spec.path, spec.search_paths)
        call, assumptions = constructor_call(spec)
        attention = Attention(spec.attention)
        made = construct(lambda: call.make(attention), spec.dtype, user_code, on_meta=on_meta)
        planned = find_inputs(made.model, spec)
        _initialise_lazy_layers(made, planned, on_meta=on_meta)
        if not on_meta:  # a run for real costs more than to try the inputs first
            planned = mend_inputs(made.model, spec, planned, made.values) or planned
        return _built(made, call.text, planned, user_code, (*assumptions, *attention.assumptions))


def with_mended_inputs(built: BuiltModel, spec: BuildSpec, error: Exception) -> BuiltModel | None:
    """The same model with inputs that run, where those of `built` raised `error`.

    None where there are none to be found.
    """
    inputs = mend_inputs(built.model, spec, built.planned, built.values, error)
    if inputs is None:
        return None
    others = tuple(it for it in built.assumptions if it not in built.planned.assumptions)
    return replace(built, planned=inputs, assumptions=(*others, *inputs.assumptions))


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as err:
        raise refuse(
            "no-torch",
            f"{sys.executable} cannot import torch: {err}.",
            advice="Install torch there, or select the interpreter that has it.",
        ) from err


def _initialise_lazy_layers(made: Constructed, planned: Inputs, *, on_meta: bool) -> None:
    """Layers that learn their sizes from a first call get one; what it raises comes again later."""
    import torch

    if not parts_of(made.model).is_lazy:
        return
    args, kwargs = (
        planned.on_meta(made.values) if on_meta else planned.for_real(made.model, "cpu", 0)
    )
    mode = stay_on_meta(made.values) if on_meta else contextlib.nullcontext()
    # Not in inference mode: parameters cannot take its tensors.
    with torch.no_grad(), mode, contextlib.suppress(Exception):
        made.model(*args, **kwargs)


def _built(
    made: Constructed,
    text: str,
    planned: Inputs,
    user_code: UserCode,
    assumptions: tuple[Assumption, ...],
) -> BuiltModel:
    return BuiltModel(
        model=made.model,
        arguments=text,
        planned=planned,
        assumptions=(*assumptions, *made.assumptions, *planned.assumptions),
        created_at=made.created_at,
        user_code=user_code,
        values=made.values,
    )
