"""How soon the server answers, and how soon the first hints of an example stand.

Cold: a new server and a new worker, which imports torch. Warm: a second document in the same
server. The baselines are the least that could be done, measured in turn in the same run.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lsprotocol import types
from pygls.lsp.client import LanguageClient
from pygls.uris import from_fs_path
from reporting import HEADER, against, print_table

ROOT = Path(__file__).parents[1]
START = ROOT / "extension" / "start_server.py"
EXAMPLE = ROOT / "examples" / "gpt.py"
N_RUNS = 5


def main() -> int:
    """Print the table."""
    initialize, cold, warm, pygls, torch = [], [], [], [], []
    for _ in range(N_RUNS):
        pygls.append(_run("import pygls.lsp.server"))
        torch.append(_run("import torch"))
        times_s = asyncio.run(_session())
        for times, time_s in zip((initialize, cold, warm), times_s, strict=True):
            times.append(time_s)
    rows = [
        against("initialize answered", initialize, "import pygls", pygls),
        against("first hints, cold (from the server's start)", cold, "import torch", torch),
        against("first hints, warm", warm, "import torch", torch),
    ]
    print_table(HEADER, rows)
    return 0


def _run(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    return time.perf_counter() - start


async def _session() -> tuple[float, float, float]:
    """Seconds to `initialize`, to the first hints, and to those of a second document."""
    client = LanguageClient("benchmark", "1")

    @client.feature("irene/status")
    def status(_params: object) -> None:
        return

    @client.feature(types.WORKSPACE_CONFIGURATION)
    def configuration(params: types.ConfigurationParams) -> list[object]:
        return [{"device": "A100-SXM4-80GB"} for _ in params.items]

    start = time.perf_counter()
    await client.start_io(sys.executable, "-I", str(START), cwd=str(ROOT / "extension"))
    await client.initialize_async(
        types.InitializeParams(
            types.ClientCapabilities(
                workspace=types.WorkspaceClientCapabilities(configuration=True),
                text_document=types.TextDocumentClientCapabilities(
                    code_lens=types.CodeLensClientCapabilities(),
                    inlay_hint=types.InlayHintClientCapabilities(),
                ),
            ),
            initialization_options={
                "interpreter": {"path": sys.executable, "trusted": True, "source": "benchmark"}
            },
        )
    )
    initialized = time.perf_counter()
    client.initialized(types.InitializedParams())
    text = EXAMPLE.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        await _hints(client, Path(folder) / "cold.py", text)
        cold = time.perf_counter()
        await _hints(client, Path(folder) / "warm.py", text.replace("n_layers=6", "n_layers=7"))
        warm = time.perf_counter()
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()
    return initialized - start, cold - start, warm - cold


async def _hints(client: LanguageClient, path: Path, text: str) -> None:
    uri = from_fs_path(str(path)) or ""
    item = types.TextDocumentItem(uri, "python", 1, text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(item))
    everything = types.Range(types.Position(0, 0), types.Position(9999, 0))
    params = types.InlayHintParams(types.TextDocumentIdentifier(uri), everything)
    while not await client.text_document_inlay_hint_async(params):
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
