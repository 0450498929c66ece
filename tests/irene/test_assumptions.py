"""What a trace took for granted, as people read it."""

from __future__ import annotations

from irene.assumptions import assumed
from irene.tree import Assumption, Location

MODEL, LAYERS = "/models/net.py", "/models/layers.py"
EVEN, MASKS = (
    "tokens spread evenly over the experts",
    "no padding: every attention mask is all ones",
)


def test_a_sentence_stands_once_with_the_lines_that_asked() -> None:
    found = assumed(
        [
            Assumption(EVEN, Location(MODEL, 104)),
            Assumption(MASKS, None),
            Assumption(EVEN, Location(MODEL, 122)),
            Assumption(EVEN, Location(MODEL, 104)),
        ],
        MODEL,
    )
    assert found == (f"{EVEN} (lines 104, 122)", MASKS)


def test_lines_of_other_files_have_their_names() -> None:
    asked = [Assumption(EVEN, Location(LAYERS, 7)), Assumption(EVEN, Location(MODEL, 104))]
    assert assumed(asked, MODEL) == (f"{EVEN} (line 104, layers.py:7)",)
    assert assumed(asked, "") == (f"{EVEN} (layers.py:7, net.py:104)",)
