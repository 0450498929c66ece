"""`npm start -- --no-open` a second time, beside the estimate that it prints."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from reporting import HEADER, against, print_table

ROOT = Path(__file__).parents[1]
N_RUNS = 5


def main() -> int:
    """Print the table; the first start, which installs, is not counted."""
    npm = shutil.which("npm") or "npm"
    start = [npm, "start", "--", "--no-open"]
    annotate = [sys.executable, "-m", "irene.cli", "annotate", str(ROOT / "examples" / "gpt.py"),
                "--python", sys.executable]  # fmt: skip
    _run(start)
    pairs = [(_run(start), _run(annotate)) for _ in range(N_RUNS)]
    row = against("npm start -- --no-open, again", [it[0] for it in pairs],
                  "irene annotate", [it[1] for it in pairs])  # fmt: skip
    print_table(HEADER, [row])
    return 0


def _run(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
