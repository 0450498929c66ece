"""What a node costs: energy with its interval, time, what bounds it, and of which kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from irene.tree import Node

ValueKind = Literal["modelled", "predicted", "profiled", "measured"]
"""modelled: physics and data sheets, nothing run; predicted: fitted to measurements of that
device, nothing run; profiled: time measured here, power modelled; measured: from a meter."""

Bound = Literal["compute", "memory", "launch", "step"]
"""launch: starting kernels; step: a recurrent layer's steps, which wait for one another."""

BOUNDS: tuple[Bound, ...] = get_args(Bound)


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy and time of one call; `low_j` to `high_j` is the 90 % interval."""

    joules: float
    low_j: float
    high_j: float
    seconds: float


@dataclass(frozen=True, slots=True)
class PricedNode:
    """A node with its price; children times counts add up to the node."""

    node: Node
    energy: Energy  # of one call
    kind: ValueKind
    bound: Bound
    children: tuple[PricedNode, ...]


def outermost(
    root: PricedNode, wanted: Callable[[PricedNode], bool]
) -> Iterator[tuple[PricedNode, int]]:
    """The highest nodes that are `wanted`, each with its calls per call of `root`.

    Nothing below a wanted node is visited, so that no energy is counted twice.
    """
    pending = [(root, 1)]
    while pending:
        priced, calls = pending.pop()
        if wanted(priced):
            yield priced, calls
        else:
            pending.extend((child, calls * child.node.count) for child in reversed(priced.children))
