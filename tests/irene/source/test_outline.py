"""Text to classes and submodules: whole, broken, foreign, and real files."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from irene.source.outline import ClassOutline, Outline, outline

MODELS = Path(transformers.__file__).parent / "models"
REAL_FILES = ("bert", "gpt2", "llama", "t5", "vit", "whisper", "clip", "mixtral", "wav2vec2")
SMALL = (Path(__file__).parents[3] / "examples" / "gpt.py").read_text(encoding="utf-8")


def outline_of(body: str) -> ClassOutline:
    """The class of a file whose `__init__` and forward have the given lines."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    text = f"from torch import nn\nclass Net(nn.Module):\n    def __init__(self, c):\n{lines}"
    found, _ = outline(text)
    return found.classes[0]


@pytest.mark.parametrize(
    ("header", "is_module"),
    [
        ("import torch.nn as nn\nclass A(nn.Module): pass", True),
        ("from torch import nn\nclass A(nn.Sequential): pass", True),
        ("from torch.nn import Module as M\nclass A(M): pass", True),
        ("import torch\nclass A(torch.nn.Module): pass", True),
        ("from transformers import PreTrainedModel\nclass A(PreTrainedModel): pass", True),
        ("from torch import nn\nclass B(nn.Module): pass\nclass A(B): pass", True),
        ("class A: pass", False),
        ("class Module: pass\nclass A(Module): pass", False),
        ("from dataclasses import dataclass\n@dataclass\nclass A: pass", False),
        ("from torch.utils.data import Dataset\nclass A(Dataset): pass", False),
    ],
)
def test_a_class_is_a_module_when_its_bases_lead_to_one(header: str, is_module: bool) -> None:
    found, problems = outline(header)
    assert [it.is_module for it in found.classes if it.name == "A"] == [is_module]
    assert problems == ()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("self.fc = nn.Linear(4, 2)", [("fc", ("nn.Linear",))]),
        ("self.fc: nn.Linear = nn.Linear(4, 2)", [("fc", ("nn.Linear",))]),
        ("for i in range(3):\n    self.add_module('a', nn.ReLU())", [("a", ("nn.ReLU",))]),
        (
            "self.bs = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])",
            [("bs", ("nn.ModuleList", "nn.Linear"))],
        ),
        (
            "self.net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())",
            [("net", ("nn.Sequential", "nn.Linear", "nn.ReLU"))],
        ),
        (
            "if c:\n    self.a = nn.ReLU()\nelse:\n    self.a = nn.GELU()",
            [("a", ("nn.ReLU",)), ("a", ("nn.GELU",))],
        ),
        ("self.a = nn.ReLU() if c else nn.GELU()", [("a", ("nn.ReLU", "nn.GELU"))]),
        ("self.scale = c ** -0.5", []),
        ("self.width = int(c)", []),
    ],
)
def test_submodules_are_what_init_assigns(
    body: str, expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    found = outline_of(body)
    assert [(it.attribute, it.constructors) for it in found.submodules] == expected


def test_spans_count_lines_from_one_and_code_points_from_zero() -> None:
    """An emoji is one column, a tab is one, CRLF is no column at all."""
    text = "from torch import nn\r\nclass 🧠Net(nn.Module):\r\n".replace("🧠", "")
    text += "\tdef __init__(self):\r\n\t\tx = '🧠'; self.fc = nn.Linear(2, 2)\r\n"
    found, problems = outline(text)
    assert problems == ()
    span = found.classes[0].submodules[0].span
    line = text.split("\r\n")[span.start_line - 1]
    assert line[span.start_column : span.end_column] == "self.fc = nn.Linear(2, 2)"


def test_a_broken_method_costs_only_itself() -> None:
    """An unclosed bracket is one problem; the other methods and classes stay."""
    text = (
        "from torch import nn\nclass A(nn.Module):\n    def __init__(self):\n"
        "        self.x = nn.Linear(3,\n    def forward(self, x):\n        return self.x(x)\n"
        "class B(nn.Module):\n    def __init__(self):\n        self.y = nn.ReLU()\n"
    )
    found, problems = outline(text)
    assert [it.name for it in found.classes] == ["A", "B"]
    assert found.classes[0].forward is not None
    assert [it.attribute for it in found.classes[1].submodules] == ["y"]
    assert [it.line for it in problems] == [4]


@pytest.mark.parametrize(
    "text",
    ["", "\x00", "\ud800", "(" * 20_000, "class", "class A(", "def f(:\n", "print 'two'", "\f\n\f",
     "\ufeffclass A: pass", "x = '''", "a" * 100_000, "if x:\n", "\tclass A:\n  pass"],
)  # fmt: skip
def test_no_text_is_too_broken(text: str) -> None:
    """Parsing never raises on user text."""
    found, _ = outline(text)
    assert isinstance(found, Outline)


def test_every_prefix_of_a_file_is_read() -> None:
    for end in range(0, len(SMALL), 23):
        found, _ = outline(SMALL[:end])
        complete = [it for it in ("Attention", "MLP") if f"class {it}" in SMALL[:end]]
        assert [it.name for it in found.classes][: len(complete)] == complete


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_edits_never_raise_and_stay_in_the_text(seed: int) -> None:
    """Spans always lie in the text that they were made for."""
    chance = random.Random(seed)
    text = SMALL
    for _ in range(chance.randrange(1, 6)):
        first = chance.randrange(len(text))
        last = min(len(text), first + chance.randrange(40))
        text = (
            text[:first] + chance.choice(["", "(", "'''", "\n", text[first:last] * 2]) + text[last:]
        )
    found, problems = outline(text)
    n_lines = len(text.splitlines()) + 1
    for it in found.classes:
        assert 1 <= it.span.start_line <= it.span.end_line <= n_lines
        assert 1 <= it.name_span.start_line <= n_lines
    assert all(1 <= it.line <= n_lines for it in problems)


@pytest.mark.parametrize("name", REAL_FILES)
def test_modules_of_transformers_files_are_those_that_python_finds(name: str) -> None:
    """The text alone agrees with `issubclass` on the imported file, class by class."""
    path = MODELS / name / f"modeling_{name}.py"
    found, problems = outline(path.read_text(encoding="utf-8"))
    module = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    truth = {it.name: issubclass(getattr(module, it.name), torch.nn.Module) for it in found.classes}
    assert problems == ()
    assert {it.name: it.is_module for it in found.classes} == truth
    assert sum(truth.values()) > 5


def test_an_edit_reads_only_its_statement_again() -> None:
    """The outline of an edited file equals that of the same text read from nothing."""
    path = MODELS / "bert" / "modeling_bert.py"
    text = path.read_text(encoding="utf-8")
    outline(text)
    edited = text.replace("self.dense = nn.Linear", "self.thick = nn.Linear", 1)
    found, _ = outline(edited)
    shifted, _ = outline("\n\n" + edited)
    assert [it.name for it in found.classes] == [it.name for it in shifted.classes]
    assert [it.span.start_line + 2 for it in found.classes] == [
        it.span.start_line for it in shifted.classes
    ]
    assert any(sub.attribute == "thick" for it in found.classes for sub in it.submodules)
