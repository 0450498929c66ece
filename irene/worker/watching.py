"""Calls and constructions of modules, seen as they happen.

`nn.Module.__call__` and `__init__` give way for it. Replacing them makes Python forget what it
cached of every class of module, some thousands: a process that watches often leaves them
replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Original = Callable[..., Any]
Make = Callable[["torch.nn.Module", tuple[Any, ...], dict[str, Any]], Any]
"""Makes a call, or knows without it what it gives."""
WatchCall = Callable[[Make, "torch.nn.Module", tuple[Any, ...], dict[str, Any]], Any]
"""Has the call made, before and after which it looks."""
WatchInit = Callable[[Original, "torch.nn.Module", tuple[Any, ...], dict[str, Any]], Any]
"""Makes the original call, before and after which it looks."""


class _Watching:
    """Who looks now, and what torch had in our place."""

    def __init__(self) -> None:
        self.call: WatchCall | None = None
        self.init: WatchInit | None = None
        self.make: Make = _make
        self.originals: tuple[Original, Original] | None = None


def _make(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - as torch has it
    assert _now.originals is not None
    return _now.originals[0](module, *args, **kwargs)


_now = _Watching()


def watch_often() -> None:
    """Stay in place until the process ends."""
    _install()


@contextmanager
def watching_calls(watch: WatchCall) -> Iterator[None]:
    """Every `module(...)` goes through `watch`."""
    with _installed():
        before, _now.call = _now.call, watch
        try:
            yield
        finally:
            _now.call = before


@contextmanager
def making_calls(make: Callable[[Original], Make]) -> Iterator[None]:
    """Calls that are watched are made by what `make` makes of the original call."""
    before = _now.make
    if _now.originals is not None:
        _now.make = make(_now.originals[0])
    try:
        yield
    finally:
        _now.make = before


@contextmanager
def watching_constructors(watch: WatchInit) -> Iterator[None]:
    """Every `nn.Module.__init__` goes through `watch`."""
    with _installed():
        before, _now.init = _now.init, watch
        try:
            yield
        finally:
            _now.init = before


@contextmanager
def _installed() -> Iterator[None]:
    if _now.originals is not None:
        yield
        return
    _install()
    try:
        yield
    finally:
        _uninstall()


def _install() -> None:
    import torch

    if _now.originals is not None:
        return
    original_call, original_init = torch.nn.Module.__call__, torch.nn.Module.__init__

    def call(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as torch has it
        watch = _now.call
        if watch is None:
            return original_call(module, *args, **kwargs)
        return watch(_now.make, module, args, kwargs)

    def init(module: torch.nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as torch has it
        watch = _now.init
        if watch is None:
            original_init(module, *args, **kwargs)
        else:
            watch(original_init, module, args, kwargs)

    _now.originals = original_call, original_init
    torch.nn.Module.__call__ = call  # type: ignore[method-assign] # see above
    torch.nn.Module.__init__ = init  # type: ignore[method-assign,assignment] # see above


def _uninstall() -> None:
    import torch

    assert _now.originals is not None
    torch.nn.Module.__call__, torch.nn.Module.__init__ = _now.originals  # type: ignore[method-assign] # as it was
    _now.originals = None
