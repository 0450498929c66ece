"""Golden texts: what people see, kept in tests/fixtures, read in review when it changes.

`pytest tests/irene --write-goldens` writes them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-goldens", action="store_true", help="write tests/fixtures anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)`: the text is the one in tests/fixtures."""

    def check(name: str, text: str) -> None:
        path = FIXTURES / name
        if request.config.getoption("--write-goldens", default=False):
            path.write_text(text, "utf-8")
        assert text == path.read_text("utf-8"), "if meant: pytest tests/irene --write-goldens"

    return check
