"""Example inputs of forward: from expressions, its signature, a config, or the first layer."""

from __future__ import annotations

from irene.worker.inputs.plans import Inputs, Placeholder
from irene.worker.inputs.search import find_inputs, mend_inputs

__all__ = ["Inputs", "Placeholder", "find_inputs", "mend_inputs"]
