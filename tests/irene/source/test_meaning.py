"""What names mean in a file: submodules, their uses, and which class contains which."""

from __future__ import annotations

import textwrap

import pytest

from irene.source.outline import ClassOutline, Outline, outline

START = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\nimport math\n"


def read(text: str) -> Outline:
    found, problems = outline(START + textwrap.dedent(text))
    assert problems == ()
    return found


def net(init: str, forward: str = "pass", outside: str = "") -> ClassOutline:
    """A class `Net` with the given lines in `__init__(self, c, layer=nn.ReLU)` and forward."""
    indented = [textwrap.indent(textwrap.dedent(it), " " * 8) for it in (init, forward)]
    text = (
        f"{textwrap.dedent(outside)}\nclass Net(nn.Module):\n"
        f"    def __init__(self, c, layer=nn.ReLU):\n{indented[0]}\n"
        f"    def forward(self, x):\n{indented[1]}\n"
    )
    return next(it for it in read(text).classes if it.name == "Net")


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("self.a, self.b = nn.ReLU(), nn.GELU()", [("a", ("nn.ReLU",)), ("b", ("nn.GELU",))]),
        ("self.a = self.b = nn.ReLU()", [("a", ("nn.ReLU",)), ("b", ("nn.ReLU",))]),
        ("self.a = nn.ModuleList()\nself.a.append(nn.ReLU())",
         [("a", ("nn.ModuleList",)), ("a", ("nn.ReLU",))]),
        ("self.a = nn.ModuleDict()\nself.a['k'] = nn.ReLU()",
         [("a", ("nn.ModuleDict",)), ("a", ("nn.ReLU",))]),
        ("setattr(self, 'a', nn.ReLU())", [("a", ("nn.ReLU",))]),
        ("setattr(self, f'a{c}', nn.ReLU())", [("", ("nn.ReLU",))]),
        ("self.register_module(name='a', module=nn.ReLU())", [("a", ("nn.ReLU",))]),
        ("ls = []\nfor _ in c:\n    ls.append(nn.ReLU())\nself.a = nn.Sequential(*ls)",
         [("a", ("nn.Sequential", "nn.ReLU"))]),
        ("self.a = nn.Sequential(OrderedDict([('k', nn.ReLU())]))",
         [("a", ("nn.Sequential", "nn.ReLU"))]),
        ("self.a = layer()", [("a", ("layer",))]),
        ("self.a = nn.utils.weight_norm(nn.Linear(1, 1))", [("a", ("nn.Linear",))]),
        ("self.a = AutoModel.from_config(c)", [("a", ("AutoModel.from_config",))]),
        ("self.w = nn.Parameter(torch.ones(3))", []),
        ("self.s = math.sqrt(c)\nself.t = torch.Generator()", []),
        ("self.c = NetConfig(c)", []),
        ("self.a: nn.Module", []),
        ("x = nn.ReLU()", []),
    ],
)  # fmt: skip
def test_submodules_are_told_from_other_attributes(
    init: str, expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    found = net(init, outside="from collections import OrderedDict")
    assert [(it.attribute, it.constructors) for it in found.submodules] == expected


@pytest.mark.parametrize(
    ("init", "forward", "expected"),
    [
        ("self.a = make(c)", "return self.a(x)", ["a"]),
        ("self.a = c", "return self.a(x)", ["a"]),
        ("self.a = F.relu", "return self.a(x)", []),
        ("self.a = make(c)", "return x", []),
    ],
)
def test_an_attribute_that_forward_calls_is_a_submodule(
    init: str, forward: str, expected: list[str]
) -> None:
    """Where the text does not tell what a function returns, its use does."""
    found = net(init, forward)
    assert [it.attribute for it in found.submodules] == expected


def test_helpers_that_init_calls_construct_too() -> None:
    """The ResNet idiom; a method that init does not call is no constructor."""
    found = read(
        """
        class Net(nn.Module):
            def __init__(self):
                self.layer1 = self._make(3)
                self._rest()
            def _make(self, n):
                return nn.Sequential(nn.ReLU())
            def _rest(self):
                self.head = nn.Linear(1, 1)
            def reset(self):
                self.other = nn.Linear(1, 1)
        """
    ).classes[0]
    assert [it.attribute for it in found.submodules] == ["layer1", "head"]


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ("return self.a(self.b[0](x))", ["self.a", "self.b[0]"]),
        ("for i, m in enumerate(self.b):\n    x = m(x)", ["self.b", "m"]),
        ("for m, n in zip(self.b, self.b):\n    x = n(x)", ["self.b", "self.b", "n"]),
        ("return [m(x) for m in self.b]", ["self.b", "m"]),
        ("for k, m in self.b.items():\n    x = m(x)", ["self.b.items()", "m"]),
        ("m = self.b[2]\nreturn m(x)", ["m"]),
        ("return getattr(self, 'a')(x)", ["getattr(self, 'a')"]),
        ("return self.a.forward(x)", ["self.a.forward"]),
        ("return torch.utils.checkpoint.checkpoint(self.a, x)", ["self.a"]),
        ("return self.helper(x) + self.width", []),
        ("self.a.eval()\nreturn list(self.a.parameters())", []),
        ("return F.relu(x)", []),
    ],
)
def test_calls_of_submodules_have_the_span_of_what_is_called(
    forward: str, expected: list[str]
) -> None:
    """Without arguments, so that no two spans cover each other."""
    found = net("self.a = nn.ReLU()\nself.b = nn.ModuleList()\nself.width = 3", forward)
    lines = forward.split("\n")
    shift = found.forward.span.start_line + 1 if found.forward else 0
    places = [(it.span.start_line - shift, it.span) for it in found.submodule_calls]
    texts = [lines[row][span.start_column - 8 : span.end_column - 8] for row, span in places]
    assert sorted(texts) == sorted(expected)
    assert {it.attribute for it in found.submodule_calls} <= {"a", "b"}


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("self.p = Part()", ("Part",)),
        ("self.p = nn.ModuleList(Part() for _ in range(c))", ("Part",)),
        ("kind = Part if c else Other\nself.p = kind()", ("Part", "Other")),
        ("self.p = PARTS[c]()", ("Part", "Other")),
        ("self.p = make(Part, 3)", ("Part",)),
        ("self.p = build()", ("Other",)),
        ("self.p = Part.from_config(c)", ("Part",)),
        ("assert isinstance(c, Part)", ()),
    ],
)
def test_a_class_instantiates_the_classes_that_its_body_constructs(
    init: str, expected: tuple[str, ...]
) -> None:
    outside = """
        class Part(nn.Module): pass
        class Other(nn.Module): pass
        PARTS = {"part": Part, "other": Other}
        def build(): return Other()
        """
    assert net(init, outside=outside).instantiates == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from torch.nn import Module as M\nclass A(M): pass", ("torch.nn.Module",)),
        ("import torch.nn as N\nclass A(N.Sequential): pass", ("torch.nn.Sequential",)),
        ("from torch.nn import *\nclass A(Linear): pass", ("torch.nn.Linear",)),
        ("Base = nn.Module\nclass A(Base): pass", ("torch.nn.Module",)),
        ("from typing import Generic\nclass A(Generic[T], nn.Module): pass",
         ("typing.Generic", "torch.nn.Module")),
        ("from ..layers import Block as B\nclass A(B): pass", ("..layers.Block",)),
        ("class A(metaclass=Meta): pass", ()),
        ("class A(six.with_metaclass(Meta, nn.Module)): pass", ("torch.nn.Module",)),
    ],
)  # fmt: skip
def test_bases_are_given_by_their_origin(text: str, expected: tuple[str, ...]) -> None:
    assert read(text).classes[-1].bases == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from pytorch_lightning import LightningModule\nclass A(LightningModule): pass", True),
        ("from ..bert.modeling_bert import BertLayer\nclass A(BertLayer): pass", True),
        ("from ...modeling_layers import GradientCheckpointingLayer as G\nclass A(G): pass", True),
        ("from layers import Block\nclass A(Block):\n    def forward(self, x): pass", True),
        ("from layers import Block\nclass A(Block): pass", False),
        ("class A(torch.autograd.Function):\n    def forward(ctx, x): pass", False),
        ("class A(torch.utils.data.Dataset): pass", False),
        ("from ...modeling_outputs import ModelOutput\nclass A(ModelOutput): pass", False),
        ("from flax import linen as fnn\nclass A(fnn.Module):\n    def forward(self): pass", False),
        ("from ast import Module\nclass A(Module): pass", False),
        ("class A(A): pass", False),
        ("class A(B): pass\nclass B(A): pass\nclass A(B): pass", False),
    ],
)
def test_bases_of_other_files_count_by_name_or_by_a_forward(text: str, expected: bool) -> None:
    assert read(text).classes[-1].is_module is expected


def test_names_are_those_of_qualname() -> None:
    """Python itself says what the names are."""
    text = """
        class Outer:
            class Inner(nn.Module):
                class Core(nn.Module): pass
            def method(self):
                class Local(Outer.Inner): pass
                return Local
        def build():
            if True:
                class Made(nn.Module): pass
            return Made
        if True:
            class Late(Outer.Inner): pass
        """
    scope: dict[str, type] = {}
    exec(START + textwrap.dedent(text), scope)
    outer = scope["Outer"]
    real = [outer, outer.Inner, outer.Inner.Core, outer().method(), scope["build"](), scope["Late"]]
    found = read(text).classes
    assert [it.name for it in found] == [it.__qualname__ for it in real]
    assert [it.is_module for it in found] == [issubclass(it, scope["nn"].Module) for it in real]


def test_comments_right_above_a_class_belong_to_it() -> None:
    """Also above its decorators; not those beyond an empty line or inside a string."""
    text = "'''\n# no\n'''\n# no\n\n# one\n# two\n@d\nclass A: pass\n'''\n# no'''\nclass B: pass\n"
    found, _ = outline(text)
    assert [it.comments for it in found.classes] == [((6, "# one"), (7, "# two")), ()]


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("class Net(nn.Module\n    def forward(self, x): return x\n", 5),
        ("class Net(nn.Module)\n    def forward(self, x): return x\n", 5),
        ("class Net(nn.Module):\n    x = (\n    def forward(self, x): return x\n", 6),
        ("class Net(nn.Module):\n    print 'two'\n    def forward(self, x): return x\n", 6),
        ("class Net(nn.Module):\n    '''open\n    def forward(self, x): return x\n", 6),
        ("class Net(nn.Module):\n    def forward(self, x):\n        self.x = \n", 7),
    ],
)
def test_a_half_typed_class_is_still_a_module_with_a_forward(broken: str, line: int) -> None:
    found, problems = outline(f"{START}{broken}class After(nn.Module): pass\n")
    assert [(it.name, it.is_module) for it in found.classes] == [("Net", True), ("After", True)]
    assert found.classes[0].forward is not None
    assert [it.line for it in problems] == [line]


def test_statements_behind_an_open_bracket_are_read() -> None:
    """One line is lost, not the method."""
    text = (
        f"{START}class Net(nn.Module):\n    def __init__(self):\n        self.a = nn.ReLU()\n"
        "        self.b = nn.Linear(3,\n        self.c = nn.GELU()\n"
        "        for i in range(3):\n            self.d = nn.Tanh()\n"
    )
    found, problems = outline(text)
    assert [(it.attribute, it.span.start_line) for it in found.classes[0].submodules] == [
        ("a", 7),
        ("c", 9),
    ]
    assert [it.line for it in problems] == [8]


def test_a_file_without_torch_gives_its_classes_imports_and_first_problem() -> None:
    """Nothing else of it is read."""
    text = "import os\nclass A:\n    class B(A): pass\n    def f(self):\n        class C: pass\n"
    found, problems = outline(f"{text}x = (\nclass D(A): pass\n")
    assert [(it.name, it.bases) for it in found.classes] == [
        ("A", ()),
        ("A.B", ("A",)),
        ("A.f.<locals>.C", ()),
        ("D", ("A",)),
    ]
    assert found.imports == (("os", "os"),)
    assert [(it.message, it.line) for it in problems] == [("'(' was never closed", 6)]


def test_a_name_that_is_defined_twice_has_two_outlines() -> None:
    text = "class A(nn.Module):\n    def __init__(self): self.{0} = nn.ReLU()\n"
    found = read(text.format("a") + text.format("b")).classes
    assert [[it.attribute for it in one.submodules] for one in found] == [["a"], ["b"]]


def test_a_statement_behind_a_lone_backslash_is_placed_where_it_stands() -> None:
    """The parser would place it, and what follows, a line too high."""
    text = (
        f"{START}class A(nn.Module):\n    def __init__(self):\n        self.a = nn.ReLU()\n"
        "        \\\n        self.b = nn.ReLU()\n        self.c = nn.ReLU()\n"
    )
    found, problems = outline(text)
    assert [(it.attribute, it.span.start_line) for it in found.classes[0].submodules] == [
        ("a", 7),
        ("b", 9),
        ("c", 10),
    ]
    assert [it.line for it in problems] == [8]
