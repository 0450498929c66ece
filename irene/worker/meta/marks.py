"""What is noted on tensors while one forward pass lasts: their metadata, read once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

    from irene.worker.meta.memo import Memo
    from irene.worker.meta.weights import Weights


class Mark(NamedTuple):
    """The metadata of a tensor, as keys have them."""

    session: object
    owner: int  # id of the tensor: a copy of it carries the mark of the original
    description: int  # the number that a memo has for it
    storage: int
    offset: int  # in elements


_mark = partial(tuple.__new__, Mark)  # ten times as fast as the constructor


class Marks:
    """The marks of one forward pass."""

    def __init__(self, memo: Memo, weights: Weights) -> None:
        self.session = object()
        self._memo = memo
        self._weights = weights
        self._shadowed: dict[int, torch.Tensor] = {}

    def of(self, tensor: torch.Tensor) -> Mark:
        """The mark of a tensor that is one piece of memory; made once."""
        mark: Mark | None = getattr(tensor, "_irene_mark", None)
        if mark is not None and mark.session is self.session and mark.owner == id(tensor):
            return mark
        storage = tensor.untyped_storage()._cdata
        description = self._memo.describe(
            (
                type(tensor),
                tuple(tensor.shape),
                tensor.stride(),
                tensor.dtype,
                tensor.is_meta,
                tensor.requires_grad,
                tensor.is_conj(),
                tensor.is_neg(),
                tensor.is_quantized,
                self._weights.n_parameters(storage),
            )
        )
        return self.put(tensor, description, storage, int(tensor.storage_offset()))

    def put(self, tensor: torch.Tensor, description: int, storage: int, offset: int) -> Mark:
        """Mark a tensor whose metadata are known."""
        mark = _mark((self.session, id(tensor), description, storage, offset))
        tensor._irene_mark = mark  # type: ignore[attr-defined] # for the pass
        return mark

    def shadow(self, tensor: torch.Tensor) -> None:
        """From now on a tensor is not what its metadata say: another one stands for it."""
        self._shadowed[id(tensor)] = tensor
        unmark(tensor)

    def is_shadowed(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._shadowed


def unmark(tensor: torch.Tensor) -> None:
    """Take off what a forward pass noted on a tensor."""
    vars(tensor).pop("_irene_mark", None)
