"""From an edited text to its new tree, through the worker, as an editor asks for it.

Each edit is a width that was not seen before, typed a moment after the last. The baseline is what a worker takes to answer a
question that needs no model, in turn with the edits.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from reporting import print_table

from irene.runner import Worker
from irene.tree import Trace
from irene.worker.protocol import BuildSpec, EnvironmentRequest, Request, TraceRequest

ROOT = Path(__file__).parents[1]
N_EDITS = 50
N_FIRST = 5  # the parent imports, and learns
BETWEEN_KEYS_S = 0.1


def main() -> int:
    """Print the table."""
    found = find_spec("transformers")
    assert found is not None
    assert found.origin is not None
    bert = Path(found.origin).parent / "models" / "bert" / "modeling_bert.py"
    cases = [
        ("examples/gpt.py", ROOT / "examples" / "gpt.py", "GPT", "4 * width", "{} * width"),
        ("modeling_bert.py", bert, "BertModel", "config.intermediate_size",
         "({} + config.intermediate_size)"),
    ]  # fmt: skip
    rows = []
    for name, path, class_name, old, new in cases:
        edits, baseline = asyncio.run(_edited(path, class_name, old, new))
        rows.append(_row(name, edits, baseline))
    header = ("edit to tree", "p50", "p95", "question", "p50", "ratio")
    print_table(header, rows)
    return 0


async def _edited(
    path: Path, class_name: str, old: str, new: str
) -> tuple[list[float], list[float]]:
    """Times of edits and of questions, in s."""
    text = path.read_text("utf-8")
    assert old in text
    worker = Worker(sys.executable)
    edits, questions = [], []
    try:
        for i in range(N_EDITS + N_FIRST):
            edited = text.replace(old, new.format(5 + i))
            edits.append(await _time_s(worker, TraceRequest(_spec(path, edited, class_name))))
            questions.append(await _time_s(worker, EnvironmentRequest()))
    finally:
        await worker.close()
    return edits[N_FIRST:], questions[N_FIRST:]


async def _time_s(worker: Worker, request: Request) -> float:
    await asyncio.sleep(BETWEEN_KEYS_S)
    start = time.perf_counter()
    answer = await worker.run(request, limit_s=60.0)
    assert isinstance(answer, Trace) or not isinstance(request, TraceRequest), answer
    return time.perf_counter() - start


def _spec(path: Path, text: str, class_name: str) -> BuildSpec:
    return BuildSpec(
        path=str(path),
        text=text,
        class_name=class_name,
        search_paths=(),
        arguments=None,
        inputs=(),
        config_dir=None,
        batch_size=8,
        sequence_length=128,
        dtype=None,
        attention=None,
    )


def _row(name: str, edits_s: list[float], questions_s: list[float]) -> tuple[str, ...]:
    p50, baseline = statistics.median(edits_s), statistics.median(questions_s)
    p95 = statistics.quantiles(edits_s, n=20)[-1]
    return (
        name,
        f"{1e3 * p50:.0f} ms",
        f"{1e3 * p95:.0f} ms",
        "environment",
        f"{1e3 * baseline:.0f} ms",
        f"{p50 / baseline:.2f}",
    )


if __name__ == "__main__":
    sys.exit(main())
