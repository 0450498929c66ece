"""The outputs of a call: planned after it ran, made again without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irene.worker.meta.keys import key_types
from irene.worker.meta.marks import Marks
from irene.worker.meta.memo import Fresh, Plain, Plan, Same, Several, View
from irene.worker.meta.weights import Weights
from irene.worker.values import KnownValues

if TYPE_CHECKING:
    import torch

Known = list[tuple[int, "torch.Tensor"]]
"""Outputs whose values are known, each with its place among the outputs of the call."""


class Making:
    """Makes outputs in one forward pass."""

    def __init__(self, marks: Marks, weights: Weights) -> None:
        import torch

        self._marks = marks
        self._weights = weights
        self._empty = torch.empty_strided
        self._view = torch.as_strided
        self._meta = torch.device("meta")

    def made(self, plan: Plan, tensors: list[torch.Tensor], known: Known) -> object:
        """What `plan` says, for these arguments; what has known values is added to `known`."""
        if type(plan) is Fresh:
            shape, stride, dtype, is_weight, known_as, description = plan
            made = self._empty(shape, stride, dtype=dtype, device=self._meta)
            if is_weight:
                self._weights.add(made, 0)
            self._marks.put(made, description, made.untyped_storage()._cdata, 0)
        elif type(plan) is View:
            of, shape, stride, offset, is_detached, known_as, description = plan
            base = tensors[of]
            mark = self._marks.of(base)
            made = self._view(base, shape, stride, offset + mark.offset)
            if is_detached:
                made = made.detach()
            self._marks.put(made, description, mark.storage, offset + mark.offset)
        elif type(plan) is Same:
            return tensors[plan.of]
        elif type(plan) is Plain:
            return plan.value
        else:
            assert type(plan) is Several
            return _sequence(plan.type, [self.made(it, tensors, known) for it in plan.parts])
        if known_as is not None:
            known.append((known_as, made))
        return made


class Planning:
    """Plans how the outputs of one call are made again."""

    def __init__(
        self, marks: Marks, values: KnownValues, weights: Weights, tensors: list[torch.Tensor]
    ) -> None:
        self._marks = marks
        self._values = values
        self._weights = weights
        self._arguments = tensors
        self._storages = [it.untyped_storage()._cdata for it in tensors]
        self._made: list[int] = []  # storages of outputs
        self._n_tensors = 0

    def plan(self, value: Any) -> Plan | None:  # noqa: ANN401 - what a torch function returns
        """None where the outputs cannot be made again."""
        import torch

        if isinstance(value, torch.Tensor):
            self._n_tensors += 1
            for i, argument in enumerate(self._arguments):
                if argument is value:
                    return Same(i)
            return self._tensor(value)
        if type(value) in key_types()[1]:
            return Plain(value)
        if isinstance(value, (tuple, list)):
            parts = tuple(self.plan(it) for it in value)
            return None if None in parts else Several(type(value), parts)  # type: ignore[arg-type] # none is None
        return None

    def _tensor(self, tensor: torch.Tensor) -> Fresh | View | None:
        import torch

        if type(tensor) is not torch.Tensor or not _is_plain(tensor):
            return None
        storage, offset = tensor.untyped_storage()._cdata, tensor.storage_offset()
        shape, stride = tuple(tensor.shape), tensor.stride()
        known_as = self._n_tensors - 1 if self._values.is_known(tensor) else None
        if storage in self._storages:
            of = self._storages.index(storage)
            base = self._arguments[of]
            if base.dtype is not tensor.dtype or not _is_plain(base):
                return None
            distance = int(offset - base.storage_offset())
            description = self._marks.of(tensor).description
            is_detached = base.requires_grad and not tensor.requires_grad
            return View(of, shape, stride, distance, is_detached, known_as, description)
        if storage in self._made or offset:
            return None  # outputs that share memory which no argument has
        self._made.append(storage)
        is_weight = self._weights.n_parameters(storage) is not None
        description = self._marks.of(tensor).description
        return Fresh(shape, stride, tensor.dtype, is_weight, known_as, description)


def _is_plain(tensor: torch.Tensor) -> bool:
    import torch

    return (
        tensor.is_meta
        and tensor.layout is torch.strided
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
    )


def _sequence(kind: Any, parts: list[object]) -> object:  # noqa: ANN401 - a type of sequence
    if kind is list:
        return parts
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
