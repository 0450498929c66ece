"""From what was typed to an estimate: plan, interpreter, worker, and what was not used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from irene.cache import ProfileStore
from irene.cli import files, interpreter
from irene.cli.arguments import Asked, Place, UsageError
from irene.cli.console import complain
from irene.energy import catalogue
from irene.errors import DeviceError, PredictorError, TargetError
from irene.estimation import (
    Document,
    DocumentPlan,
    Estimate,
    Estimator,
    Outcome,
    Refused,
    is_open,
    plan_document,
)
from irene.runner import Worker
from irene.source import targets
from irene.source.targets import Options, Target, config_target
from irene.worker.frames import is_installed

T = TypeVar("T")


def plan_of(asked: Asked, place: Place) -> DocumentPlan:
    """What to estimate in the file that was named.

    Raises:
        UsageError: there is no such file or device.
    """
    _check_names(asked.options)
    document = files.read(place)
    return plan_document(document, asked.options, _roots(document), None)


def target_of(planned: DocumentPlan, place: Place) -> Target:
    """The target that was named, else the one that an editor would select.

    Raises:
        UsageError: the file has no module of that name.
        TargetError: the file has no module at all.
    """
    if place.class_name is None:
        if planned.targets.selected is None:
            raise TargetError(_nothing_to_build(planned, place))
        return planned.targets.selected
    name = files.class_name(place.class_name, planned.outline, place.path)
    for target in planned.targets.candidates:
        if target.class_name == name:
            return target
    raise TargetError(f"{name} in {place.path} has no forward: name a class that has one")


def target_of_config(asked: Asked) -> Target:
    """The target of `--hf-config DIR` without a file.

    Raises:
        UsageError: the folder has no config.json.
    """
    _check_names(asked.options)
    return config_target(_config_dir(asked), asked.options)


def with_config(target: Target, asked: Asked) -> Target:
    """The target built from the config of `--hf-config DIR`, where nothing nearer says how."""
    if asked.config_dir is None:
        return target
    folder = _config_dir(asked)
    written = target.arguments
    if written.origin in ("comment", "pyproject.toml"):
        complain(f"option --hf-config does not count: {written.where}, says {written.value}")
        return target
    return targets.with_config(target, folder)


def _config_dir(asked: Asked) -> str:
    assert asked.config_dir is not None
    folder = asked.config_dir.absolute()
    if not (folder / "config.json").is_file():
        raise UsageError(f"--hf-config: {asked.config_dir} has no config.json")
    return str(folder)


def ask(asked: Asked, question: Callable[[Estimator], Awaitable[T]]) -> T:
    """The answer to a question, in a worker that lives as long as it takes."""
    return asyncio.run(_ask(asked, question))


async def _ask(asked: Asked, question: Callable[[Estimator], Awaitable[T]]) -> T:
    store = ProfileStore()
    worker = Worker(worker_interpreter(asked).path)
    try:
        return await question(Estimator(worker, store))
    finally:
        await worker.close()
        for notice in store.take_notices():
            complain(notice)


def worker_interpreter(asked: Asked) -> interpreter.Interpreter:
    """The Python in which the model of this command is built."""
    start = asked.place.path.absolute().parent if asked.place else Path.cwd()
    return interpreter.choose(asked.python, start, os.environ)


def estimate_or_complain(asked: Asked, outcome: Outcome) -> Estimate | None:
    """The estimate, or None after saying on standard error why there is none."""
    if isinstance(outcome, Estimate):
        _report_fixed_sizes(asked.options, outcome)
        return outcome
    complain(refusal_text(outcome))
    return None


def refusal_text(refused: Refused) -> str:
    """What, where, and what to do: three things in two lines."""
    target, refusal = refused.target, refused.refusal
    place = target.build.path or target.build.config_dir or ""
    written = {"inputs": target.inputs, "arguments": target.arguments}.get(refusal.kind)
    line = "" if refusal.line is None else f", line {refusal.line}"
    if not line and written is not None and written.origin in ("comment", "pyproject.toml"):
        line = f", {written.where}"
    what = f"{target.class_name} has no estimate" if target.class_name else "no estimate"
    return f"{what} ({place}{line}): {refusal.message}\n  What to do: {refusal.advice}"


def report_overridden(planned: DocumentPlan) -> None:
    """One line for each option that pyproject.toml overrules."""
    for sentence in planned.targets.overridden:
        complain(sentence)


def _report_fixed_sizes(options: Options, estimate: Estimate) -> None:
    """One line for each size that was asked for while the inputs are written out."""
    inputs = estimate.target.inputs
    sizes = (
        ("--batch-size", options.batch_size, "batch"),
        ("--sequence-length", options.sequence_length, "sequence"),
    )
    for flag, value, size in sizes:
        if value is None or is_open(estimate, size):
            continue
        if inputs.value:
            complain(
                f"option {flag} ({value}) does not count: {inputs.where}, gives {inputs.value}; "
                f"write `{size}` there to let it count"
            )
        else:
            complain(f"option {flag} ({value}) does not count: no input has this length")


def _check_names(options: Options) -> None:
    if options.device is not None:
        try:
            catalogue.find(options.device)
        except DeviceError as err:
            raise UsageError(f"--device: {err}; `irene devices` lists all") from err
    if options.predictor not in (None, targets.AUTO):
        try:
            catalogue.machine_of(options.predictor)
        except PredictorError as err:
            raise UsageError(f"--predictor: {err}; `irene predictors` lists all") from err


def _roots(document: Document) -> tuple[str, ...]:
    """What stands for the workspace: where the command runs, or the folder of the file.

    A file of a library is described where the command runs.
    """
    folder, here = Path(document.path).parent, Path.cwd()
    is_of_here = folder.is_relative_to(here) or is_installed(document.path)
    return (str(here if is_of_here else folder),)


def _nothing_to_build(planned: DocumentPlan, place: Place) -> str:
    sentence = f"{place.path} has no class that is a torch.nn.Module: name a file that has one"
    if not planned.text_problems:
        return sentence
    problem = planned.text_problems[0]
    return f"{sentence}, or mend line {problem.line} first ({problem.message})"
