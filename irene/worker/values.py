"""The values that are known although tensors are on meta: constants, and what follows from them.

A meta tensor has no content, yet models ask for some: `mask.all()`, `linspace(...).tolist()`.
What comes from constants alone is computed for real beside the meta tensor, while it is small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MOST_ELEMENTS = 1 << 20
_MOST_ELEMENTS_IN_ALL = 1 << 25


class KnownValues:
    """Real CPU tensors beside meta tensors; a value that may have changed is forgotten."""

    def __init__(self) -> None:
        self._real: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by id: (meta, real)
        self._unknown_storages: dict[int, torch.Tensor] = {}  # kept, so that no id is reused
        self._n_elements = 0

    def has_any(self) -> bool:
        return bool(self._real)

    def remember(self, tensor: torch.Tensor, real: torch.Tensor) -> None:
        """`tensor` has the values of `real`; nothing is kept of a large one."""
        n_elements = real.numel()
        if n_elements > _MOST_ELEMENTS or self._n_elements + n_elements > _MOST_ELEMENTS_IN_ALL:
            return
        self._n_elements += n_elements
        self._real[id(tensor)] = (tensor, real)

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The values of a tensor, real or on meta; None where they are not known."""
        if not tensor.is_meta:
            return None if self._is_forgotten(tensor) else tensor
        entry = self._real.get(id(tensor))
        if entry is None or self._is_forgotten(entry[1]):
            return None
        return entry[1]

    def forget(self, tensor: torch.Tensor) -> None:
        """Something unknown was written to `tensor`: its values and those of its views are lost."""
        real = self.of(tensor)
        if real is not None:
            self._unknown_storages[real.untyped_storage()._cdata] = real

    def _is_forgotten(self, real: torch.Tensor) -> bool:
        unknown = self._unknown_storages
        return bool(unknown) and real.untyped_storage()._cdata in unknown
