"""`irene annotate`: a file with the values that an editor would show at its lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.syntax import Syntax
from rich.text import Text

from irene.annotations import Annotations, annotate
from irene.cli import asking, console
from irene.cli.arguments import Asked
from irene.estimation import DocumentPlan, Estimator, FileEstimates

THEME = "ansi_dark"  # the terminal's own colours


def run(asked: Asked) -> bool:
    """Whether a class of the file has a value; the file has been printed."""
    assert asked.place is not None
    planned = asking.plan_of(asked, asked.place)
    asking.target_of(planned, asked.place)
    asking.report_overridden(planned)
    estimates = asking.ask(asked, lambda estimator: _all(estimator, planned))
    console.show_lines(annotated_lines(planned.document.text, annotate(estimates)))
    shown = [asking.estimate_or_complain(asked, it) for it in estimates.outcomes]
    return any(it is not None for it in shown)


async def _all(estimator: Estimator, planned: DocumentPlan) -> FileEstimates:
    estimates = FileEstimates(planned, (), planned.order)
    async for found in estimator.estimate(planned):
        estimates = found
    return estimates


def annotated_lines(text: str, annotations: Annotations) -> Iterator[Text]:
    """Each line with its hint at the end, under the lens of the class that it begins."""
    labels = {it.line: it.label for it in annotations.lines}
    lenses = {it.line: it.text for it in annotations.classes}
    for number, line in enumerate(_coloured(text), start=1):
        if number in lenses:
            indent = " " * (len(line.plain) - len(line.plain.lstrip()))
            yield Text(f"{indent}# {lenses[number]}", style="dim italic")
        if number in labels:
            line.append(f"   {labels[number]}", style="dim italic")
        yield line


def _coloured(text: str) -> Iterable[Text]:
    """The lines of a Python text as Python counts them, with tabs as they are."""
    syntax = Syntax("", "python", theme=THEME, background_color="default", tab_size=0)
    lines = re.sub(r"\r\n?", "\n", text).removesuffix("\n")
    return syntax.highlight(lines).split("\n")
