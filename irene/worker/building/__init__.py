"""The model of a `BuildSpec`: class, arguments, dtype and inputs, on meta tensors or for real."""

from __future__ import annotations

from irene.worker.building.building import BuiltModel, build, with_mended_inputs
from irene.worker.building.construction import construct

__all__ = ["BuiltModel", "build", "construct", "with_mended_inputs"]
