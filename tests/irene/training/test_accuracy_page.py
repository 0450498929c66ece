"""docs/accuracy.md is what the code writes today, and speaks of the predictors that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from irene.energy.predicted.shipped import SHIPPED, shipped_predictor
from irene.training.accuracy.figures import RECIPES
from irene.training.measurements import LEVELS

PAGE = (Path(__file__).parents[3] / "docs" / "accuracy.md").read_text(encoding="utf-8")
TITLES = {
    "model": "nothing run",
    "sizes": "nothing run, model and sizes unseen",
    "family": "nothing run, a family left out",
    "larger": "nothing run, larger than trained, model out",
}


def cells(title: str) -> list[str]:
    """The columns of the row of the table of errors that has this title."""
    (line,) = (it for it in PAGE.splitlines() if it.startswith(f"| {title} | "))
    return [it.strip() for it in line.split("|")[2:]]


def test_every_recipe_has_its_rows() -> None:
    lines = [it.split(" | ")[0].removeprefix("| ") for it in PAGE.splitlines()]
    found = [it for it in dict.fromkeys(lines) if it in RECIPES]
    assert found == list(RECIPES)


@pytest.mark.parametrize("split", TITLES)
def test_shipped_predictors_state_the_errors_of_the_page(split: str) -> None:
    for place, machine in enumerate(SHIPPED):
        errors = shipped_predictor(machine).provenance["errors_percent"][split]
        for level, cell in zip(LEVELS, cells(TITLES[split]), strict=False):
            assert f"{errors[level]:.2f}" == cell.split(" / ")[place]


def test_a_goal_that_is_missed_is_named() -> None:
    """Figures within 5 % of a goal count as reached."""
    for title in TITLES.values():
        *means, goal, reached, _ = cells(title)
        missed = [
            f"{level} on machine {place + 1}"
            for level, mean, limits in zip(LEVELS, means, goal.split(", "), strict=True)
            for place in range(2)
            if float(mean.split(" / ")[place]) > 1.05 * float(limits.split(" / ")[place])
        ]
        assert reached == (f"not {', '.join(missed)}" if missed else "yes")
