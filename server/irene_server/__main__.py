"""`irene-server`: speaks LSP on standard input and output until the client goes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib import metadata
from typing import BinaryIO


def main() -> None:
    """Runs the server; only the protocol ever reaches the real standard output."""
    parser = argparse.ArgumentParser(prog="irene-server", description=__doc__)
    parser.add_argument("--stdio", action="store_true", help="the only transport; may be left out")
    parser.add_argument("--version", action="version", version=metadata.version("irene-energy"))
    parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("pygls").setLevel(logging.ERROR)  # it warns of each late cancellation
    protocol_output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _serve(protocol_output)


def _serve(protocol_output: BinaryIO) -> None:
    from irene_server.app.handlers import server  # noqa: PLC0415 - after logging is set up

    server.start_io(stdout=protocol_output)


if __name__ == "__main__":
    main()
