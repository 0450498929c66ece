"""The values that are known although tensors are on meta: constants, and what follows from them.

A meta tensor has no content, yet models ask for some: `mask.all()`, `linspace(...).tolist()`.
What comes from constants alone is computed for real beside the meta tensor, while it is small:
at once, or later, when somebody asks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LARGEST_REAL = 1 << 20
"""Elements of a constant whose values count; of larger ones there is the shape alone."""

_MOST_ELEMENTS_IN_ALL = 1 << 25


class KnownValues:
    """Real CPU tensors beside meta tensors; a value that may have changed is forgotten."""

    def __init__(self) -> None:
        self._real: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by id: (meta, real)
        self._late: dict[int, tuple[torch.Tensor, _Late, int]] = {}  # by id: not computed yet
        self._unknown_storages: dict[int, torch.Tensor] = {}  # kept, so that no id is reused
        self._n_elements = 0

    def remember(self, tensor: torch.Tensor, real: torch.Tensor) -> None:
        """`tensor` has the values of `real`; nothing is kept of a large one."""
        n_elements = real.numel()
        if n_elements > LARGEST_REAL:
            return
        if self._n_elements + n_elements > _MOST_ELEMENTS_IN_ALL:
            self._drop_unreachable()
            if self._n_elements + n_elements > _MOST_ELEMENTS_IN_ALL:
                return
        self._n_elements += n_elements
        self._real[id(tensor)] = (tensor, real)

    def _drop_unreachable(self) -> None:
        """Forget the tensors that nobody but us holds: nobody can ask for them."""
        only_ours = 2  # the entry, and the question itself
        alive = {
            key: entry for key, entry in self._real.items() if sys.getrefcount(entry[0]) > only_ours
        }
        self._real = alive
        self._n_elements = sum(real.numel() for _, real in alive.values())

    def remember_later(
        self,
        tensors: list[tuple[int, torch.Tensor]],
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """`tensors` have the values of these outputs of a call, which is made once one is asked for."""
        late = _Late(self, func, args, kwargs)
        if not all(it.is_meta for it in _tensors((args, list(kwargs.values())))):
            late.outputs()  # NumPy may write to the memory of a real one unseen
        for index, tensor in tensors:
            self._late[id(tensor)] = (tensor, late, index)

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The values of a tensor, real or on meta; None where they are not known."""
        if not tensor.is_meta:
            return None if self._is_forgotten(tensor) else tensor
        late = self._late.pop(id(tensor), None)
        if late is not None:
            self._compute(*late)
        entry = self._real.get(id(tensor))
        if entry is None or self._is_forgotten(entry[1]):
            return None
        return entry[1]

    def is_known(self, tensor: torch.Tensor) -> bool:
        """Whether `of` gives values, without computing them."""
        if not tensor.is_meta:
            return not self._is_forgotten(tensor)
        entry = self._real.get(id(tensor))
        if entry is None:
            return id(tensor) in self._late
        return not self._is_forgotten(entry[1])

    def known_among(self, tensors: list[torch.Tensor]) -> tuple[bool, ...] | None:
        """Of each tensor whether its values are known; None where those of none are."""
        real, late = self._real, self._late
        for tensor in tensors:
            if not tensor.is_meta or id(tensor) in real or id(tensor) in late:
                return tuple([self.is_known(it) for it in tensors])
        return None

    def settle(self) -> None:
        """Compute what is late, before something that it comes from is written to."""
        while self._late:
            self._compute(*self._late.popitem()[1])

    def forget(self, tensor: torch.Tensor) -> None:
        """Something unknown was written to `tensor`: its values and those of its views are lost."""
        real = self.of(tensor)
        if real is not None:
            self._unknown_storages[real.untyped_storage()._cdata] = real

    def exchange(self, tensor: torch.Tensor, value: object) -> None:
        """An attribute of `tensor` becomes `value`; as its data, that brings values with it."""
        import torch

        self.settle()
        self._real.pop(id(tensor), None)
        known = self.of(value) if isinstance(value, torch.Tensor) else None
        if known is not None and tensor.is_meta:
            self.remember(tensor, known)

    def real_arguments(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with values in the place of tensors on meta; zeros where none are known."""
        return tuple(self._real_argument(it) for it in args)

    def real_keywords(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The same for keyword arguments; what is made is made on the CPU."""
        real = {name: self._real_argument(it) for name, it in kwargs.items()}
        if real.get("device") is not None:
            real["device"] = "cpu"
        return real

    def _real_argument(self, value: Any) -> Any:  # noqa: ANN401 - an argument of torch
        import torch

        if isinstance(value, torch.Tensor):
            known = self.of(value)
            if known is None:  # asked for its shape alone, so without memory
                return torch.zeros((), dtype=value.dtype).expand(value.shape)
            return known
        if type(value) in (list, tuple):
            return type(value)(self._real_argument(it) for it in value)
        return value

    def _compute(self, tensor: torch.Tensor, late: _Late, index: int) -> None:
        real = late.outputs()[index]
        if real is not None:
            self.remember(tensor, real)

    def _is_forgotten(self, real: torch.Tensor) -> bool:
        unknown = self._unknown_storages
        return bool(unknown) and real.untyped_storage()._cdata in unknown


class _Late:
    """A call on known values that is made once."""

    def __init__(
        self,
        values: KnownValues,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._values = values
        # A list is the caller's, who may change it meanwhile.
        self._call = (func, _kept(args), {name: _kept(it) for name, it in kwargs.items()})
        self._outputs: list[torch.Tensor] | None = None

    def outputs(self) -> list[torch.Tensor]:
        """The tensors that the call gives, in order."""
        import torch

        if self._outputs is None:
            func, args, kwargs = self._call
            with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
                args = tuple(_on_cpu(it) for it in self._values.real_arguments(args))
                result = func(*args, **self._values.real_keywords(kwargs))
                given = {id(it) for it in _tensors(args)}
                # A copy to another device is one, though the real tensor stays where it is.
                self._outputs = [it.clone() if id(it) in given else it for it in _tensors(result)]
        return self._outputs


def _kept(value: Any) -> Any:  # noqa: ANN401 - an argument of torch
    return type(value)(_kept(it) for it in value) if type(value) in (list, tuple) else value


def _on_cpu(value: object) -> object:
    import torch

    is_meta = isinstance(value, str) and value == "meta"
    return "cpu" if is_meta or isinstance(value, torch.device) else value


def _tensors(value: object) -> list[torch.Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [it for part in value for it in _tensors(part)]
    return []
