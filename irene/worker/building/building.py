"""From a `BuildSpec` to a model with its inputs: the first half of every request."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from irene.tree import Assumption, Location, TensorSpec
from irene.worker.building.architectures import architecture_of
from irene.worker.building.arguments import (
    Arguments,
    config_from_folder,
    config_in,
    find_arguments,
)
from irene.worker.building.construction import Constructed, construct
from irene.worker.frames import UserCode
from irene.worker.inputs import Inputs, find_inputs, mend_inputs
from irene.worker.loading import load, module_class, users_imports
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
        call, assumptions = _constructor_call(spec)
        attention = _Attention(spec.attention)
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


@dataclass(frozen=True, slots=True)
class _ConstructorCall:
    """A constructor with its arguments, ready to be called, and as a person would write it."""

    make: Callable[[_Attention], torch.nn.Module]
    text: str


class _Attention:
    """The attention kernel that was asked for, set on a Transformers config."""

    def __init__(self, wanted: str | None) -> None:
        self._wanted = wanted
        self.assumptions: tuple[Assumption, ...] = ()

    def build(
        self, config: object | None, construct: Callable[[], torch.nn.Module]
    ) -> torch.nn.Module:
        """The model with the kernel that was asked for; with its eager products if it has no other."""
        self._choose(config)
        try:
            return construct()
        except ValueError as err:
            if config is None or self._wanted is None or _NOT_SUPPORTED not in str(err):
                raise
            self._assume(f"the model has no {self._wanted} attention: priced as eager")
            config._attn_implementation = "eager"  # type: ignore[attr-defined] # Transformers' own name
            return construct()

    def _choose(self, config: object | None) -> None:
        """Set it before the constructor reads it."""
        wanted = self._wanted
        if wanted is None:
            return
        if config is None:
            self._assume(
                f"attention {wanted} has no effect: the class takes no Transformers config"
            )
            return
        if wanted.startswith("flash_attention") and not _has_flash_attention():
            self._assume(f"{wanted} is not installed here: priced as the fused kernel of sdpa")
            wanted = "sdpa"
        config._attn_implementation = wanted  # type: ignore[attr-defined] # Transformers' own name

    def _assume(self, text: str) -> None:
        self.assumptions = (Assumption(text, None),)


_NOT_SUPPORTED = "does not support an attention implementation"
"""As Transformers says that a class lacks the kernel."""


def _has_flash_attention() -> bool:
    return importlib.util.find_spec("flash_attn") is not None


def _constructor_call(spec: BuildSpec) -> tuple[_ConstructorCall, tuple[Assumption, ...]]:
    if not spec.class_name:
        return _call_of_folder(spec), ()
    module = load(spec)
    cls = module_class(module, spec)
    arguments = find_arguments(cls, module, spec)
    return _call_of_class(cls, arguments), arguments.assumptions


def _call_of_class(cls: type, arguments: Arguments) -> _ConstructorCall:
    def make(attention: _Attention) -> torch.nn.Module:
        return attention.build(
            config_in(arguments), lambda: cls(*arguments.args, **arguments.kwargs)
        )

    return _ConstructorCall(make, arguments.text)


def _call_of_folder(spec: BuildSpec) -> _ConstructorCall:
    """The architecture that a `config.json` names, else the `AutoModel` of its config."""
    folder = spec.config_dir or ""
    try:
        import transformers
    except ImportError as err:
        raise refuse(
            "missing-import",
            f"{sys.executable} cannot import transformers: {err}.",
            advice="Install transformers there, or select the interpreter that has it.",
        ) from err
    config = config_from_folder(folder, None)
    named = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    cls = architecture_of(config, named.get("architectures") or (), transformers)
    if cls is None:
        raise refuse(
            "arguments",
            f"Transformers has no model class for the {type(config).__name__} of "
            f"{folder}/config.json.",
            advice="Name an architecture in its `architectures`.",
        )

    def make(attention: _Attention) -> torch.nn.Module:
        return attention.build(config, lambda: cls(config))

    text = f"{cls.__name__}({type(config).__name__}.from_pretrained({folder!r}))"
    return _ConstructorCall(make, text)
