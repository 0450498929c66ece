"""The command `irene`: estimate, annotate, profile, devices, doctor, and the training room's.

This folder is the only place of the library that writes to the terminal. Results go to
standard output, everything about how they came about to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from irene.cli import annotate as annotate
from irene.cli import devices as devices
from irene.cli import doctor as doctor
from irene.cli import estimate as estimate
from irene.cli import predictors as predictors
from irene.cli import profiling as profiling
from irene.cli import training as training
from irene.cli.arguments import Asked, UsageError, parse
from irene.cli.console import complain
from irene.errors import IreneError
from irene.training.arguments import TRAINING_COMMANDS

FINE, REFUSED, USAGE, CANCELLED = 0, 1, 2, 130

_COMMANDS: dict[str, Callable[[Asked], bool]] = {
    "estimate": estimate.run,
    "annotate": annotate.run,
    "profile": profiling.run,
    "devices": devices.run,
    "predictors": predictors.run,
    "doctor": doctor.run,
    **dict.fromkeys(TRAINING_COMMANDS, training.run),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 fine, 1 no estimate, 2 the command line is wrong, 130 cancelled."""
    _write_any_character()
    asked = parse(sys.argv[1:] if argv is None else argv)
    try:
        is_fine = _COMMANDS[asked.command](asked)
        sys.stdout.flush()
    except UsageError as err:
        complain(str(err))
        return USAGE
    except IreneError as err:
        complain(str(err))
        return REFUSED
    except KeyboardInterrupt:
        complain("cancelled")
        return CANCELLED
    except BrokenPipeError:  # `irene annotate FILE | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    return FINE if is_fine else REFUSED


def _write_any_character() -> None:
    """A terminal or pipe with a small character set gets a question mark, not an exception."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
