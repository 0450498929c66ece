"""One forward pass on meta tensors -> Trace: the tree of everything that a device would run."""

from __future__ import annotations

from irene.worker.tracing.sample import trace_sample
from irene.worker.tracing.tracing import forget, trace, trace_built, trace_module

__all__ = ["forget", "trace", "trace_built", "trace_module", "trace_sample"]
