"""A model at every batch and length: pieces with laws, and gaps with reasons."""

from __future__ import annotations

from dataclasses import dataclass

from irene.scaling.laws import Laws
from irene.tree import Trace


@dataclass(frozen=True, slots=True)
class Piece:
    """Sizes at which a model runs the same operations, and the laws of their costs there."""

    batches: range
    lengths: range
    laws: Laws


@dataclass(frozen=True, slots=True)
class Gap:
    """Sizes of which those in no piece must be traced, and why no law covers them."""

    batches: range
    lengths: range
    reason: str


@dataclass(frozen=True, slots=True)
class ScaledTrace:
    """The traces of one model over batches and lengths, as functions."""

    pieces: tuple[Piece, ...]
    gaps: tuple[Gap, ...]
    n_traces: int  # that were made to know it

    def at(self, batch: int, length: int) -> Trace | None:
        """What a trace at this size would give; None where one must be made (see `gaps`)."""
        for piece in self.pieces:
            if batch in piece.batches and length in piece.lengths:
                return piece.laws.at((batch, length))
        return None
