"""The refusals for requests that ended without an answer of their own.

The worker's parent process and the runner both see processes end; what a person reads
is the same, whoever saw it.
"""

from __future__ import annotations

import signal
import sys

from irene.units import format_bytes
from irene.worker.protocol import EnvironmentRequest, ProfileRequest, Refusal, Request


def cancelled() -> Refusal:
    """The answer to a request that nobody waits for."""
    return Refusal("cancelled", "It was cancelled.", None, "Ask again to start anew.")


def timed_out(limit_s: float, where: str = "", line: int | None = None) -> Refusal:
    """The request did not end; `where` is how the sentence goes on, `line` is in the document."""
    return Refusal(
        kind="timeout",
        message=f"It did not finish within {limit_s:g} s{where}.",
        line=line,
        advice="Look for an endless loop, or for work that belongs elsewhere (downloads, reading "
        "data), in what runs when the file is imported, in the constructor and in forward.",
    )


def died(request: Request, status: int, elapsed_s: float, limit_s: float | None) -> Refusal:
    """The process ended; `status` is its exit code, negative for a signal, as in `subprocess`."""
    if limit_s is not None and elapsed_s >= limit_s:
        return timed_out(limit_s)
    if status == -_SIGKILL:
        return _killed(request)
    if status < 0:
        return Refusal(
            kind="crash",
            message=f"The model's code crashed the process: {signal_name(-status)}.",
            line=None,
            advice="IrEne's log has the stack; so has a run in a terminal with "
            "`python -X faulthandler`.",
        )
    return Refusal(
        kind="crash",
        message=f"The model's code ended the process with exit code {status} (os._exit).",
        line=None,
        advice="Remove the call that ends the process from what runs when the file is imported, "
        "the model is built or called.",
    )


def worker_died(status: int) -> Refusal:
    """The process that starts the others ended, which no model can make it do."""
    how = signal_name(-status) if status < 0 else f"exit code {status}"
    return Refusal(
        kind="crash",
        message=f"The process that builds models ended unexpectedly ({how}).",
        line=None,
        advice="It is started again with the next request; IrEne's log has its last words.",
    )


def asked_to_exit(code: object) -> Refusal:
    """The model's code raised `SystemExit`, as `sys.exit` does."""
    return Refusal(
        kind="crash",
        message=f"The model's code asked Python to exit (sys.exit({code!r})).",
        line=None,
        advice="Move a script's own work below `if __name__ == '__main__':`.",
    )


def out_of_memory(
    request: Request, needed_bytes: int | None = None, available_bytes: int | None = None
) -> Refusal:
    """A real run needs more memory than there is; the figures where they are known."""
    message = "There is not enough memory to run this model for real"
    if needed_bytes is not None and available_bytes is not None:
        message += (
            f": its parameters alone take {format_bytes(needed_bytes)}, "
            f"{format_bytes(available_bytes)} are free"
        )
        advice = "Try a smaller data type, a smaller model, or a machine with more memory."
    else:
        advice = _smaller(request)
    return Refusal("memory", f"{message}.", None, advice)


def no_torch(why: str) -> Refusal:
    """The interpreter that this runs in cannot import torch; `why` begins the sentence."""
    return Refusal(
        kind="no-torch",
        message=f"{why} in {sys.executable} (Python {sys.version.split()[0]}).",
        line=None,
        advice="Choose the interpreter that your models run in (irene.interpreter in the editor, "
        "--python on the command line), or install torch in this one.",
    )


def internal(last_line: str) -> Refusal:
    """A fault of ours; `last_line` is that of its traceback."""
    return Refusal(
        kind="internal",
        message=f"IrEne failed: {last_line}",
        line=None,
        advice="The traceback is in IrEne's log; please report it together with the model.",
    )


def signal_name(number: int) -> str:
    """`11 -> "SIGSEGV"`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_SIGKILL = 9  # `signal.SIGKILL` is not there on Windows


def _killed(request: Request) -> Refusal:
    is_real_run = isinstance(request, ProfileRequest)
    return Refusal(
        kind="memory" if is_real_run else "crash",
        message="The process was killed from outside (SIGKILL); the system does so when memory "
        "runs out.",
        line=None,
        advice=_smaller(request) if is_real_run else "Look at the memory that is free.",
    )


def _smaller(request: Request) -> str:
    if isinstance(request, EnvironmentRequest) or request.build.batch_size < 2:
        return "Try a shorter sequence, a smaller data type or a smaller model."
    batch_size = request.build.batch_size
    return f"Try batch size {batch_size // 2} instead of {batch_size}."
