"""Matrix FLOPs against closed forms, to the last digit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from reporting import print_table

EXAMPLE = Path(__file__).parents[1] / "examples" / "gpt.py"
B, S, H, F, L = 8, 128, 768, 3072, 12
MATRIX = {"linear", "matmul", "attention", "conv1d", "conv2d", "conv3d", "recurrent"}


def main() -> int:
    """Exit code 1 where a count differs."""
    import transformers

    models = Path(transformers.__file__).parent / "models"
    per_layer = 4 * B * S * H**2 + 2 * B * S * H * F + 2 * B * S**2 * H
    width, vocabulary = 512, 50257
    cases = [
        ("BERT-base 8 x 128", f"{models}/bert/modeling_bert.py:BertModel",
         2 * (L * per_layer + B * H**2)),
        ("GPT-2 8 x 128", f"{models}/gpt2/modeling_gpt2.py:GPT2Model",
         2 * L * (12 * B * S * H**2 + 2 * B * S**2 * H)),
        ("examples/gpt.py 8 x 128", f"{EXAMPLE}:GPT",
         2 * (6 * (12 * B * S * width**2 + 2 * B * S**2 * width) + B * S * width * vocabulary)),
    ]  # fmt: skip
    rows = [(name, _counted(place), expected) for name, place, expected in cases]
    print_table(
        ("model", "counted FLOP", "closed form FLOP", "equal"),
        [(name, f"{n:,}", f"{expected:,}", str(n == expected)) for name, n, expected in rows],
    )
    return 0 if all(n == expected for _, n, expected in rows) else 1


def _counted(place: str) -> int:
    command = [sys.executable, "-m", "irene.cli", "estimate", place, "--python", sys.executable]
    options = ["--json", "--device", "A100-SXM4-80GB"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    return _matrix_flops(json.loads(done.stdout)["tree"])


def _matrix_flops(node: dict[str, object]) -> int:
    if node["primitive"] in MATRIX:
        return int(str(node["flops"]))
    children = node["children"]
    assert isinstance(children, list)
    return sum(it["count"] * _matrix_flops(it) for it in children)


if __name__ == "__main__":
    sys.exit(main())
