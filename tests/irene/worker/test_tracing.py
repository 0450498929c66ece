"""Traces against closed forms and against torch's own counter, on models none of us wrote."""

from __future__ import annotations

import importlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from irene.tree import Node, Trace, check_sums, matrix_flops, trace_from_json, trace_to_json, walk
from irene.worker.protocol import BuildSpec, InputExpression, Refusal
from irene.worker.refusals import Refused
from irene.worker.tracing import trace, trace_module, trace_sample

EXAMPLES = Path(__file__).parents[3] / "examples"
MODELS = Path(transformers.__file__).parent / "models"
B, S, H, F, L = 8, 128, 768, 3072, 12


def spec(path: Path | str, class_name: str, text: str | None = None, **changes: Any) -> BuildSpec:
    fields: dict[str, Any] = {
        "path": str(path), "text": Path(path).read_text("utf-8") if text is None else text,
        "class_name": class_name, "search_paths": (str(Path(path).parent),), "arguments": None,
        "inputs": (), "config_dir": None, "batch_size": B, "sequence_length": S, "dtype": None,
        "attention": None,
    }  # fmt: skip
    return BuildSpec(**{**fields, **changes})


def hf(name: str, class_name: str, **changes: Any) -> BuildSpec:
    """A class of an installed Transformers file, loaded from its text in its package."""
    site = str(Path(transformers.__file__).parents[1])
    path = MODELS / name / f"modeling_{name}.py"
    return spec(path, class_name, search_paths=(site,), **changes)


def inputs(**expressions: str) -> tuple[InputExpression, ...]:
    return tuple(InputExpression(*it) for it in expressions.items())


def encoder_flops(batch: int, length: int) -> int:
    """Matrix FLOPs of BERT-base with its pooler, as published for such encoders."""
    per_layer = 4 * batch * length * H**2 + 2 * batch * length * H * F + 2 * batch * length**2 * H
    return 2 * (L * per_layer + batch * H**2)


@pytest.mark.parametrize("attention", [None, "eager", "sdpa"])
@pytest.mark.parametrize(("batch", "length"), [(8, 128), (1, 17), (3, 512)])
def test_bert_has_the_matrix_flops_of_its_closed_form(
    attention: str | None, batch: int, length: int
) -> None:
    made = trace(
        hf("bert", "BertModel", attention=attention, batch_size=batch, sequence_length=length)
    )
    assert matrix_flops(made.root) == encoder_flops(batch, length)
    assert check_sums(made.root) == []
    assert made.root.n_parameters == 109_482_240  # published: 110 M
    assert made.unpriced == ()


def test_gpt2_has_the_matrix_flops_of_its_closed_form() -> None:
    """Per token and layer 12 H² weights, and two products of length S for attention."""
    made = trace(hf("gpt2", "GPT2Model"))
    assert matrix_flops(made.root) == 2 * L * (12 * B * S * H**2 + 2 * B * S**2 * H)
    assert made.root.n_parameters == 124_439_808  # published: 124 M


def test_the_example_has_the_matrix_flops_of_its_closed_form() -> None:
    """Six layers of width 512, a head onto the vocabulary."""
    made = trace(
        spec(EXAMPLES / "gpt.py", "GPT", arguments="n_layers=6, width=512",
             inputs=inputs(input_ids="int64[8, 128]"))
    )  # fmt: skip
    width, vocabulary = 512, 50257
    layers = 6 * (12 * B * S * width**2 + 2 * B * S**2 * width)
    assert matrix_flops(made.root) == 2 * (layers + B * S * width * vocabulary)


class Conv(nn.Module):
    """Convolutions of all ranks, grouped and transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.b = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.c = nn.Conv1d(4, 6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.b(self.a(x)).flatten(2))


class Shared(nn.Module):
    """One layer called three times, and a product between activations."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.fc(x)
        return torch.einsum("bij,bkj->bik", x, x).softmax(-1)


ORACLE = [
    (nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4)), torch.randn(8, 16)),
    (Conv(), torch.randn(2, 4, 16, 16)),
    (Shared(), torch.randn(2, 5, 16)),
    (nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.ReLU()), torch.randn(1, 2, 6, 6, 6)),
    (nn.Bilinear(4, 4, 3), (torch.randn(2, 4), torch.randn(2, 4))),
]


def counted(model: nn.Module, args: tuple[Any, ...]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(*args)
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("model", "args"), ORACLE, ids=[type(it[0]).__name__ for it in ORACLE])
def test_matrix_flops_equal_those_of_torch_s_counter(model: nn.Module, args: Any) -> None:
    """On a real run of the same model."""
    args = args if isinstance(args, tuple) else (args,)
    made = trace_module(model, args)
    assert matrix_flops(made.root) == counted(model, args)
    assert check_sums(made.root) == []


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 64, "vocab_size": 100}  # fmt: skip
ARCHITECTURES: list[tuple[str, str, dict[str, Any]]] = [
    ("BertModel", "BertConfig", SMALL),
    ("RobertaModel", "RobertaConfig", SMALL),
    ("LlamaModel", "LlamaConfig", {**SMALL, "num_key_value_heads": 2}),
    ("MistralModel", "MistralConfig", {**SMALL, "num_key_value_heads": 2}),
    ("GPT2Model", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}),
    ("DistilBertModel", "DistilBertConfig",
     {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 100}),
    ("GPTNeoXModel", "GPTNeoXConfig", SMALL),
    ("Phi3Model", "Phi3Config", {**SMALL, "pad_token_id": 0}),
    ("Qwen2Model", "Qwen2Config", {**SMALL, "num_key_value_heads": 2}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config", "sizes"), ARCHITECTURES, ids=[a[0] for a in ARCHITECTURES]
)
def test_transformers_models_equal_torch_s_counter(
    name: str, config: str, sizes: dict[str, Any]
) -> None:
    """Eager attention: the counter knows every product of it."""
    made_config = getattr(transformers, config)(**sizes, attn_implementation="eager")
    model = getattr(transformers, name)(made_config)
    ids = torch.randint(0, 100, (2, 12))
    made = trace_module(model, (), {"input_ids": ids})
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(input_ids=ids)
    assert matrix_flops(made.root) == counter.get_total_flops()
    assert check_sums(made.root) == []
    assert made.root.n_parameters == sum(it.numel() for it in model.parameters())


@pytest.mark.parametrize("name", ["t5", "vit", "whisper", "clip"])
def test_other_families_trace_with_nothing_given(name: str) -> None:
    """Encoder-decoders, images and audio get their inputs from config and signature."""
    module = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    prefix = {"t5": "T5", "vit": "ViT", "whisper": "Whisper", "clip": "CLIP"}
    class_name = f"{prefix[name]}Model"
    assert hasattr(module, class_name)
    made = trace(hf(name, class_name, batch_size=2, sequence_length=16))
    assert matrix_flops(made.root) > 0
    assert check_sums(made.root) == []


def leaf(root: Node, primitive: str) -> list[Node]:
    return [node for node, _ in walk(root) if node.primitive == primitive]


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        # per step and direction: gates x (input x hidden + hidden x hidden), twice for FLOP
        (nn.LSTM(8, 16, batch_first=True), (4, 10, 8), 2 * 4 * 10 * 4 * 16 * (8 + 16)),
        (nn.GRU(8, 16, batch_first=True), (4, 10, 8), 2 * 4 * 10 * 3 * 16 * (8 + 16)),
        (nn.RNN(8, 16, bidirectional=True), (10, 4, 8), 2 * 2 * 4 * 10 * 16 * (8 + 16)),
    ],
    ids=["LSTM", "GRU", "RNN"],
)
def test_a_recurrent_layer_is_one_primitive(
    layer: nn.Module, x: tuple[int, ...], expected: int
) -> None:
    made = trace_module(layer, (torch.zeros(x),))
    assert [it.flops for it in leaf(made.root, "recurrent")] == [expected]


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (nn.LSTM(8, 16), (10, 4, 8), 10),
        (nn.LSTM(8, 16, batch_first=True), (4, 10, 8), 10),
        (nn.LSTM(8, 16), (10, 8), 10),
        (nn.GRU(8, 16, num_layers=3, batch_first=True), (4, 10, 8), 3 * 10),
        (nn.RNN(8, 16, num_layers=2, bidirectional=True), (10, 4, 8), 2 * 2 * 10),
        (nn.LSTM(8, 16, proj_size=4, bidirectional=True), (10, 4, 8), 2 * 10),
        (nn.Linear(8, 16), (10, 4, 8), 0),
    ],
)
def test_a_recurrent_layer_counts_the_steps_that_wait_for_one_another(
    layer: nn.Module, x: tuple[int, ...], expected: int
) -> None:
    """Time steps x layers x directions, whatever the batch."""
    made = trace_module(layer, (torch.zeros(x),))
    operations = [it.operation for it, _ in walk(made.root) if it.operation is not None]
    assert sum(it.n_steps for it in operations) == expected


def test_packed_sequences_have_the_steps_of_the_longest() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(8, 16, num_layers=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, [10, 7, 7, 2])
            return self.rnn(packed)[0].data

    made = trace_module(Net(), (torch.zeros(10, 4, 8),))
    (layer,) = leaf(made.root, "recurrent")
    assert layer.operation is not None
    assert layer.operation.n_steps == 2 * 10


def test_fused_attention_is_one_kernel_with_its_softmax_beside() -> None:
    class Net(nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    made = trace_module(Net(), tuple(torch.zeros(2, 4, 16, 8) for _ in range(3)))
    (attention,) = leaf(made.root, "attention")
    assert attention.flops == 2 * 2 * (2 * 4 * 16 * 16 * 8)
    assert attention.n_bytes == 4 * 4 * (2 * 4 * 16 * 8)
    assert attention.operation is not None
    assert attention.operation.n_kernels == 1
    (softmax,) = leaf(made.root, "softmax")
    assert softmax.n_bytes == 0
    assert softmax.operation is not None
    assert softmax.operation.n_kernels == 0


def test_a_bias_stands_beside_its_product() -> None:
    """The product has the matrix FLOPs alone; the bias rides in its kernel."""
    made = trace_module(nn.Linear(16, 32), (torch.zeros(8, 16),))
    found = [(it.primitive, it.flops, it.operation and it.operation.n_kernels)
             for it in made.root.children]  # fmt: skip
    assert found == [("linear", 2 * 8 * 16 * 32, 1), ("elementwise", 8 * 32, 0)]


def test_views_cost_nothing_and_expanded_inputs_are_read_once() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.expand(64, 32).transpose(0, 1) + 1.0

    made = trace_module(Net(), (torch.zeros(1, 32),))
    (add,) = made.root.children
    assert add.n_bytes == 4 * (32 + 64 * 32)


def test_a_module_called_in_a_loop_is_one_node_with_its_count() -> None:
    made = trace_module(Shared(), (torch.zeros(2, 5, 16),))
    assert [(it.scope, it.count) for it in made.root.children if it.kind == "module"] == [("fc", 3)]


def test_every_node_knows_its_line() -> None:
    """Where it was constructed, and where forward called it."""
    made = trace(spec(EXAMPLES / "gpt.py", "GPT", inputs=inputs(input_ids="int64[2, 16]")))
    lines = (EXAMPLES / "gpt.py").read_text("utf-8").splitlines()
    for node, _ in walk(made.root):
        if node.class_name == "Attention":
            assert node.created_at is not None
            assert node.called_at is not None
            assert "self.attn = Attention(" in lines[node.created_at.line - 1]
            assert "self.attn(" in lines[node.called_at.line - 1]
        if node.primitive == "attention":
            assert node.called_at is not None
            assert "scaled_dot_product_attention" in lines[node.called_at.line - 1]


def test_a_trace_survives_its_json() -> None:
    made = trace_module(Shared(), (torch.zeros(2, 5, 16),))
    assert trace_from_json(trace_to_json(made)) == made


def test_a_traced_module_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    before = {name: it.clone() for name, it in model.state_dict().items()}
    attributes = [dict(vars(it)) for it in model.modules()]
    trace_module(model, (torch.randn(2, 4),))
    assert model.training
    assert [dict(vars(it)) for it in model.modules()] == attributes
    assert all(torch.equal(before[name], it) for name, it in model.state_dict().items())
    assert all(not it.is_meta for it in model.parameters())


class Frozen(dict[str, int]):
    """As the configs of diffusers: what is in it stays, whoever asks."""

    def update(self, *args: object, **kwargs: object) -> None:
        raise TypeError("frozen")


def test_a_container_that_refuses_writing_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    model.config = Frozen(width=4)
    trace_module(model, (torch.randn(2, 4),))
    assert model.config == {"width": 4}


@st.composite
def chains(draw: st.DrawFn) -> tuple[nn.Module, int]:
    """A random plain module and the width of its input."""
    widths = draw(st.lists(st.integers(1, 24), min_size=2, max_size=5))
    layers: list[nn.Module] = []
    for first, last in pairwise(widths):
        layers.append(nn.Linear(first, last, bias=draw(st.booleans())))
        layers.append(
            draw(st.sampled_from([nn.ReLU(), nn.Tanh(), nn.LayerNorm(last), nn.Identity()]))
        )
    return nn.Sequential(*layers), widths[0]


@settings(max_examples=40, deadline=None)
@given(chains(), st.integers(1, 6))
def test_random_chains_keep_their_sums_and_equal_the_counter(
    made: tuple[nn.Module, int], batch: int
) -> None:
    model, width = made
    x = torch.randn(batch, width)
    found = trace_module(model, (x,))
    assert check_sums(found.root) == []
    assert matrix_flops(found.root) == counted(model, (x,))


def refusal(
    text: str, class_name: str = "Net", path: str = "/work/user/net.py", **changes: Any
) -> Refusal:
    with pytest.raises(Refused) as raised:
        trace(spec(path, class_name, text, **changes))
    return raised.value.refusal


HEAD = "import torch\nfrom torch import nn\nclass Net(nn.Module):\n"


@pytest.mark.parametrize(
    ("text", "kind", "line", "words"),
    [
        ("import nowhere_to_be_found\n" + HEAD + "    pass", "missing-import", 1, "nowhere_to_be_found"),
        ("class Net(:\n", "syntax", 1, "line 1"),
        (HEAD + "    def __init__(self):\n        super().__init__()\n        raise ValueError('no width')",
         "constructor", 6, "no width"),
        (HEAD + "    def __init__(self, width, depth):\n        super().__init__()", "arguments", None,
         "width"),
        (HEAD + "    def forward(self, x, weird):\n        return x", "inputs", None, "weird"),
        (HEAD.replace("Net", "Other") + "    pass", "arguments", None, "Net"),
    ],
    ids=["import", "syntax", "constructor", "arguments", "inputs", "class"],
)  # fmt: skip
def test_what_cannot_be_built_says_what_where_and_what_to_do(
    text: str, kind: str, line: int | None, words: str
) -> None:
    found = refusal(text)
    assert found.kind == kind
    assert words in f"{found.message} line {found.line}"
    assert line is None or found.line == line
    assert found.advice


def test_inputs_of_the_wrong_shape_are_named_with_the_line() -> None:
    text = HEAD + (
        "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(4, 2)\n"
        "    def forward(self, x):\n        return self.fc(x)\n"
    )
    found = refusal(text, inputs=inputs(x="float32[3, 5]"))
    assert found.kind == "forward"
    assert found.line == 8
    assert "5" in found.message
    assert "4" in found.message


@pytest.mark.parametrize("line", ["n = x.numpy()", "n = x.bincount()", "assert (x > 0).all()"])
def test_a_value_that_meta_does_not_have_is_refused_at_its_line(line: str) -> None:
    text = HEAD + f"    def forward(self, x):\n        {line}\n        return x * 2\n"
    found = refusal(text, inputs=inputs(x="float32[3, 5]"))
    assert (found.kind, found.line) == ("data-dependent", 5)


def test_relative_imports_and_unsaved_text(tmp_path: Path) -> None:
    """The buffer counts, not the file on disk; its package's other files come from disk."""
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text("from torch import nn\nclass Part(nn.Linear): pass\n")
    (package / "net.py").write_text("raise RuntimeError('the file on disk')")
    text = (
        "from torch import nn\nfrom .layers import Part\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.p = Part(4, 6)\n"
        "    def forward(self, x):\n        return self.p(x)\n"
    )
    made: Trace = trace(
        spec(
            package / "net.py",
            "Net",
            text,
            search_paths=(str(tmp_path),),
            inputs=inputs(x="float32[2, 4]"),
        )
    )
    assert matrix_flops(made.root) == 2 * 2 * 4 * 6
    part = made.root.children[0]
    assert part.origin is not None
    assert part.origin.path == str(package / "layers.py")


def test_names_of_the_user_win_over_ours_and_python_s(tmp_path: Path) -> None:
    """The user's own irene.py, profile.py and server package are what their imports get."""
    (tmp_path / "irene.py").write_text("WIDTH = 4\n")
    (tmp_path / "profile.py").write_text("DEPTH = 6\n")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("BATCH = 2\n")
    text = (
        "import irene, profile, server\nfrom torch import nn\nclass Net(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(irene.WIDTH, profile.DEPTH)\n"
    )
    made = trace(spec(tmp_path / "net.py", "Net", text, inputs=inputs(input="float32[2, 4]")))
    assert matrix_flops(made.root) == 2 * 2 * 4 * 6
    assert importlib.import_module("irene").__version__


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_tabs_emoji_and_line_ends_do_not_matter(newline: str) -> None:
    text = newline.join([
        "# 🧠", "from torch import nn", "class Net(nn.Module):", "\tdef __init__(self):",
        "\t\tsuper().__init__()", "\t\tself.fc = nn.Linear(4, 2)  # ⚡", "\tdef forward(self, x):",
        "\t\treturn self.fc(x)", "",
    ])  # fmt: skip
    made = trace(spec("/work/user/net.py", "Net", text, inputs=inputs(x="float32[3, 4]")))
    created = made.root.children[0].created_at
    assert created is not None
    assert created.line == 6


JAXTYPED = """from jaxtyping import Float, Int
from torch import Tensor, nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(32, 10)
        self.embed = nn.Embedding(100, 32)
    def forward(self, x: Float[Tensor, "batch seq 32"], ids: Int[Tensor, "batch time"]):
        return self.fc(x + self.embed(ids))
"""


@pytest.mark.parametrize("text", [JAXTYPED, f"from __future__ import annotations\n{JAXTYPED}"])
def test_jaxtyping_annotations_are_shapes(text: str) -> None:
    """Axes by name take the batch and length of the settings."""
    made = trace(spec("/work/user/net.py", "Net", text, batch_size=2, sequence_length=6))
    assert [(it.name, it.dtype, it.shape) for it in made.inputs] == [
        ("x", "float32", (2, 6, 32)),
        ("ids", "int64", (2, 6)),
    ]


@pytest.mark.parametrize(
    ("layers", "parameter", "shape"),
    [
        ("nn.Conv2d(3, 8, 3)", "images", (4, 3, 224, 224)),
        ("nn.Linear(20, 8)", "x", (4, 16, 20)),
        ("nn.Embedding(50, 8)", "tokens", (4, 16)),
    ],
)
def test_the_first_layer_tells_the_input_and_that_is_said(
    layers: str, parameter: str, shape: tuple[int, ...]
) -> None:
    text = HEAD + (
        f"    def __init__(self):\n        super().__init__()\n        self.first = {layers}\n"
        f"    def forward(self, {parameter}):\n        return self.first({parameter})\n"
    )
    made = trace(spec("/work/user/net.py", "Net", text, batch_size=4, sequence_length=16))
    assert [it.shape for it in made.inputs] == [shape]
    assert any("from the first layer" in it.text for it in made.assumptions)


def test_the_sample_that_warms_a_process_is_like_other_models() -> None:
    """It runs, and so touches what they touch."""
    assert trace_sample().root.flops > 0
