"""Small modules that a tracer, and above all a cache in front of it, easily gets wrong.

Each says in its docstring what a cache would have to overlook to fall into it.
"""

from __future__ import annotations

from traps import arguments, calls, identity, layers, memory, modes, state, values
from traps.table import TRAPS, Trap

__all__ = [
    "TRAPS",
    "Trap",
    "arguments",
    "calls",
    "identity",
    "layers",
    "memory",
    "modes",
    "state",
    "values",
]
