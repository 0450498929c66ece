"""Which class of a file is meant, and who said how it is built."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from irene.source.outline import outline
from irene.source.targets import AS_BUILT, Options, Plan, plan, suggest_comment

MODELS = Path(transformers.__file__).parent / "models"
NOTHING = Options("settings")
NET = """from torch import nn
class Part(nn.Module):
    def __init__(self, n: int):
        self.fc = nn.Linear(n, n)
    def forward(self, x): return self.fc(x)
class Net(nn.Module):
    def __init__(self):
        self.part = Part(3)
    def forward(self, x): return self.part(x)
class Loose(nn.Module):
    def forward(self, x): return x
class Base(nn.Module):
    pass
"""


def plan_of(
    text: str, path: str = "", options: Options = NOTHING, selected: str | None = None
) -> Plan:
    return plan(path, text, outline(text)[0], options, (), selected)


def test_roots_contain_the_rest_and_the_largest_is_selected() -> None:
    """A part has no target of its own; a base without a forward is none."""
    made = plan_of(NET)
    assert [it.class_name for it in made.candidates] == ["Part", "Net", "Loose"]
    assert made.roots == ("Net", "Loose")
    assert made.selected is not None
    assert made.selected.class_name == "Net"


def test_a_person_s_choice_counts_and_an_unknown_one_does_not() -> None:
    for picked, expected in (("Loose", "Loose"), ("Gone", "Net")):
        selected = plan_of(NET, selected=picked).selected
        assert selected is not None
        assert selected.class_name == expected


def test_a_described_class_is_selected_before_others() -> None:
    text = NET.replace("class Part", "# irene: Part(7), x=float32[2, 7]\nclass Part")
    selected = plan_of(text).selected
    assert selected is not None
    assert (selected.class_name, selected.build.arguments) == ("Part", "7")
    assert (selected.arguments.origin, selected.arguments.where) == ("comment", "comment, line 2")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert", "BertModel"), ("gpt2", "GPT2Model"), ("llama", "LlamaModel"), ("vit", "ViTModel"),
        ("t5", "T5Model"), ("whisper", "WhisperModel"), ("clip", "CLIPModel"),
        ("mixtral", "MixtralModel"), ("roberta", "RobertaModel"), ("distilbert", "DistilBertModel"),
    ],
)  # fmt: skip
def test_the_base_model_of_a_transformers_file_is_meant(name: str, expected: str) -> None:
    path = MODELS / name / f"modeling_{name}.py"
    selected = plan_of(path.read_text(encoding="utf-8"), str(path)).selected
    assert selected is not None
    assert selected.class_name == expected
    assert selected.arguments.origin == "config"


def test_the_order_of_precedence(tmp_path: Path) -> None:
    """Comment, pyproject.toml, settings, defaults; an option that loses is said."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.irene]\ndevice = "T4"\n[tool.irene.targets."net.Net"]\narguments = "a=1"\n'
        '[tool.irene.targets."net.Part"]\narguments = "n=4"\n'
    )
    text = NET.replace("class Part", "# irene: Part(7)\nclass Part")
    options = Options("option", device="A30", batch_size=2)
    made = plan_of(text, str(tmp_path / "net.py"), options)
    part, net = made.candidates[:2]
    assert (part.build.arguments, net.build.arguments) == ("7", "a=1")
    assert (net.device.value, net.device.where) == ("T4", "pyproject.toml, line 2")
    assert (net.batch_size.value, net.batch_size.origin) == ("2", "option")
    assert (net.sequence_length.value, net.sequence_length.origin) == ("128", "default")
    assert net.dtype.value == AS_BUILT
    assert made.overridden == (
        "option --device (A30) does not count: pyproject.toml, line 2, sets device to T4",
    )


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flash_attention_2"])
def test_the_attention_of_pyproject_goes_before_the_option(attention: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.irene]\nattention = "{attention}"\n')
    options = Options(origin="option", attention="eager")
    made = plan_of(NET, str(tmp_path / "net.py"), options)
    assert made.selected is not None
    assert made.selected.build.attention == attention
    assert made.selected.attention.origin == "pyproject.toml"


def test_a_class_of_an_installed_library_is_described_in_the_workspace(tmp_path: Path) -> None:
    """By the name that it is imported by; nobody writes comments into a library."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.irene.targets."transformers.models.bert.modeling_bert.BertLayer"]\n'
        'arguments = "BertConfig()"\n'
    )
    path = MODELS / "bert" / "modeling_bert.py"
    text = path.read_text(encoding="utf-8")
    made = plan(str(path), text, outline(text)[0], NOTHING, (str(tmp_path),), "BertLayer")
    assert made.selected is not None
    assert (made.selected.arguments.value, made.selected.arguments.where) == (
        "BertConfig()", "pyproject.toml, line 1",
    )  # fmt: skip


def test_a_wrong_pyproject_stops_each_target_with_its_sentence(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.irene]\nbatch = 4\n")
    made = plan_of(NET, str(tmp_path / "net.py"))
    assert made.selected is not None
    assert made.selected.flaw is not None
    assert "'batch' is not a key of [tool.irene]" in made.selected.flaw.message


def test_a_malformed_comment_stops_only_its_class() -> None:
    made = plan_of(NET.replace("class Part", "# irene: Part(\nclass Part"))
    assert [it.flaw is None for it in made.candidates] == [False, True, True]


def test_a_config_json_beside_the_file_counts_for_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"architectures": ["Net"], "model_type": "net", "torch_dtype": "float16"}'
    )
    text = (
        "from transformers import PreTrainedModel\nclass NetPreTrainedModel(PreTrainedModel):\n"
        "    config_class = NetConfig\nclass Net(NetPreTrainedModel):\n"
        "    def __init__(self, config):\n        pass\n    def forward(self, x): pass\n"
    )
    selected = plan_of(text, str(tmp_path / "net.py")).selected
    assert selected is not None
    assert selected.build.config_dir == str(tmp_path)
    assert selected.arguments.where == str(tmp_path / "config.json")
    assert (selected.build.dtype, selected.dtype.where) == ("float16", "config.json")


def test_imports_are_looked_for_from_the_top_of_the_package(tmp_path: Path) -> None:
    package = tmp_path / "pkg" / "models"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    selected = plan_of(NET, str(package / "net.py")).selected
    assert selected is not None
    assert selected.build.search_paths == (str(tmp_path),)


def test_a_suggested_comment_is_one_that_can_be_read() -> None:
    """What the code action writes is a comment by the same grammar."""
    made = outline(NET)[0].classes[0]
    assert suggest_comment(made) == "# irene: Part(n=64), x=float32[batch, sequence, 64]"
    text = NET.replace("class Part", f"{suggest_comment(made)}\nclass Part")
    selected = plan_of(text).selected
    assert selected is not None
    assert selected.flaw is None
