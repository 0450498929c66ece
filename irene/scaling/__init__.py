"""Costs as functions of batch and length: a few traces of a model -> its trace at any size.

    scaled = scale(tracer, batches=range(1, 65), lengths=range(2, 2049))
    trace = scaled.at(16, 1000)  # None where a size must be traced

What it gives equals a fresh trace to the last FLOP and byte, or is None (see `ScaledTrace`).
"""

from __future__ import annotations

from irene.scaling.scaled import Gap, Piece, ScaledTrace
from irene.scaling.surveying import Tracer, scale

__all__ = ["Gap", "Piece", "ScaledTrace", "Tracer", "scale"]
