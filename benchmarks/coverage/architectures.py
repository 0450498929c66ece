"""Which architectures of a library are traced from their default config -> docs/coverage*.md.

Each entry of `CONFIG_MAPPING` of Transformers, each model class of diffusers, is written as a
config.json and traced as `irene estimate --hf-config` would, in a process of its own. Its
matrix FLOPs are compared with those that torch's FlopCounterMode counts on the same module and
inputs, and its tree with that of a process which remembers nothing.

    python benchmarks/coverage/architectures.py           # all that results lack; then the table
    python benchmarks/coverage/architectures.py bert vit  # these alone, printed, nothing is written
    python benchmarks/coverage/architectures.py --library diffusers
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from children import measure
from counting import row_of
from libraries import LIBRARIES
from rows import read_rows
from tables import line_of, summary, table

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Exit code 1 where FLOPs differ from the counter's, or a sum is wrong."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures; all where none is given")
    parser.add_argument("--library", choices=LIBRARIES, default="transformers")
    parser.add_argument("--results", type=Path, help="default: build/<page>.jsonl")
    parser.add_argument("--table", type=Path, help="default: docs/<page>.md")
    parser.add_argument("--no-flops", action="store_true", help="do not run FlopCounterMode")
    parser.add_argument("--fresh", action="store_true", help="measure again what is in results")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    library = LIBRARIES[asked.library]
    results = asked.results or (ROOT / "build" / library.page).with_suffix(".jsonl")
    torch.set_num_threads(1)

    rows = {} if asked.fresh else read_rows(results)
    missing = [it for it in library.names() if it not in rows]
    results.parent.mkdir(exist_ok=True)
    one = partial(row_of, library, with_flops=not asked.no_flops)
    for row in measure(asked.names or missing, one, asked.processes):
        rows[row.name] = row
        print(line_of(row), flush=True)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
    print(summary(list(rows.values())))
    if not asked.names:
        page = asked.table or ROOT / "docs" / library.page
        page.write_text(table(library.name, list(rows.values())), encoding="utf-8")
    return 1 if any(it.is_wrong for it in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
