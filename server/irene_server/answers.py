"""Longer answers about a session: the devices to choose from, the report of the environment."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from irene.cache import default_folder
from irene.energy import catalogue
from irene.errors import DeviceError
from irene.source.targets import Chosen
from irene.worker.protocol import Answer, Environment, EnvironmentRequest, Refusal
from irene.worker.refusals import in_words
from irene_server.analysis import Snapshot
from irene_server.messages import DeviceChoice, DevicesAnswer
from irene_server.session import Session

PACKAGES = ("irene-energy", "pygls", "libcst", "psutil", "nvidia-ml-py")
ENVIRONMENT_LIMIT_S = 60.0


async def devices(session: Session, snapshot: Snapshot | None) -> DevicesAnswer:
    """`auto` and the catalogue, and which of them counts for a document."""
    here, known = await asyncio.to_thread(lambda: (catalogue.auto(), catalogue.selectable()))
    auto = DeviceChoice("auto", "This machine", here.name)
    rest = (DeviceChoice(it.id, it.name, f"{it.architecture} · {it.tdp_w:.0f} W") for it in known)
    chosen = await _chosen_device(session, snapshot)
    selected, set_by = ("auto", "default") if chosen is None else (chosen.value, chosen.origin)
    return DevicesAnswer((auto, *rest), _id_of(selected), set_by)


async def environment(session: Session, snapshot: Snapshot | None, client_name: str) -> str:
    """What a bug report needs, as Markdown; nothing of the user's code or paths of models."""
    settings = await session.settings(snapshot.uri if snapshot else "")
    interpreter = session.interpreter_of(settings)
    worker = session.benches.bench(interpreter).worker
    answer = await worker.run(EnvironmentRequest(), limit_s=ENVIRONMENT_LIMIT_S)
    chosen = await devices(session, snapshot)
    source = session.interpreter.source if session.interpreter else "PATH or irene.interpreter"
    sections = (
        ("Server", _server(client_name)),
        ("Worker", (("interpreter", f"{interpreter} ({source})"), *_worker(answer))),
        (
            "Devices",
            (
                ("selected", f"{chosen.selected} ({chosen.set_by})"),
                ("auto", chosen.devices[0].detail),
                ("known", str(len(chosen.devices) - 1)),
            ),
        ),
        ("Profiles", (("stored in", str(default_folder())),)),
    )
    return "\n".join(_section(title, facts) for title, facts in sections)


async def _chosen_device(session: Session, snapshot: Snapshot | None) -> Chosen | None:
    """The device of the document's model, else of the settings; None: nobody chose."""
    if snapshot is not None:
        planned = await session.plan(snapshot)
        if planned.targets.selected is not None:
            return planned.targets.selected.device
    device = (await session.settings(snapshot.uri if snapshot else "")).options.device
    return None if device is None else Chosen(device, "settings", "the settings")


def _id_of(name: str) -> str:
    """The catalogue's id for a name; a name that it does not know stays as it was written."""
    if name == "auto":
        return name
    try:
        return catalogue.find(name).id
    except DeviceError:
        return name


def _server(client_name: str) -> Iterator[tuple[str, str]]:
    yield "client", client_name
    yield "Python", f"{platform.python_version()} ({sys.executable})"
    yield "system", platform.platform()
    for name in PACKAGES:
        yield name, _version(name)


def _worker(answer: Answer) -> tuple[tuple[str, str], ...]:
    match answer:
        case Environment():
            return (
                ("Python", answer.python),
                ("torch", answer.torch or "missing"),
                ("Transformers", answer.transformers or "missing"),
                ("CUDA", answer.cuda or "none"),
                ("meters", ", ".join(answer.meters) or "none"),
                *(("note", reason) for reason in answer.reasons),
            )
        case Refusal():
            return (("state", in_words(answer)),)
        case _:
            return (("state", "gave an answer of another kind"),)


def _section(title: str, facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {name}: {value}" for name, value in facts), ""])


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed as a package"
