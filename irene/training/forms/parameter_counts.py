"""Parameters of the nodes of the published CSV files, which have no column for them.

Counted from the models' published shapes (their `config.json` on the Hugging Face hub): the
elements of all parameters at or below a scope.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the number of parameters of a Transformer."""

    hidden: int
    inner: int
    vocabulary: int
    positions: int
    types: int = 0  # of tokens


_SHAPES = {
    "bert-base-uncased": Shape(768, 3072, 30522, 512, 2),
    "roberta-base": Shape(768, 3072, 50265, 514, 1),
    "distilbert-base-uncased": Shape(768, 3072, 30522, 512),
    "gpt2": Shape(768, 3072, 50257, 1024),
    "distilgpt2": Shape(768, 3072, 50257, 1024),
    "openai-gpt": Shape(768, 3072, 40478, 512),
    "sshleifer/tiny-ctrl": Shape(16, 2, 246534, 256),
}

_EMBEDDINGS = {
    "word_embeddings": "vocabulary",
    "position_embeddings": "positions",
    "token_type_embeddings": "types",
    "wte": "vocabulary",
    "wpe": "positions",
    "tokens_embed": "vocabulary",
    "positions_embed": "positions",
    "w": "vocabulary",
}

_OUTPUTS = {
    # last words of the scope: input and output width, in hidden (h) and inner (f)
    "intermediate.dense": ("h", "f"),
    "attention.output.dense": ("h", "h"),
    "output.dense": ("f", "h"),
    "pooler.dense": ("h", "h"),
    "query": ("h", "h"),
    "key": ("h", "h"),
    "value": ("h", "h"),
    "q_lin": ("h", "h"),
    "k_lin": ("h", "h"),
    "v_lin": ("h", "h"),
    "out_lin": ("h", "h"),
    "lin1": ("h", "f"),
    "lin2": ("f", "h"),
    "c_attn": ("h", "3"),
    "attn.c_proj": ("h", "h"),
    "c_fc": ("h", "f"),
    "mlp.c_proj": ("f", "h"),
    "Wq": ("h", "h"),
    "Wk": ("h", "h"),
    "Wv": ("h", "h"),
    "multi_head_attention.dense": ("h", "h"),
    "ffn.0": ("h", "f"),
    "ffn.2": ("f", "h"),
}


def knows(model_name: str) -> bool:
    """Whether the shapes of a model are in the table."""
    return model_name in _SHAPES


def leaf_parameters(model_name: str, scope: str, class_name: str) -> int | None:
    """Parameters of one primitive; None where the table does not say."""
    shape = _SHAPES[model_name]
    last = scope.rpartition(".")[2]
    if class_name == "LayerNorm":
        return 2 * shape.hidden
    if class_name == "Embedding":
        what = _EMBEDDINGS.get(last)
        return None if what is None else int(getattr(shape, what)) * shape.hidden
    if class_name in ("Linear", "Conv1D"):
        return _dense_parameters(shape, scope)
    return 0


def _dense_parameters(shape: Shape, scope: str) -> int | None:
    widths = {"h": shape.hidden, "f": shape.inner, "3": 3 * shape.hidden}
    for ending, (n_in, n_out) in _OUTPUTS.items():
        if scope.endswith(ending):
            return widths[n_in] * widths[n_out] + widths[n_out]
    return None
