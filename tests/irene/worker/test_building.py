"""Models from a `BuildSpec`: arguments, configs, dtype, attention, and what a constructor needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, CLIPConfig, MambaConfig

from irene.worker.building import build
from irene.worker.protocol import BuildSpec, InputExpression, Refusal
from irene.worker.refusals import Refused

HEAD = "import torch\nfrom dataclasses import dataclass\nfrom torch import nn\n"
NET = (
    HEAD
    + """
class Net(nn.Module):
    def __init__(self, width: int = 4, depth: int = 1):
        super().__init__()
        self.layers = nn.ModuleList([
            nn.Linear(width, width)
            for _ in range(depth)
        ])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
"""
)
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
         "intermediate_size": 64, "vocab_size": 100}  # fmt: skip


def spec(text: str = NET, **changes: Any) -> BuildSpec:
    fields: dict[str, Any] = {
        "path": "/work/user/built_net.py", "text": text, "class_name": "Net", "search_paths": (),
        "arguments": None, "inputs": (), "config_dir": None, "batch_size": 2,
        "sequence_length": 16, "dtype": None, "attention": None,
    }  # fmt: skip
    return BuildSpec(**{**fields, **changes})


def refusal(made: BuildSpec) -> Refusal:
    with pytest.raises(Refused) as raised:
        build(made, on_meta=True)
    return raised.value.refusal


@pytest.mark.parametrize(
    ("arguments", "shown", "shape"),
    [
        (None, "Net()", (4, 4)),
        ("", "Net()", (4, 4)),
        ("6", "Net(6)", (6, 6)),
        ("width=2 * 4, depth=2,", "Net(width=2 * 4, depth=2,)", (8, 8)),
        ("**dict(width=torch.tensor(5).item())", "Net(**dict(width=torch.tensor(5).item()))", (5, 5)),
    ],
)  # fmt: skip
def test_arguments_are_python_in_the_names_of_the_file(
    arguments: str | None, shown: str, shape: tuple[int, int]
) -> None:
    built = build(spec(arguments=arguments), on_meta=True)
    assert built.arguments == shown
    assert next(built.model.parameters()).shape == shape


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("width=", "invalid syntax"),
        ("width=(", "never closed"),
        ("width=unknown", "NameError: name 'unknown' is not defined"),
        ("height=3", "unexpected keyword argument 'height'"),
        ("1, 2, 3", "too many positional arguments"),
        ("1), (2", "is not a list of arguments"),
    ],
)
def test_malformed_arguments_are_refused(arguments: str, words: str) -> None:
    found = refusal(spec(arguments=arguments))
    assert found.kind == "arguments"
    assert words in found.message
    assert found.advice


CONFIGURED = (
    HEAD
    + """
@dataclass
class Config:
    width: int = 6

class Net(nn.Module):
    def __init__(self, config{annotation}):
        super().__init__()
        self.fc = nn.Linear(config.width, config.width)

    def forward(self, x):
        return self.fc(x)
"""
)


@pytest.mark.parametrize(("annotation", "is_assumed"), [(": Config", False), ("", True)])
def test_a_config_of_the_file_is_taken_with_its_defaults(annotation: str, is_assumed: bool) -> None:
    """Where nothing names it the only one there is; then that is said."""
    built = build(spec(CONFIGURED.replace("{annotation}", annotation)), on_meta=True)
    assert built.arguments == "Net(Config())"
    assert ("the only config class in the file" in built.assumptions[0].text) is is_assumed


def test_a_folder_with_a_config_gives_its_architecture(tmp_path: Path) -> None:
    BertConfig(**SMALL, architectures=["BertForMaskedLM"]).save_pretrained(tmp_path)
    built = build(
        spec("", path="", class_name="", config_dir=str(tmp_path), attention="eager"), on_meta=True
    )
    assert type(built.model).__name__ == "BertForMaskedLM"
    assert built.model.config._attn_implementation == "eager"  # type: ignore[union-attr] # a config
    assert [(it.name, it.shape) for it in built.input_specs] == [
        ("input_ids", (2, 16)),
        ("attention_mask", (2, 16)),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "There is no config.json"),
        ("{", "not a valid JSON"),
        ('{"model_type": "no-such-type"}', "no-such-type"),
    ],
)
def test_a_folder_without_a_usable_config_is_refused(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    found = refusal(spec("", path="", class_name="", config_dir=str(tmp_path)))
    assert found.kind == "arguments"
    assert words in found.message


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("on_meta", [True, False])
def test_the_model_and_its_inputs_have_the_dtype(dtype: str, on_meta: bool) -> None:
    before = torch.get_default_dtype()
    built = build(spec(dtype=dtype), on_meta=on_meta)
    assert {str(it.dtype) for it in built.model.parameters()} == {f"torch.{dtype}"}
    assert [it.dtype for it in built.input_specs] == [dtype]
    assert torch.get_default_dtype() is before


def test_a_dtype_that_parameters_cannot_have_is_refused() -> None:
    assert "int8" in refusal(spec(dtype="int8")).message


def test_attention_without_a_transformers_config_is_said_to_have_no_effect() -> None:
    built = build(spec(attention="sdpa"), on_meta=True)
    assert built.assumptions[0].text.startswith("attention sdpa has no effect")


@pytest.mark.parametrize(
    ("wanted", "expected", "words"),
    [
        ("eager", "eager", None),
        ("sdpa", "sdpa", None),
        (None, "sdpa", None),
        ("flash_attention_2", "sdpa", "flash_attention_2 is not installed here"),
    ],
)
def test_the_attention_that_was_asked_for_reaches_each_part_of_a_model(
    wanted: str | None, expected: str, words: str | None, tmp_path: Path
) -> None:
    text = {**SMALL, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    image = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
             "intermediate_size": 64, "image_size": 32, "patch_size": 16}  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=image, architectures=["CLIPModel"])
    config.save_pretrained(tmp_path)
    built = build(
        spec("", path="", class_name="", config_dir=str(tmp_path), attention=wanted), on_meta=True
    )
    kernels = {
        it.config._attn_implementation  # type: ignore[union-attr] # a config
        for it in built.model.modules()
        if type(it).__name__ == "CLIPAttention"
    }
    assert kernels == {expected}
    assert words is None or any(words in it.text for it in built.assumptions)


def test_a_model_without_the_attention_that_was_asked_for_is_priced_as_eager(
    tmp_path: Path,
) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 100}
    MambaConfig(**sizes, architectures=["MambaModel"]).save_pretrained(tmp_path)
    built = build(
        spec("", path="", class_name="", config_dir=str(tmp_path), attention="sdpa"), on_meta=True
    )
    assert any("has no sdpa attention" in it.text for it in built.assumptions)


def test_every_module_knows_the_line_that_made_it() -> None:
    """In a comprehension that is the line of the call, not of the assignment."""
    built = build(spec(arguments="4, 2"), on_meta=True)
    lines = [built.created_at[it].line for it in built.model.children() if it in built.created_at]
    layers: Any = built.model.layers
    lines += [built.created_at[it].line for it in layers]
    assert [NET.splitlines()[line - 1].strip() for line in lines] == [
        "self.layers = nn.ModuleList([",
        "nn.Linear(width, width)",
        "nn.Linear(width, width)",
    ]


def test_on_meta_nothing_is_allocated_and_for_real_it_is() -> None:
    on_meta = build(spec(arguments="10**6"), on_meta=True)  # four terabytes
    assert all(it.is_meta for it in on_meta.model.parameters())
    real = build(spec(), on_meta=False)
    assert not any(it.is_meta for it in real.model.parameters())
    args, kwargs = real.inputs(on_meta=False, seed=3)
    assert real.model(*args, **kwargs).shape == (2, 16, 4)


def net_with(line: str) -> str:
    return HEAD + (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        self.fc = nn.Linear(4, 4)\n        {line}\n"
        "    def forward(self, x):\n        return self.fc(x)\n"
    )


@pytest.mark.parametrize(
    ("line", "is_real"),
    [
        ("self.rates = [it.item() for it in torch.linspace(0, 1, 3)]", False),
        ("self.rates = torch.linspace(0, 1, 3).tolist()", False),
        ("self.sizes = torch.arange(3).numpy()", False),
        ("self.fc = self.fc.cuda()", False),
        ("self.register_buffer('mask', torch.ones(3, device='cuda'))", False),
        ("self.largest = self.fc.weight.max().item()", True),
        ("self.table = self.fc.weight.detach().numpy()", True),
    ],
)
def test_constructors_that_read_values_are_built(line: str, is_real: bool) -> None:
    """Constants are known; what only real weights can tell takes real memory, and says so."""
    built = build(spec(net_with(line)), on_meta=True)
    assert built.model.fc.weight.is_meta is not is_real
    said = any("built with real memory" in it.text for it in built.assumptions)
    assert said is is_real


def test_a_large_constructor_that_reads_weights_is_refused_at_its_line() -> None:
    line = "self.x = torch.zeros(10**10).normal_().max().item()"
    found = refusal(spec(net_with(line)))
    assert (found.kind, found.line) == ("constructor", 8)


@pytest.mark.parametrize(
    ("made", "is_refused"),
    [
        ("self.x.zero_()", False),
        ("torch.add(self.x, 1, out=self.x)", False),
        ("self.x[1:].view(1, -1).t()", False),
        ("torch.ones(2, 2).to_sparse()", False),
        ("self.x.clone()", True),
        ("torch.unbind_copy(self.x.view(4, -1))", True),
    ],
)
def test_real_memory_is_limited_where_it_is_allocated(made: str, is_refused: bool) -> None:
    """64 MiB twenty times are too much, but not written twenty times into the same memory."""
    line = f"self.x = torch.empty(2**24); [{made} for _ in range(20)]; self.fc.weight.max().item()"
    made_spec = spec(net_with(line))
    if is_refused:
        assert refusal(made_spec).kind == "constructor"
        return
    built = build(made_spec, on_meta=True)
    assert any("built with real memory" in it.text for it in built.assumptions)


@pytest.mark.parametrize("on_meta", [True, False])
def test_lazy_layers_get_their_sizes_from_the_inputs(on_meta: bool) -> None:
    text = net_with("self.fc = nn.LazyLinear(3)")
    made = spec(text, inputs=(InputExpression("x", "float32[2, 8]"),))
    built = build(made, on_meta=on_meta)
    assert built.model.fc.weight.shape == (3, 8)
