"""Questions about values that are answered by a convention, because the answer is safe.

A convention is one function of a library that asks, what it is told, and what that assumes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


@dataclass(frozen=True, slots=True)
class Convention:
    """What the asking function is told, and the assumption that a person reads."""

    answer: bool
    assumption: str


_NO_PADDING = "no padding: no input has pad tokens"
_CHECKS = "checks of values pass"
_TO_THE_END = "upper bound: decoded to the greatest length"
_ASKING: tuple[tuple[str, str, Convention], ...] = (
    # (module or package, function; "" for any, convention)
    ("transformers", "warn_if_padding_and_no_attention_mask", Convention(False, _NO_PADDING)),
    ("transformers", "torch_compilable_check", Convention(True, _CHECKS)),
    # A mask of ones lets the kernel do without one, and no sequences share a row.
    ("transformers.masking_utils", "", Convention(True, _NO_PADDING)),
    ("torch.distributions", "__init__", Convention(True, _CHECKS)),
    # Pairs of images that match early leave the loop over the layers.
    (
        "transformers.models.lightglue.modeling_lightglue",
        "_match_image_pair",
        Convention(False, "upper bound: no pair of images stops early"),
    ),
    ("transformers.models.slanet.modeling_slanet", "forward", Convention(False, _TO_THE_END)),
    ("transformers.models.slanext.modeling_slanext", "forward", Convention(False, _TO_THE_END)),
)
_NEAREST_FRAMES = 3  # of libraries: a question is asked in the function itself, or for it


def convention_here() -> Convention | None:
    """The convention for whoever asks right now; None where no function is known to ask."""
    for frame in _askers(sys._getframe(1)):
        module, function = str(frame.f_globals.get("__name__", "")), frame.f_code.co_name
        for place, name, convention in _ASKING:
            if name in ("", function) and f"{module}.".startswith(f"{place}."):
                return convention
    return None


def _askers(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the question, innermost first, without ours and the insides of torch."""
    n_found = 0
    while frame is not None and n_found < _NEAREST_FRAMES:
        module = str(frame.f_globals.get("__name__", ""))
        is_inside = module.startswith(("irene.", "torch.")) or module == "torch"
        if not is_inside or module.startswith("torch.distributions"):
            n_found += 1
            yield frame
        frame = frame.f_back
