"""Which tensors are weights, and operations as metadata: all that a price depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from irene.worker.meta.operators import Operator
from irene.worker.meta.tensors import has_storage, tensors_in
from irene.worker.ops.costs import Call, Operand

if TYPE_CHECKING:
    import torch


class Weights:
    """Which tensors are parameters, or were computed from parameters and buffers alone."""

    def __init__(self) -> None:
        self._n_parameters: dict[int, int] = {}  # by storage
        self._kept: list[object] = []  # storages stay alive, so that no id is reused

    def add(self, tensor: torch.Tensor, n_parameters: int) -> None:
        if not has_storage(tensor):
            return
        storage = tensor.untyped_storage()
        self._n_parameters[storage._cdata] = n_parameters
        self._kept.append(storage)

    def stand_in(self, original: torch.Tensor, meta: torch.Tensor) -> None:
        """`meta` is the same weight as `original`."""
        if not has_storage(original):
            return
        known = self._n_parameters.get(original.untyped_storage()._cdata)
        if known is not None:
            self.add(meta, known)

    def n_parameters(self, storage: int) -> int | None:
        """Of the parameter whose memory this is; 0 for other weights, None for what is none."""
        return self._n_parameters.get(storage)

    def call_of(
        self,
        operator: Operator,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result: object,
    ) -> Call:
        """The metadata of an operation; what it made from weights alone is a weight."""
        inputs: list[Operand] = []
        call = Call(
            name=operator.name,
            args=tuple(self._described(it, inputs) for it in args),
            kwargs={
                name: self._described(it, inputs)
                for name, it in kwargs.items()
                if name not in operator.outputs
            },
            inputs=tuple(inputs),
            outputs=tuple(self._operand(it) for it in tensors_in((result,), {})),
        )
        if inputs and all(it.is_weight for it in inputs):
            for tensor in tensors_in((result,), {}):
                self._n_parameters.setdefault(tensor.untyped_storage()._cdata, 0)
                self._kept.append(tensor)
        return call

    def _described(self, value: object, found: list[Operand]) -> object:
        import torch

        if isinstance(value, torch.Tensor):
            operand = self._operand(value)
            found.append(operand)
            return operand
        if type(value) in (list, tuple):
            return [self._described(it, found) for it in value]  # type: ignore[attr-defined] # of list or tuple
        return value

    def _operand(self, tensor: torch.Tensor) -> Operand:
        shape, itemsize = tuple(tensor.shape), tensor.element_size()
        stored = 1
        for size, stride in zip(shape, tensor.stride(), strict=True):
            stored *= size if stride else min(size, 1)
        storage = tensor.untyped_storage()._cdata
        n_parameters = self._n_parameters.get(storage)
        return Operand(
            shape=shape,
            dtype=str(tensor.dtype)[6:],  # without "torch."
            itemsize=itemsize,
            n_bytes=stored * itemsize,
            identity=hash((storage, tensor.storage_offset())),
            n_parameters=min(n_parameters or 0, tensor.numel()),  # a view may be a part
            is_weight=n_parameters is not None,
        )
