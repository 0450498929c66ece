"""Trees beside torch's own count: both in one process, in turn, in thread CPU time.

First: nothing remembered of any operation. Later: the same model again. The least time of a
figure is what the machine's other work disturbs least; medians stand beside it. Then the median
of the ratios over the architectures that `scaling.py` takes, whole and 2 x 64, and a scan written as a
Python loop beside the same forward pass alone.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable

import torch
from reporting import print_table
from scaling import CHOICE, spec
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CONFIG_MAPPING,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaModel,
    MambaConfig,
    MambaModel,
)

from irene.worker.building import build
from irene.worker.meta import MEMO
from irene.worker.tracing import forget, trace_module

N_RUNS = 15
N_RUNS_EACH = 3  # of each architecture


def main() -> int:
    """Print the table."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    cases = [
        ("BERT-base 8 x 128", BertModel, BertConfig(), (8, 128)),
        ("Llama-7B 1 x 512", LlamaModel, LlamaConfig(), (1, 512)),
    ]
    rows = []
    for name, model_class, config, shape in cases:
        with torch.device("meta"):
            model = model_class(config).eval()
            tokens = torch.zeros(shape, dtype=torch.long)
        first, later, counted = _in_turn(model, (tokens,), {}, N_RUNS)
        rows += [
            _row(f"{name}, first", first, counted),
            _row(f"{name}, later", later, counted),
        ]
    header = ("tree", "least", "median", "FlopCounterMode", "median", "times", "by medians")
    print_table(header, rows)
    _print_medians()
    _print_scan()
    return 0


def _print_medians() -> None:
    ratios = []
    for name in CHOICE:
        try:
            with tempfile.TemporaryDirectory() as folder:
                CONFIG_MAPPING[name]().save_pretrained(folder)
                built = build(spec(folder, 2, 64), on_meta=True)
            args, kwargs = built.inputs(on_meta=True)
            kwargs.pop("attention_mask", None)  # the counter has no values of one
            first, later, counted = _in_turn(built.model, args, kwargs, N_RUNS_EACH)
        except Exception:  # noqa: BLE001 - torch's counter does not run on every model
            continue
        ratios.append((min(counted) / min(first), min(counted) / min(later)))
    first_median, later_median = (statistics.median(it) for it in zip(*ratios, strict=True))
    print(
        f"median of {len(ratios)} architectures: first {first_median:.1f}, later {later_median:.1f}"
    )


def _print_scan() -> None:
    with torch.device("meta"):
        model = MambaModel(MambaConfig()).eval()
        tokens = torch.zeros((1, 512), dtype=torch.long)

    def plain() -> None:
        with torch.inference_mode():
            model(tokens)

    def tree() -> None:
        trace_module(model, (tokens,))

    plain_s, tree_s = [], []
    for _ in range(N_RUNS_EACH):
        plain_s.append(_time_s(plain))
        tree_s.append(_time_s(tree))
    print(
        f"Mamba 1 x 512, a scan in Python: tree {min(tree_s):.2f} s, "
        f"forward pass on meta alone {min(plain_s):.2f} s"
    )


def _in_turn(
    model: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, object], n_runs: int
) -> tuple[list[float], ...]:
    """Times of a first tree, of a later one, and of torch's count, in s."""

    def tree() -> None:
        trace_module(model, args, kwargs)

    def count() -> None:
        with FlopCounterMode(display=False), torch.no_grad():
            model(*args, **kwargs)

    tree()
    count()
    first, later, counted = [], [], []
    for _ in range(n_runs):
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
