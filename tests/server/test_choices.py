"""What a session offers and says, without an editor on the other side."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from irene.cache import FOLDER_VARIABLE
from irene.errors import TargetError
from irene.estimation import OnProgress
from irene_server.analysis import Snapshot
from irene_server.app.dialect import Said
from irene_server.messages import InterpreterParams
from irene_server.session import Session

TEXT = """from torch import nn
class Part(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc = nn.Linear(width, width)
    def forward(self, x): return self.fc(x)
class Net(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.part = Part(width)
    def forward(self, x): return self.part(x)
class Alone(nn.Module):
    def __init__(self, size: int):
        super().__init__()
    def forward(self, x): return x
"""


class Silent:
    """An editor that sets nothing and shows nothing."""

    def say(self, sentence: str) -> None: ...

    async def configuration(self, uris: Sequence[str]) -> list[object]:
        return [None for _ in uris]

    @asynccontextmanager
    async def progress(
        self, title: str, on_cancel: Callable[[], object] | None = None
    ) -> AsyncIterator[OnProgress]:
        yield lambda _: None


def snapshot(text: str = TEXT) -> Snapshot:
    return Snapshot("file:///net.py", "/nowhere/net.py", text, 1)


async def test_a_class_that_only_others_can_build_is_no_target() -> None:
    """Another that lacks arguments is one, and says which; a comment makes both buildable."""
    found = await Session(Silent()).targets(snapshot())
    assert [(it.class_name, it.detail) for it in found] == [
        ("Net", "defaults · defaults of the constructor"),
        ("Alone", "needs size: give it in an irene comment above the class"),
    ]
    described = TEXT.replace("class Part", "# irene: Part(4)\nclass Part")
    first, *_ = await Session(Silent()).targets(snapshot(described))
    assert (first.class_name, first.detail) == ("Part", "4 · comment, line 2")


@pytest.mark.parametrize(
    "parameter", ["config", "config: NetConfig", "args: 'ModelArgs'", "conf: my.TrainConfig"]
)
async def test_a_config_is_not_missing(parameter: str) -> None:
    """The worker looks for its class."""
    text = TEXT.replace("self, width: int)", f"self, {parameter})")
    found = await Session(Silent()).targets(snapshot(text))
    assert "Part" in [it.class_name for it in found]


async def test_a_profile_that_is_refused_names_its_class_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    session = Session(Silent())
    session.use(InterpreterParams(sys.executable, True, "test"))
    try:
        with pytest.raises(TargetError, match=r"^Alone needs size, which has no default\. Write "):
            await session.profile(snapshot(), "Alone", lambda _: None)
    finally:
        await session.shut_down()


@pytest.mark.parametrize("error", [Said("Alone needs size."), ValueError("a fault of ours")])
def test_a_sentence_for_a_person_leaves_no_traceback(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Of pygls, which logs one for each error that it answers."""
    try:
        raise error
    except (Said, ValueError):
        logging.getLogger("pygls.protocol.json_rpc").exception("Exception occurred")
    assert bool(caplog.records) == isinstance(error, ValueError)
