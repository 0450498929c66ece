"""The worker's process: requests in, answers out, the user's code kept apart from both.

The runner starts it in the user's interpreter and warms nothing of its own: torch is
imported here once. Where the system can fork, each request runs in a child of this
process (`forking`), so that nothing that user code does outlives its request; elsewhere
the process serves one request itself (`alone`) and the runner keeps a spare one ready.
"""

from __future__ import annotations

import logging
import os
import platform
import sys

from irene.worker import protocol
from irene.worker.main import alone, forking, serving

FORK_SWITCH = "IRENE_WORKER_FORK"
"""Environment variable; `0` serves one request per process also where the system can fork."""

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def main() -> None:
    """Serve requests until standard input ends."""
    requests_fd, answers_fd = _take_streams()
    _log_to_stderr()
    _stay_offline()
    forks = hasattr(os, "fork") and os.environ.get(FORK_SWITCH) != "0"
    ready = protocol.Ready(python=platform.python_version(), forks=forks)
    serving.write_line(answers_fd, protocol.encode_answer(0, ready))
    serving.warm_up()
    serve = forking.serve if forks else alone.serve
    serve(requests_fd, answers_fd)


def _take_streams() -> tuple[int, int]:
    """Private descriptors for requests and answers; user code is left with others.

    What it prints goes to standard error, and reading standard input finds its end.
    """
    requests_fd, answers_fd = os.dup(0), os.dup(1)
    nothing_fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing_fd, 0)
    os.close(nothing_fd)
    os.dup2(2, 1)
    sys.argv[:] = ["irene"]  # a script that parses arguments when imported finds none
    return requests_fd, answers_fd


def _log_to_stderr() -> None:
    """Ours alone: how the user's code logs is its own affair."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    log = logging.getLogger("irene")
    log.addHandler(handler)
    log.propagate = False


def _stay_offline() -> None:
    """A model is built from its config with random weights: nothing is fetched, ever."""
    for name in _OFFLINE:
        os.environ[name] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # warns in every forked child
