"""What a session knows of the settings, with an editor that answers when the test lets it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from irene.annotations import Annotations
from irene.estimation import OnProgress
from irene_server.analysis import Snapshot
from irene_server.session import Session
from irene_server.settings import Settings

URI = "file:///net.py"


@dataclass
class SlowEditor:
    """Keeps each question for settings until the test answers it."""

    questions: list[asyncio.Future[list[object]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    async def configuration(self, uris: Sequence[str]) -> list[object]:
        self.questions.append(asyncio.get_running_loop().create_future())
        return await self.questions[-1]

    @asynccontextmanager
    async def progress(
        self, title: str, on_cancel: Callable[[], object] | None = None
    ) -> AsyncIterator[OnProgress]:
        self.begun.append(title)
        self.shown.append(title)
        yield lambda _: None
        self.shown.remove(title)


async def settle() -> None:
    """Lets everything run that can run."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Session, SlowEditor]:
    monkeypatch.setenv("IRENE_CACHE_DIR", str(tmp_path))
    editor = SlowEditor()
    return Session(editor), editor


Made = tuple[Session, SlowEditor]


async def test_all_who_wait_for_settings_ask_once(made: Made) -> None:
    """One question for a document, also while it is not answered, and none after it."""
    session, editor = made
    waiting = [asyncio.ensure_future(session.settings(URI)) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    (question,) = editor.questions
    question.set_result([{"inlayHints": {"enabled": False}}])
    wanted = Settings(shows_hints=False)
    assert await asyncio.gather(*waiting[1:]) == [wanted] * 2
    assert (session.known_settings(URI), await session.settings(URI)) == (wanted, wanted)
    assert len(editor.questions) == 1
    await session.shut_down()


async def test_an_answer_of_before_a_change_does_not_count(made: Made) -> None:
    """It may come after the settings were forgotten, even after the newer one."""
    session, editor = made
    old = asyncio.ensure_future(session.settings(URI))
    await settle()
    session.forget_settings()
    new = asyncio.ensure_future(session.settings(URI))
    await settle()
    first, second = editor.questions
    second.set_result([{"inlayHints": {"enabled": False}}])
    await new
    first.set_result([{"codeLens": {"enabled": False}}])
    await old
    wanted = Settings(shows_hints=False)
    assert (session.known_settings(URI), await session.settings(URI)) == (wanted, wanted)
    await session.shut_down()


async def test_an_answer_for_a_closed_document_is_not_kept(made: Made) -> None:
    """The document asks again when it is opened again."""
    session, editor = made
    old = asyncio.ensure_future(session.settings(URI))
    await settle()
    session.close(URI)
    editor.questions[0].set_result([{"codeLens": {"enabled": False}}])
    await old
    assert session.known_settings(URI) == Settings()
    again = asyncio.ensure_future(session.settings(URI))
    await settle()
    editor.questions[1].set_result([None])
    assert await again == Settings()
    await session.shut_down()


async def test_torch_is_said_to_start_until_a_first_value(made: Made) -> None:
    """The other classes of the file come after it, with torch loaded."""
    session, editor = made
    one = """
# irene: {0}(), x=float32[2, 8]
class {0}(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x)
"""
    text = "from torch import nn\n" + one.format("A") + one.format("B")
    shown: list[tuple[bool, list[str]]] = []

    def publish(annotations: Annotations) -> None:
        has_values = any(it.state != "pending" for it in annotations.classes)
        shown.append((has_values, [*editor.shown]))

    snapshot = Snapshot(URI, "/net.py", text, 1)
    reading = asyncio.ensure_future(session.estimate(snapshot, publish))
    await settle()
    editor.questions[0].set_result([{"device": "A100-SXM4-80GB", "interpreter": sys.executable}])
    assert (await reading).is_whole
    assert [titles for has_values, titles in shown if has_values] == [[]]
    assert editor.begun == ["starting torch"]
    await session.shut_down()
