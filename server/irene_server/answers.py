"""Longer answers about a session: what to choose from, the report of the environment."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from irene.cache import default_folder
from irene.energy import catalogue
from irene.errors import DeviceError, PredictorError
from irene.predictors import known_predictors
from irene.source.targets import AUTO, Chosen, Target
from irene.worker.protocol import Answer, Environment, EnvironmentRequest, Refusal
from irene.worker.refusals import in_words
from irene_server.analysis import Snapshot
from irene_server.messages import Choice, DevicesAnswer, PredictorsAnswer
from irene_server.session import Session

PACKAGES = ("irene-energy", "pygls", "libcst", "psutil", "nvidia-ml-py")
ENVIRONMENT_LIMIT_S = 60.0


async def devices(session: Session, snapshot: Snapshot | None) -> DevicesAnswer:
    """`auto` and the catalogue, and which of them counts for a document."""
    here, known = await asyncio.to_thread(lambda: (catalogue.auto(), catalogue.selectable()))
    auto = Choice(AUTO, "This machine", here.name)
    rest = (Choice(it.id, it.name, f"{it.architecture} · {it.tdp_w:.0f} W") for it in known)
    target = await _selected_target(session, snapshot)
    options = (await session.settings(snapshot.uri if snapshot else "")).options
    chosen = _chosen(options.device) if target is None else target.device
    return DevicesAnswer((auto, *rest), _device_id(chosen.value), chosen.origin)


async def predictors(session: Session, snapshot: Snapshot | None) -> PredictorsAnswer:
    """`auto`, the shipped and the trained ones, and which of them counts for a document."""
    auto = Choice(AUTO, "The device's own", "where there is none: physics and data sheets")
    known = await asyncio.to_thread(known_predictors, default_folder())
    rest = (Choice(it.id, it.name, it.detail) for it in known if it.reason is None)
    target = await _selected_target(session, snapshot)
    options = (await session.settings(snapshot.uri if snapshot else "")).options
    chosen = _chosen(options.predictor) if target is None else target.predictor
    return PredictorsAnswer((auto, *rest), _machine_id(chosen.value), chosen.origin)


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


async def _selected_target(session: Session, snapshot: Snapshot | None) -> Target | None:
    """The document's model, which may have choices of its own."""
    return None if snapshot is None else (await session.plan(snapshot)).targets.selected


def _chosen(setting: str | None) -> Chosen:
    if setting is None:
        return Chosen(AUTO, "default", "default")
    return Chosen(setting, "settings", "the settings")


def _device_id(name: str) -> str:
    """The catalogue's id for a name; a name that it does not know stays as it was written."""
    if name == AUTO:
        return name
    try:
        return catalogue.find(name).id
    except DeviceError:
        return name


def _machine_id(predictor: str) -> str:
    """The id that a predictor is listed under; an unknown one stays as it was written."""
    if predictor == AUTO:
        return predictor
    try:
        return catalogue.machine_of(predictor).id
    except PredictorError:
        return predictor


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
