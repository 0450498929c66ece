"""One forward pass on meta: the model's own tensors give way meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from irene.worker.meta.devices import accelerators_on_meta
from irene.worker.meta.dispatch import Observer, stay_on_meta
from irene.worker.meta.parts import Container, ModelParts
from irene.worker.meta.recall import Recall, unmark
from irene.worker.meta.tensors import keep_integers, stand_in, tensors_in
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch


def run_on_meta(
    parts: ModelParts,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    values: KnownValues,
    observer: Observer | None = None,
) -> object:
    """One forward pass of a model, which may be real: its tensors are replaced meanwhile."""
    import torch

    recall = None if observer is None else Recall(values, observer.weights, observer)
    with (
        _stand_ins(parts, values, observer),
        _unmarked(parts, args, kwargs),
        accelerators_on_meta(None if recall is None else recall.function),
        _eagerly(),
        torch.inference_mode(),
        stay_on_meta(values, observer, recall),
    ):
        return parts.model(*args, **kwargs)


@contextmanager
def left_as_it_was(model: torch.nn.Module) -> Iterator[None]:
    """In eval mode for a while; then every attribute of every module as before."""
    before = [(it, it.training, _attributes(it)) for it in model.modules()]
    try:
        for module, _, _ in before:
            module.training = False
        yield
    finally:
        for module, training, (attributes, contents) in before:
            module.training = training
            vars(module).clear()
            vars(module).update(attributes)
            for name, content in contents.items():
                vars(module)[name].clear()
                vars(module)[name].update(content)


def _attributes(
    module: torch.nn.Module,
) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """What a module holds, and what the containers of its tensors and modules hold.

    Those of a scripted module live in C++ and cannot be changed from here.
    """
    attributes = dict(vars(module))
    containers = ("_parameters", "_buffers", "_modules")
    found = {name: attributes.get(name) for name in containers}
    return attributes, {name: dict(it) for name, it in found.items() if isinstance(it, dict)}


@contextmanager
def _stand_ins(parts: ModelParts, values: KnownValues, observer: Observer | None) -> Iterator[None]:
    """Meta tensors in the place of parameters and buffers that have memory."""
    replaced = []
    metas: dict[int, torch.Tensor] = {}  # by id, so that tied tensors stay tied
    for container, name, original in list(_real_tensors(parts)):
        if id(original) not in metas:
            metas[id(original)] = meta = stand_in(original)
            keep_integers(original, meta, values)
            if observer is not None:
                observer.weights.stand_in(original, meta)
        container[name] = metas[id(original)]
        replaced.append((container, name, original))
    try:
        yield
    finally:
        for container, name, original in replaced:
            container[name] = original


@contextmanager
def _unmarked(
    parts: ModelParts, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> Iterator[None]:
    """Nothing of ours stays on tensors that live on."""
    try:
        yield
    finally:
        for tensor in (*parts.parameters, *parts.buffers, *tensors_in(args, kwargs)):
            unmark(tensor)


def _real_tensors(parts: ModelParts) -> Iterator[tuple[Container, str, torch.Tensor]]:
    """Each with the container that holds it."""
    for container in parts.containers:
        for name, tensor in container.items():
            if tensor is not None and not tensor.is_meta:
                yield container, name, tensor


def _eagerly() -> AbstractContextManager[object]:
    """Compiled modules run as they were written."""
    import torch

    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return nullcontext() if set_stance is None else set_stance("force_eager")
