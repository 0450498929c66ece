"""Traces of traps from processes that have traced nothing before, as JSON lines.

python -m traps.cold BATCH ... -> one line for each trap and batch: [name, batch, outcome]
"""

from __future__ import annotations

import json
import os
import random
import sys
import warnings

import torch

from irene.tree import trace_to_json
from irene.worker.refusals import Refused
from irene.worker.tracing import trace_module, trace_sample
from traps import TRAPS, Trap


def outcome_of(trap: Trap, batch: int, model: torch.nn.Module) -> object:
    """The trace as JSON, or why there is none."""
    begin_anew()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = trace_to_json(trace_module(model, trap.make_inputs(batch)))
    except Refused as refused:
        return [refused.refusal.kind, refused.refusal.message]
    del found["transformers_version"]  # whether another test loaded it
    return found


def begin_anew() -> None:
    """Random numbers come again."""
    torch.manual_seed(0)
    random.seed(0)


def _print_outcome(trap: Trap, batch: int) -> None:
    line = json.dumps([trap.name, batch, outcome_of(trap, batch, trap.make_model())])
    print(line, flush=True)  # noqa: T201 - its output is for the test


def _main(batches: list[int]) -> None:
    torch.set_num_threads(1)
    trace_sample()  # imports what a first trace imports
    for trap in TRAPS.values():
        for batch in batches:
            if not hasattr(os, "fork"):
                _print_outcome(trap, batch)
                continue
            child = os.fork()
            if child == 0:
                try:
                    _print_outcome(trap, batch)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    _main([int(it) for it in sys.argv[1:]])
