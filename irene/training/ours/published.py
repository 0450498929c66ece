"""The six models of the paper's data, from their configurations, traced as they were measured.

The configurations are facts of the published models. The measurements were made with a
Transformers of 2020 and the PyTorch of its time: where today's issue other operations, the
table says which, and why. What a person's code is priced by in the editor is the same
tracer without this table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from irene.tree import Node, Operation
from irene.worker.protocol import BuildSpec, InputExpression

CONFIGURATIONS: dict[str, dict[str, object]] = {
    "bert-base-uncased": {"model_type": "bert", "architectures": ["BertModel"]},
    "distilbert-base-uncased": {
        "model_type": "distilbert",
        "architectures": ["DistilBertModel"],
    },
    "roberta-base": {
        "model_type": "roberta",
        "architectures": ["RobertaModel"],
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2Model"]},
    "distilgpt2": {"model_type": "gpt2", "architectures": ["GPT2Model"], "n_layer": 6},
    "openai-gpt": {"model_type": "openai-gpt", "architectures": ["OpenAIGPTModel"]},
}


def build_spec(
    model_name: str,
    batch_size: int,
    seq_len: int,
    folder: Path,
    changes: Mapping[str, object] | None = None,
) -> BuildSpec:
    """How to build a published model; its `config.json` is written below `folder`.

    The data were measured with token ids alone, in float32, without fused attention.
    `changes` are keys of the configuration with other values.
    """
    config_dir = folder / model_name
    config_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**CONFIGURATIONS[model_name], **(changes or {})})
    (config_dir / "config.json").write_text(text, encoding="utf-8")
    return BuildSpec(
        path="",
        text="",
        class_name="",
        search_paths=(),
        arguments=None,
        inputs=(InputExpression("input_ids", f"int64[{batch_size}, {seq_len}]"),),
        config_dir=str(config_dir),
        batch_size=batch_size,
        sequence_length=seq_len,
        dtype="float32",
        attention="eager",
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    """Sizes that the differences depend on."""

    batch: int
    length: int
    n_heads: int = 12
    hidden: int = 768

    @property
    def scores_bytes(self) -> int:
        return 4 * self.batch * self.n_heads * self.length**2

    @property
    def hidden_bytes(self) -> int:
        return 4 * self.batch * self.length * self.hidden


@dataclass(frozen=True, slots=True)
class Difference:
    """Operations that a module issued when it was measured, and issues otherwise today."""

    models: tuple[str, ...]
    classes: tuple[str, ...]  # today's class names
    gone: tuple[str, ...]  # names of today's own operations that were not issued
    issued: tuple[tuple[str, Callable[[_Shape], int]], ...]  # name and bytes
    reason: str


_GPT2 = ("gpt2", "distilgpt2")

DIFFERENCES = (
    Difference(
        ("bert-base-uncased", "roberta-base"),
        ("BertSelfAttention", "RobertaSelfAttention"),
        (),
        (("add", lambda it: 2 * it.scores_bytes),),
        "the mask was always made and added to the scores; today one without padding is left out",
    ),
    Difference(
        ("bert-base-uncased", "roberta-base"),
        ("BertModel", "RobertaModel"),
        (),
        (("rsub", lambda it: 8 * it.batch * it.length),) * 3,
        "ones, cast, subtraction and product that made the mask",
    ),
    Difference(
        ("distilbert-base-uncased",),
        ("DistilBertSelfAttention",),
        ("mul",),
        (
            ("div", lambda it: 2 * it.hidden_bytes),
            ("masked_fill", lambda it: 2 * it.scores_bytes),
            ("eq", lambda it: 2 * it.batch * it.length),
        ),
        "queries were divided, not scores, and each layer made and filled its mask",
    ),
    Difference(
        _GPT2,
        ("GPT2Attention",),
        ("cat",),
        (
            ("clone", lambda it: 2 * it.hidden_bytes),
            ("clone", lambda it: 2 * it.hidden_bytes),
            ("stack", lambda it: 4 * it.hidden_bytes),
            ("_bool", lambda it: 5 * it.length**2),
        ),
        "keys and values were stacked into the cache beside the copies that the product makes, "
        "and the causal mask was cast in each layer",
    ),
    Difference(
        _GPT2,
        ("GPT2Model",),
        ("arange", "le", "zeros", "scalar_tensor", "where", "new_ones", "bitwise_and", "index"),
        (("add", lambda it: 2 * it.hidden_bytes),),
        "no mask was made for all layers; a type embedding of 0 was added",
    ),
)


def as_measured(root: Node, model_name: str, batch_size: int, seq_len: int) -> Node:
    """Today's tree with the operations of the measured version."""
    shape = _Shape(batch_size, seq_len)
    fitting = [it for it in DIFFERENCES if model_name in it.models]
    return _changed(root, fitting, shape, model_name)


def _changed(node: Node, differences: Sequence[Difference], shape: _Shape, model_name: str) -> Node:
    if node.kind == "primitive":
        return node
    children = [_changed(child, differences, shape, model_name) for child in node.children]
    for difference in differences:
        if node.class_name in difference.classes:
            gone = difference.gone
            children = [
                it for it in children if it.kind != "primitive" or it.class_name not in gone
            ]
            children += list(_issued(node.scope, difference, shape))
    if node.class_name == "Embeddings" and model_name == "distilbert-base-uncased":
        children = [_every_row(child, shape) for child in children]
    return replace(
        node,
        children=tuple(children),
        flops=sum(it.count * it.flops for it in children),
        n_bytes=sum(it.count * it.n_bytes for it in children),
    )


def _every_row(node: Node, shape: _Shape) -> Node:
    """DistilBERT looked positions up for every row of the batch; today once for all."""
    if node.kind != "primitive":
        return replace(node, children=tuple(_every_row(it, shape) for it in node.children))
    operation = node.operation
    if node.primitive != "embedding" or operation is None:
        return node
    rows = ((shape.batch, shape.length, shape.hidden),)
    return replace(node, operation=replace(operation, output_shapes=rows))


def _issued(scope: str, difference: Difference, shape: _Shape) -> Iterator[Node]:
    for name, n_bytes in difference.issued:
        yield Node(
            scope=scope,
            class_name=name,
            kind="primitive",
            primitive="elementwise",
            count=1,
            flops=0,
            n_bytes=n_bytes(shape),
            n_parameters=0,
            created_at=None,
            called_at=None,
            origin=None,
            operation=Operation(name, "float32", (), (), 1),
            children=(),
        )
