"""Trees beside torch's own count: both in one process, in turn, in thread CPU time.

First: nothing remembered of any operation. Later: the same model again. The least time of a
figure is what the machine's other work disturbs least; medians stand beside it.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from reporting import print_table
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from irene.worker.meta import MEMO
from irene.worker.tracing import forget, trace_module

N_RUNS = 15


def main() -> int:
    """Print the table."""
    warnings.simplefilter("ignore")
    cases = [
        ("BERT-base 8 x 128", BertModel, BertConfig(), (8, 128)),
        ("Llama-7B 1 x 512", LlamaModel, LlamaConfig(), (1, 512)),
    ]
    rows = []
    for name, model_class, config, shape in cases:
        with torch.device("meta"):
            model = model_class(config).eval()
            tokens = torch.zeros(shape, dtype=torch.long)
        first, later, counted = _in_turn(model, tokens)
        rows += [
            _row(f"{name}, first", first, counted),
            _row(f"{name}, later", later, counted),
        ]
    header = ("tree", "least", "median", "FlopCounterMode", "median", "times", "by medians")
    print_table(header, rows)
    return 0


def _in_turn(model: torch.nn.Module, tokens: torch.Tensor) -> tuple[list[float], ...]:
    """Times of a first tree, of a later one, and of torch's count, in s."""

    def tree() -> None:
        trace_module(model, (tokens,))

    def count() -> None:
        with FlopCounterMode(display=False), torch.no_grad():
            model(tokens)

    tree()
    count()
    first, later, counted = [], [], []
    for _ in range(N_RUNS):
        forget()
        first.append(_time_s(tree))
        later.append(_time_s(tree))
        counted.append(_time_s(count))
    assert len(MEMO.entries) > 0
    return first, later, counted


def _time_s(run: Callable[[], None]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def _row(name: str, times_s: list[float], counted_s: list[float]) -> tuple[str, ...]:
    least, median = min(times_s), statistics.median(times_s)
    counted_least, counted_median = min(counted_s), statistics.median(counted_s)
    return (
        name,
        f"{1e3 * least:.1f} ms",
        f"{1e3 * median:.1f} ms",
        f"{1e3 * counted_least:.1f} ms",
        f"{1e3 * counted_median:.1f} ms",
        f"{counted_least / least:.1f}",
        f"{counted_median / median:.1f}",
    )


if __name__ == "__main__":
    sys.exit(main())
