"""Runs torch operations on meta tensors, whatever device the code asks for.

Below everything that a model does lies one dispatch mode. It keeps tensors on meta, answers
questions about values that are known, and tells an observer what a device would run.

It wants `torch.inference_mode()` around it: there composite operations arrive whole, so that
attention, linear and recurrent layers are seen as the kernels that a device runs, not as what
meta decomposes them into.
"""

from __future__ import annotations

from irene.worker.meta.devices import accelerators_on_meta
from irene.worker.meta.dispatch import stay_on_meta
from irene.worker.meta.memo import MEMO
from irene.worker.meta.operators import NoMetaKernel, Operator, ValueQuestion, asks_for_values
from irene.worker.meta.parts import ModelParts, is_lazy, parts_of
from irene.worker.meta.running import left_as_it_was, run_on_meta
from irene.worker.meta.tensors import tensors_in, to_meta
from irene.worker.meta.weights import Weights

__all__ = [
    "MEMO",
    "ModelParts",
    "NoMetaKernel",
    "Operator",
    "ValueQuestion",
    "Weights",
    "accelerators_on_meta",
    "asks_for_values",
    "is_lazy",
    "left_as_it_was",
    "parts_of",
    "run_on_meta",
    "stay_on_meta",
    "tensors_in",
    "to_meta",
]
