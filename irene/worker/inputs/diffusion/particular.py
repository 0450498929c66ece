"""Inputs of single diffusion models that no general rule finds, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping

from irene.worker.inputs.context import Context, ParticularRule
from irene.worker.inputs.plans import Placeholder

RULES: Mapping[tuple[str, str], ParticularRule] = {
}
