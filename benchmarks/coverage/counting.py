"""One architecture, traced, and its figures held against those of others."""

from __future__ import annotations

import contextlib
import tempfile
import time
import traceback
from typing import TYPE_CHECKING

from libraries import Library
from rows import BATCH, LENGTH, NOT_BUILT, REFUSED, TRACED, Row, short

if TYPE_CHECKING:
    import torch

    from irene.worker.protocol import BuildSpec
    from irene.worker.values import KnownValues


def row_of(library: Library, name: str, *, with_flops: bool) -> Row:
    """The trace of an architecture, held against the counter, its sums and a cold trace."""
    from irene.tree import check_sums, matrix_flops
    from irene.worker.protocol import BuildSpec
    from irene.worker.refusals import Refused
    from irene.worker.tracing import trace

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            library.write_config(name, folder)
        except Exception as err:  # noqa: BLE001 - whatever a config class raises
            return Row(name, NOT_BUILT, reason=f"its config has no default: {short(err)}")
        spec = BuildSpec(
            path="", text="", class_name="", search_paths=(), arguments=None, inputs=(),
            config_dir=folder, batch_size=BATCH, sequence_length=LENGTH, dtype=None, attention=None,
        )  # fmt: skip
        try:
            made = trace(spec)
        except Refused as refused:
            found = refused.refusal
            reason = f"{found.kind}: {found.message.replace(folder, name)}"
            state = REFUSED
            if found.kind in ("constructor", "arguments", "missing-import", "internal"):
                flaw = library.flaw(name)
                state, reason = (NOT_BUILT, flaw) if flaw else (state, reason)
            row = Row(name, state, reason=reason, seconds=time.perf_counter() - begin)
            if state == REFUSED:
                row.raises_alone = _raises_alone(library, spec, refused.__cause__)
            return row
        except Exception as err:  # noqa: BLE001 - a fault of ours is a row too
            text = "".join(traceback.format_exception(err)[-4:])
            return Row(name, REFUSED, reason=f"fault: {text}")
        row = Row(
            name, TRACED, made.root.class_name,
            inputs=", ".join(f"{it.name} {list(it.shape)}" for it in made.inputs),
            assumptions=list(dict.fromkeys(it.text for it in made.assumptions)),
            unpriced=list(dict.fromkeys(it.name for it in made.unpriced)),
            matrix_flops=matrix_flops(made.root),
            sums_hold=check_sums(made.root) == [],
            seconds=time.perf_counter() - begin,
        )  # fmt: skip
        row.memo_holds = _tree(spec) == _tree_without_memo(spec)
        if with_flops:
            row.counted, row.counter = _counted(spec)
        return row


def _tree(spec: BuildSpec) -> object:
    """Of a second trace: some models keep what their first forward pass made."""
    from irene.tree import trace_to_json
    from irene.worker.tracing import trace

    return trace_to_json(trace(spec))


def _tree_without_memo(spec: BuildSpec) -> object:
    """The same where nothing is remembered, not even within the pass."""
    from unittest.mock import patch

    from irene.worker.meta import MEMO
    from irene.worker.tracing import forget

    forget()
    with patch.object(MEMO, "put"):
        return _tree(spec)


def _batch_experts(model: torch.nn.Module) -> None:
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_experts_implementation_internal"):
            config._experts_implementation_internal = "batched_mm"


def _move_to_meta(model: torch.nn.Module, values: KnownValues) -> None:
    """What has memory, with the values of small integers known."""
    from irene.worker.meta import to_meta

    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                if tensor is not None and not tensor.is_meta:
                    tensors[key] = to_meta(tensor, values)  # type: ignore[assignment] # a tensor


def _counted(spec: BuildSpec) -> tuple[int | None, str]:
    """FLOPs by torch's counter, and how it ran.

    First on plain meta tensors; where the model asks for values, with the values that the
    trace had, those that it made up last. Grouped products of experts, of which the counter sees
    none, as batched ones.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from irene.worker.building import build
    from irene.worker.inputs import mend_inputs
    from irene.worker.meta import accelerators_on_meta, parts_of, stay_on_meta
    from irene.worker.meta.answers import Answers
    from irene.worker.meta.trial import guess_values

    reason = ""
    for how in ("plain", "with values", "with made-up values"):
        built = build(spec, on_meta=True)
        inputs = mend_inputs(built.model, spec, built.planned, built.values) or built.planned
        _batch_experts(built.model)
        built.model.requires_grad_(False)  # the counter's hooks take no parameters as inputs
        args, kwargs = inputs.on_meta(built.values)
        counter = FlopCounterMode(display=False)
        mode = contextlib.nullcontext() if how == "plain" else stay_on_meta(built.values)
        answers = None if how == "plain" else Answers(built.values, None, None).function
        if how == "plain":
            built.model.to("meta")
        else:
            _move_to_meta(built.model, built.values)
        if how == "with made-up values":
            built.values.begin_trial()
            guess_values(parts_of(built.model), args, kwargs, built.values)
        try:
            with accelerators_on_meta(answers), torch.no_grad(), mode, counter:
                built.model(*args, **kwargs)
        except Exception as err:  # noqa: BLE001 - the counter does not run on every model
            reason = short(err)
            continue
        return int(counter.get_total_flops()), how
    return None, reason


def _raises_alone(library: Library, spec: BuildSpec, error: BaseException | None) -> bool:
    """Whether the model raises the same on plain meta tensors, as its library builds it."""
    import torch

    from irene.worker.building import build
    from irene.worker.refusals import Refused

    try:
        args, kwargs = build(spec, on_meta=True).inputs(on_meta=True)
    except Refused:
        return False
    try:
        with torch.device("meta"), torch.no_grad():
            library.plain_model(spec.config_dir or "").eval()(*args, **kwargs)
    except Exception as err:  # noqa: BLE001 - what it raises is the question
        return type(err) is type(error) and str(err) == str(error)
    return False
