"""The attention kernel that was asked for, where a model can choose."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

from irene.tree import Assumption

if TYPE_CHECKING:
    import torch


class Attention:
    """The attention kernel that was asked for, set on a Transformers config."""

    def __init__(self, wanted: str | None) -> None:
        self._wanted = wanted
        self.assumptions: tuple[Assumption, ...] = ()

    def build(
        self, config: object | None, construct: Callable[[], torch.nn.Module]
    ) -> torch.nn.Module:
        """The model with the kernel that was asked for; with its eager products if it has no other."""
        self._choose(config)
        try:
            return construct()
        except ValueError as err:
            if config is None or self._wanted is None or _NOT_SUPPORTED not in str(err):
                raise
            self._assume(f"the model has no {self._wanted} attention: priced as eager")
            config._attn_implementation = "eager"  # type: ignore[attr-defined] # Transformers' own name
            return construct()

    def _choose(self, config: object | None) -> None:
        """Set it before the constructor reads it."""
        wanted = self._wanted
        if wanted is None:
            return
        if config is None:
            self._assume(
                f"attention {wanted} has no effect: the class takes no Transformers config"
            )
            return
        if wanted.startswith("flash_attention") and not _has_flash_attention():
            self._assume(f"{wanted} is not installed here: priced as the fused kernel of sdpa")
            wanted = "sdpa"
        config._attn_implementation = wanted  # type: ignore[attr-defined] # Transformers' own name

    def _assume(self, text: str) -> None:
        self.assumptions = (Assumption(text, None),)


_NOT_SUPPORTED = "does not support an attention implementation"
"""As Transformers says that a class lacks the kernel."""


def _has_flash_attention() -> bool:
    return importlib.util.find_spec("flash_attn") is not None
