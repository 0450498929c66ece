"""Whether a Python function of torch still calls what it called when torch was loaded.

Libraries and users exchange functions by their names (`F.scaled_dot_product_attention = mine`).
What a function of torch issues then hangs on more than its arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from types import FunctionType

PURE_MODULES = frozenset(
    ["torch", "torch.functional", "torch.nn.functional", "torch._tensor", "torch.special",
     "torch.fft", "torch.linalg"]
)  # fmt: skip
"""Modules whose functions have no state that they change."""

Namespace = dict[str, object]


def note_originals() -> None:
    """Remember what the modules have now; before any code of the user's has run."""
    _originals()


def calls_originals(func: FunctionType) -> bool:
    """Whether all that `func` and the functions below it name is what torch had."""
    return all(namespace.get(name) is original for namespace, name, original in _named(func))


def is_original_functional(name: str) -> bool:
    """Whether `torch.nn.functional` has its own function of this name, and that calls torch's."""
    namespace, original = _functional(name)
    if namespace.get(name) is not original:
        return False
    return type(original) is not FunctionType or calls_originals(original)


@cache
def _functional(name: str) -> tuple[Namespace, object]:
    module = "torch.nn.functional"
    return vars(sys.modules[module]), _originals()[module][name]


@cache
def _originals() -> dict[str, Namespace]:
    loaded = {it: sys.modules[it] for it in PURE_MODULES if it in sys.modules}
    return {
        name: {key: it for key, it in vars(module).items() if callable(it)}
        for name, module in loaded.items()
    }


@cache
def _named(func: FunctionType) -> tuple[tuple[Namespace, str, object], ...]:
    """Where each function is looked up that runs within `func`, and what was there."""
    found: dict[tuple[str, str], tuple[Namespace, str, object]] = {}
    waiting, seen = [func], {func}
    while waiting:
        for module, name, original in _names_in(waiting.pop()):
            found[module, name] = (vars(sys.modules[module]), name, original)
            if isinstance(original, FunctionType) and original not in seen:
                seen.add(original)
                waiting.append(original)
    return tuple(found.values())


def _names_in(func: FunctionType) -> Iterator[tuple[str, str, object]]:
    """Global names, and attributes that the module `torch` has."""
    originals = _originals()
    for module in (func.__module__, "torch"):
        known = originals.get(module, {})
        yield from ((module, it, known[it]) for it in func.__code__.co_names if it in known)
