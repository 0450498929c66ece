"""One forward pass on meta: the model's own tensors give way meanwhile."""

from __future__ import annotations

import gc
import operator
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from irene.tree import DeviceType
from irene.worker.meta.answers import Answers
from irene.worker.meta.autocast import watching_autocast
from irene.worker.meta.device_path import running_as
from irene.worker.meta.devices import accelerators_on_meta
from irene.worker.meta.dispatch import Observer, stay_on_meta
from irene.worker.meta.marks import unmark
from irene.worker.meta.parts import Container, ModelParts
from irene.worker.meta.recall import Recall
from irene.worker.meta.tensors import is_small, keep_integers, stand_in, tensors_in
from irene.worker.meta.trial import guess_values
from irene.worker.values import KnownValues
from irene.worker.watching import making_calls

if TYPE_CHECKING:
    import torch


def run_on_meta(
    parts: ModelParts,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    values: KnownValues,
    observer: Observer | None = None,
    device_type: DeviceType = "cuda",
) -> object:
    """One forward pass of a model, which may be real: its tensors are replaced meanwhile.

    `device_type` says whose kernels it runs.
    """
    import torch

    recall = None if observer is None else Recall(values, observer.weights, observer, device_type)
    with (
        _stand_ins(parts, values, observer),
        _unmarked(parts, args, kwargs),
        running_as(device_type, _unheard if observer is None else observer.assumed),
        watching_autocast(),
        accelerators_on_meta(Answers(values, observer, recall).function, shows_device=True),
        _eagerly(),
        torch.inference_mode(),
        _garbage_waits(),
        stay_on_meta(values, observer, recall),
        nullcontext() if recall is None else making_calls(recall.calling),
    ):
        if values.is_trial():
            guess_values(parts, args, kwargs, values)
        result = parts.model(*args, **kwargs)
        # What a generator does it does when it is read.
        return list(result) if isinstance(result, GeneratorType) else result


def _unheard(_assumption: str) -> None:
    """Nobody observes this pass."""


@contextmanager
def left_as_it_was(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """In eval mode for a while; then every attribute of every module as before.

    So are the dictionaries, lists and sets that attributes are, hooks among them, the contents
    of tensors that are no buffers, and the random numbers to come.
    """
    import torch

    before = [_Attributes(it) for it in modules]
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=()):
            for it in before:
                it.lend()
            yield
    finally:
        for it in before:
            it.restore()
        random.setstate(state)


class _Attributes:
    """What a module holds; that of a scripted module lives in C++, out of reach."""

    __slots__ = ("_attributes", "_emptied", "_filled", "_held", "_module", "_tensors")

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._held = vars(module)
        self._attributes = dict(self._held)
        self._emptied: list[Any] = []  # containers with nothing in them: most, hooks above all
        self._filled: list[tuple[Any, Any]] = []
        self._tensors: list[tuple[str, torch.Tensor]] = []
        atoms, tensor = _ATOMS, _tensor_type()
        for name, value in self._attributes.items():
            if type(value) in atoms:
                continue
            if isinstance(value, _CONTAINERS):
                if value:
                    self._filled.append((value, _content(value)))
                else:
                    self._emptied.append(value)
            elif isinstance(value, tensor) and not value.is_meta and is_small(value):
                self._tensors.append((name, value))

    def lend(self) -> None:
        if self._held.get("training") is not False:
            self._module.training = False
        for name, value in self._tensors:
            self._held[name] = value.clone()

    def restore(self) -> None:
        self._held.clear()
        self._held.update(self._attributes)
        for container in self._emptied:
            if container:
                container.clear()
        for container, content in self._filled:
            if _holds(container, content):  # containers may refuse to be written to
                continue
            container.clear()
            if isinstance(container, (list, deque)):
                container.extend(content)
            else:
                container.update(content)


_is = operator.is_
_ATOMS = frozenset((bool, int, float, str, type(None)))
_CONTAINERS = (dict, list, set, deque)


def _content(container: Any) -> Any:  # noqa: ANN401 - one of those
    return dict(container) if isinstance(container, dict) else list(container)


def _holds(container: Any, content: Any) -> bool:  # noqa: ANN401 - as above
    """Whether a container still holds these very objects, in this order."""
    if len(container) != len(content):
        return False
    if isinstance(container, dict):
        return all(map(_is, container, content)) and all(
            map(_is, container.values(), content.values())
        )
    return all(map(_is, container, content))


@cache
def _tensor_type() -> type[torch.Tensor]:
    import torch

    return torch.Tensor


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


@contextmanager
def _garbage_waits() -> Iterator[None]:
    """A pass makes many small objects, and looking through all of torch for garbage takes longer."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _eagerly() -> AbstractContextManager[object]:
    """Compiled modules run as they were written."""
    import torch

    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    set_stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    return nullcontext() if set_stance is None else set_stance("force_eager")
