"""The values that are known although tensors are on meta: constants, and what follows from them.

A meta tensor has no content, yet models ask for some: `mask.all()`, `linspace(...).tolist()`.
What comes from constants alone is computed for real beside the meta tensor, while it is small:
at once, or later, when somebody asks.

Where a model asks for more, a trial makes up values for its weights and inputs too. What follows
from these is guessed: it is computed where it is asked for, within bounds of memory and time.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from irene.worker.real_kernels import real_kernel

if TYPE_CHECKING:
    import torch

LARGEST_REAL = 1 << 20
"""Elements of a constant whose values count; of larger ones there is the shape alone."""

_MOST_ELEMENTS_IN_ALL = 1 << 25

_LARGEST_IN_TRIAL = 1 << 25
_MOST_IN_TRIAL = 1 << 27
_TRIAL_S = 5.0


class KnownValues:
    """Real CPU tensors beside meta tensors; a value that may have changed is forgotten."""

    def __init__(self) -> None:
        self._real: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by id: (meta, real)
        self._late: dict[int, tuple[torch.Tensor, _Late, int]] = {}  # by id: not computed yet
        self._unknown_storages: dict[int, torch.Tensor] = {}  # kept, so that no id is reused
        self._n_elements = 0
        self._guessed: dict[int, torch.Tensor] = {}  # by id
        self._guessed_storages: set[int] = set()  # of real tensors
        self._waiting: defaultdict[int | None, list[int]] = defaultdict(list)
        """What is late, by the memory of what it comes from, in a trial."""
        self._trial_ends: float | None = None
        self.largest = LARGEST_REAL
        """Elements of the largest tensor whose values count."""

    def begin_trial(self) -> bool:
        """From now on values may be guessed; false where they were already."""
        if self.is_trial():
            return False
        self._trial_ends = time.monotonic() + _TRIAL_S
        self.largest = _LARGEST_IN_TRIAL
        return True

    def end_trial(self) -> None:
        """Forget what was made up."""
        for key in self._guessed:
            self._real.pop(key, None)
        self._late.clear()
        self._guessed.clear()
        self._waiting.clear()
        self._trial_ends, self.largest = None, LARGEST_REAL

    def is_trial(self) -> bool:
        """Whether values are made up for what has none."""
        return self._trial_ends is not None

    def has_time(self) -> bool:
        """Whether more may be computed; what is not a trial is small."""
        return self._trial_ends is None or time.monotonic() < self._trial_ends

    def guess(self, tensor: torch.Tensor, func: Callable[..., Any], *args: object) -> None:
        """`tensor` has the values that a call gives, which nobody knows to be right."""
        if not self.is_known(tensor) and tensor.numel() <= self.largest:
            self.mark_guessed(tensor)
            self.remember_later([(0, tensor)], func, args, {})

    def mark_guessed(self, tensor: torch.Tensor) -> None:
        """Values of `tensor` follow from guessed ones; so do those of its views."""
        self._guessed[id(tensor)] = tensor
        entry = self._real.get(id(tensor))
        if entry is not None:
            self._guessed_storages.add(entry[1].untyped_storage()._cdata)

    def is_guessed(self, tensor: torch.Tensor) -> bool:
        """Whether the values that are known of a tensor were made up."""
        if not self._guessed:
            return False
        entry = self._real.get(id(tensor))
        return id(tensor) in self._guessed or (
            entry is not None and entry[1].untyped_storage()._cdata in self._guessed_storages
        )

    def remember(self, tensor: torch.Tensor, real: torch.Tensor) -> None:
        """`tensor` has the values of `real`; nothing is kept of a large one."""
        n_elements = real.numel()
        if n_elements > self.largest:
            return
        most = _MOST_IN_TRIAL if self.is_trial() else _MOST_ELEMENTS_IN_ALL
        if self._n_elements + n_elements > most:
            self._drop_unreachable()
            if self._n_elements + n_elements > most:
                return
        self._n_elements += n_elements
        self._late.pop(id(tensor), None)
        self._real[id(tensor)] = (tensor, real)

    def _drop_unreachable(self) -> None:
        """Forget the tensors that nobody but us holds: nobody can ask for them."""
        only_ours = 2  # the entry, and the question itself
        alive = {
            key: entry
            for key, entry in self._real.items()
            if sys.getrefcount(entry[0]) > only_ours + (key in self._guessed)
        }
        for key in self._real.keys() - alive.keys():
            self._guessed.pop(key, None)
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
        given = _tensors((args, list(kwargs.values())))
        late = _Late(self, func, args, kwargs, [it for it in given if self.is_known(it)])
        if not all(it.is_meta for it in given):
            late.outputs()  # NumPy may write to the memory of a real one unseen
        is_guess = bool(self._guessed) and any(map(self.is_guessed, given))
        for index, tensor in tensors:
            if is_guess:
                self.mark_guessed(tensor)
            self._late[id(tensor)] = (tensor, late, index)
            if self.is_trial():
                for it in late.needed:
                    self._waiting[_storage(it)].append(id(tensor))

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The values of a tensor, real or on meta; None where they are not known."""
        if not tensor.is_meta:
            return None if self._is_forgotten(tensor) else tensor
        if id(tensor) in self._late and self._is_affordable(id(tensor)):
            self._compute(id(tensor))
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
        """Of each tensor whether its values are known; None where those of none are.

        In a trial more follows from the same, so that it is told apart.
        """
        if self.is_trial():
            return True, *[self.is_known(it) for it in tensors]
        real, late = self._real, self._late
        for tensor in tensors:
            if not tensor.is_meta or id(tensor) in real or id(tensor) in late:
                return tuple([self.is_known(it) for it in tensors])
        return None

    def settle(self, written: Iterable[torch.Tensor] | None = None) -> None:
        """Compute what is late, before something that it comes from is written to.

        In a trial, where much may be late: what comes from `written` or its views.
        """
        if written is None or not self.is_trial():
            while self._late:
                self._compute(next(iter(self._late)))
            return
        for storage in {_storage(it) for it in written}:
            for key in self._waiting.pop(storage, ()):
                if key in self._late and self._is_affordable(key):
                    self._compute(key)
                self._late.pop(key, None)

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

    def _compute(self, key: int) -> None:
        """What is late of a tensor, after what it comes from; that may be long ago."""
        waiting = [key]
        while waiting:
            found = self._late.get(waiting[-1])
            if found is None:
                waiting.pop()
                continue
            tensor, late, index = found
            before = [id(it) for it in late.needed if id(it) in self._late]
            if before:
                waiting += before
                continue
            del self._late[waiting.pop()]
            outputs = late.outputs()
            if index < len(outputs) and outputs[index].shape == tensor.shape:
                self.remember(tensor, _laid_out_as(tensor, outputs[index]))

    def _is_affordable(self, key: int) -> bool:
        """Whether what a late tensor comes from is not too much to make up."""
        if not self.is_trial():
            return True
        waiting, seen, n_elements = [key], set[int](), 0
        while waiting and n_elements <= _MOST_IN_TRIAL:
            tensor, late, _ = self._late[waiting.pop()]
            if not late.needed:
                n_elements += tensor.numel()
            before = {id(it) for it in late.needed if id(it) in self._late} - seen
            seen |= before
            waiting += before
        return n_elements <= _MOST_IN_TRIAL

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
        needed: list[torch.Tensor],
    ) -> None:
        self._values = values
        # A list is the caller's, who may change it meanwhile.
        self._call = (func, _kept(args), {name: _kept(it) for name, it in kwargs.items()})
        self.needed = needed
        """Arguments whose values it has to have; of the others the shape is enough."""
        self._is_made = False
        self._outputs: list[torch.Tensor] = []

    def outputs(self) -> list[torch.Tensor]:
        """The tensors that the call gives, in order; none where they cannot be known."""
        if not self._is_made:
            self._is_made = True
            self._outputs = self._made()
            self._call, self.needed = (_nothing, (), {}), []
        return self._outputs

    def _made(self) -> list[torch.Tensor]:
        import torch

        values = self._values
        if not values.has_time() or any(values.of(it) is None for it in self.needed):
            return []
        func, args, kwargs = self._call
        with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
            args = tuple(_on_cpu(it) for it in values.real_arguments(args))
            try:
                result = real_kernel(func)(*args, **values.real_keywords(kwargs))
            except (NotImplementedError, RuntimeError):  # not for this dtype on a CPU
                return []
            given = {id(it) for it in _tensors(args)}
            # A copy to another device is one, though the real tensor stays where it is.
            return [it.clone() if id(it) in given else it for it in _tensors(result)]


def _laid_out_as(tensor: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """The strides of a device's kernel: a CPU's may give others, which cannot be viewed alike."""
    import torch

    if real.stride() == tensor.stride():
        return real
    with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
        return real.new_empty_strided(tensor.shape, tensor.stride()).copy_(real)


def _storage(tensor: torch.Tensor) -> int | None:
    """The memory of a tensor; None for one that is several pieces."""
    import torch

    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else None


def _nothing() -> None:
    """In the place of a call that was made, whose arguments need not stay."""


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
