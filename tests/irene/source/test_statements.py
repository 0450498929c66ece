"""Statements found without a parser are those that Python finds, and hostile ones stay out of it."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest
import torch
import transformers

from irene.source.outline import outline
from irene.source.outline.facts import read_facts
from irene.source.outline.scanning import Source, scan, statements

MODELS = Path(transformers.__file__).parent / "models"
LAYERS = Path(torch.nn.__file__).parent / "modules"
FILES = (
    *(MODELS / name / f"modeling_{name}.py" for name in ("bert", "llama", "gpt2", "t5", "mamba")),
    *(LAYERS / name for name in ("module.py", "container.py", "activation.py", "rnn.py")),
    Path(ast.__file__),
)


def texts(source: Source) -> list[str]:
    return [source.text(it.first, it.last) for it in statements(source.logical)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_statements_of_a_file_are_those_of_its_syntax_tree(path: Path) -> None:
    """Each piece parses alone, and together they are the whole file."""
    text = path.read_text(encoding="utf-8")
    pieces = [ast.dump(node) for it in texts(scan(text)) for node in ast.parse(it).body]
    assert pieces == [ast.dump(node) for node in ast.parse(text).body]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_spans_of_statements_are_those_of_the_syntax_tree(path: Path) -> None:
    """Decorators left out, comments and white space behind left out."""
    text = path.read_text(encoding="utf-8")
    found = [
        (it.span.start_line, it.span.start_column, it.span.end_line)
        for it in statements(scan(text).logical)
    ]
    assert found == [(it.lineno, it.col_offset, it.end_lineno) for it in ast.parse(text).body]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = 2", ["a = 1\n", "b = 2\n"]),
        ("a = [\n1,\n]\nb", ["a = [\n1,\n]\n", "b\n"]),
        ("a = '''\nb\n'''\nc", ["a = '''\nb\n'''\n", "c\n"]),
        ("a = 1 + \\\n  2\nb", ["a = 1 + \\\n  2\n", "b\n"]),
        ("a = '\\\nb'\nc", ["a = '\\\nb'\n", "c\n"]),
        ("if a:\n  b\nelif c:\n  d\nelse:\n  e\nf", ["if a:\n  b\nelif c:\n  d\nelse:\n  e\n", "f\n"]),
        ("try:\n  a\nexcept B:\n  c\nfinally:\n  d", ["try:\n  a\nexcept B:\n  c\nfinally:\n  d\n"]),
        ("@a\n@b(1,\n2)\n# c\ndef f():\n  pass\ng", ["@a\n@b(1,\n2)\n# c\ndef f():\n  pass\n", "g\n"]),
        ("# a\n\nb # c (\n# d", ["b # c (\n"]),
        ("a\r\nb\rc", ["a\n", "b\n", "c\n"]),
        ("a = '\u2028'\nb = '\x0c'", ["a = '\u2028'\n", "b = '\x0c'\n"]),
        ("a = (1\n@b\nc)", ["a = (1\n@b\nc)\n"]),  # a matrix product
        ("a = f(1,\nclass B:\n  pass", ["a = f(1,\n", "class B:\n  pass\n"]),
        ("a = f(1,\n  def g(): pass", ["a = f(1,\n  def g(): pass\n"]),
        ("a = '''\ndef f(self): pass\nclass B:\n  c", ["a = '''\n", "def f(self): pass\n", "class B:\n  c\n"]),
        ("a = 'b\nc", ["a = 'b\n", "c\n"]),
        (" a\nb", [" a\n", "b\n"]),
        ("", []),
    ],
)  # fmt: skip
def test_statements_of_whole_and_of_broken_text(text: str, expected: list[str]) -> None:
    """An open bracket or string ends where a line can only be a new statement."""
    assert texts(scan(text)) == expected


HOSTILE = {
    "brackets": lambda n: "(" * n + ")" * n,
    "open brackets": lambda n: "[" * n,
    "calls in calls": lambda n: "f(a, " * n,
    "calls of calls": lambda n: "a" + "(0, 1)" * n,
    "signs": lambda n: "-" * n + "x",
    "sums": lambda n: "x + " * n + "x",
    "attributes": lambda n: "a" + ".b" * n,
    "lambdas": lambda n: "lambda a, b: " * n + "x",
    "conditions": lambda n: "a if (b, c) else " * n + "x",
    "comprehensions": lambda n: "[x" + " for x, y in z" * n + "]",
    "joined strings": lambda n: "'a' " * n,
    "brackets in an f-string": lambda n: "f'{" + "(" * n + ")" * n + "}'",
    "brackets in an open f-string": lambda n: 'f"""{' + "(" * n,
    "attributes in an f-string": lambda n: "f'{a" + ".b" * n + "}'",
    "patterns": lambda n: "match x:\n case " + "[a|" * n,
    "clauses": lambda n: "if a:\n pass\n" + "elif b:\n pass\n" * n,
    "decorators": lambda n: "@a\n" * n + "def f(): pass\n",
    "blocks": lambda n: "".join(" " * i + "if a:\n" for i in range(min(n, 500))),
    "functions": lambda n: "".join(" " * i + "def a():\n" for i in range(min(n, 500))),
    "brackets in a header": lambda n: (
        "class A:\n def f(self, a: " + "(" * n + "\n , b):\n  x\n def g(self): pass\n"
    ),
    "brackets in bases": lambda n: "class A(" + "(" * n + ":\n def g(self): pass\n",
    "brackets behind a bracket": lambda n: (
        "class A:\n def f(self):\n  x = f(\n  y = " + "(" * n + "\n def g(self): pass\n"
    ),
    "elements": lambda n: "x = [" + "1, " * n + "]",
    "assignments": lambda n: "x = " * n + "1",
    "lines in a bracket": lambda n: "class A:\n def f(self):\n  x = (\n" + "  y,\n" * n,
    "NUL": lambda n: "x = 1\0\n" * n,
    "ancestors": lambda n: "".join(f"class A{i}(A{i + 1}): pass\n" for i in range(min(n, 1000))),
    "aliases": lambda n: "".join(f"a{i} = a{i + 1}\n" for i in range(min(n, 1000))),
}  # fmt: skip


@pytest.mark.parametrize("n", [16, 30, 58, 198, 5_000])
@pytest.mark.parametrize("kind", HOSTILE)
def test_text_that_would_end_the_parser_s_process_is_kept_from_it(kind: str, n: int) -> None:
    """On the small stack of a thread, within seconds; what follows is read as ever."""
    text = f"import torch\n{HOSTILE[kind](n)}\nclass Net(torch.nn.Module): pass\n"
    names: list[str] = []

    def read() -> None:
        names.extend(it.name for it in outline(text)[0].classes if it.is_module)

    before = threading.stack_size(1024 * 1024)
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    threading.stack_size(before)
    thread.join(20)
    assert names == ["Net"], kind


def test_an_edit_reads_one_statement_again() -> None:
    """All the others, also those that moved down, come from what was kept."""
    text = (MODELS / "bart" / "modeling_bart.py").read_text(encoding="utf-8")
    outline(text)
    before = read_facts.cache_info().misses
    edited = text.replace("self.fc1 = nn.Linear", "\n        self.fc3 = nn.Linear", 1)
    found, _ = outline(edited)
    assert read_facts.cache_info().misses == before + 1
    assert any(it.attribute == "fc3" for one in found.classes for it in one.submodules)
