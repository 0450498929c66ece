"""Inputs of forward: as written, by convention, from annotations, from the first layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from irene.worker.inputs import Inputs, Placeholder, find_inputs
from irene.worker.protocol import BuildSpec, InputExpression, Refusal
from irene.worker.refusals import Refused
from irene.worker.values import KnownValues


def spec(**changes: Any) -> BuildSpec:
    fields: dict[str, Any] = {
        "path": "", "text": "", "class_name": "Net", "search_paths": (), "arguments": None,
        "inputs": (), "config_dir": None, "batch_size": 4, "sequence_length": 16, "dtype": None,
        "attention": None,
    }  # fmt: skip
    return BuildSpec(**{**fields, **changes})


def written(**expressions: str) -> tuple[InputExpression, ...]:
    return tuple(InputExpression(*it) for it in expressions.items())


class Two(nn.Module):
    """Two parameters whose names say nothing."""

    def forward(self, x: Any, y: Any = None) -> Any:
        return x


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("float32[8, 3, 224, 224]", Placeholder("float32", (8, 3, 224, 224))),
        ("float32[batch, sequence // 2, 5]", Placeholder("float32", (4, 8, 5))),
        ("int64[batch]", Placeholder("int64", (4,))),
        ("float32[()]", Placeholder("float32", ())),
        ("bool[2, 2]", Placeholder("bool", (2, 2), "ones")),
        ("None", None),
        ("3 * batch", 12),
        ("[float32[1], (int64[2], None)]",
         [Placeholder("float32", (1,)), (Placeholder("int64", (2,)), None)]),
        ("{'a': float32[1]}", {"a": Placeholder("float32", (1,))}),
    ],
)  # fmt: skip
def test_expressions_are_python_with_shapes(expression: str, expected: object) -> None:
    assert find_inputs(Two(), spec(inputs=written(x=expression))).kwargs == {"x": expected}


def refusal(model: nn.Module, **changes: Any) -> Refusal:
    with pytest.raises(Refused) as raised:
        find_inputs(model, spec(**changes))
    return raised.value.refusal


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (written(x="float32[8,"), "never closed"),
        (written(x="float32[1.5]"), "not a shape of whole numbers"),
        (written(x="float33[1]"), "float33 is no name there; only `batch`, `sequence` and dtypes"),
        (written(x="__import__('os').getpid()"), "__import__"),
        (written(z="float32[1]"), "no parameter z; it has x, y"),
        (written(y="float32[1]"), "also needs x"),
    ],
)
def test_malformed_inputs_say_what_is_wrong(
    inputs: tuple[InputExpression, ...], words: str
) -> None:
    found = refusal(Two(), inputs=inputs)
    assert found.kind == "inputs"
    assert words in found.message
    assert found.advice


def test_floating_inputs_follow_the_dtype_of_the_model() -> None:
    model = nn.Linear(4, 4).bfloat16()
    found = find_inputs(model, spec(dtype="bfloat16", inputs=written(input="float32[2, 4]")))
    assert found.kwargs == {"input": Placeholder("bfloat16", (2, 4))}
    assert [it.text for it in found.assumptions] == ["input: bfloat16 as the model, not float32"]


def annotated_with(annotation: object) -> nn.Module:
    """A model in bfloat16 whose forward takes one parameter, annotated so."""

    def forward(self: nn.Module, x: Any) -> Any:
        return x

    forward.__annotations__["x"] = annotation
    model = type("Net", (nn.Module,), {"forward": forward})()
    model.weight = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    assert isinstance(model, nn.Module)
    return model


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *((kind, "bfloat16") for kind in ("Float", "Inexact", "Real", "Num", "Shaped")),
        *((kind, kind.lower()) for kind in ("Float16", "BFloat16", "Float32", "Float64")),
        *((kind, kind.lower()) for kind in ("Int8", "Int16", "Int32", "Int64", "UInt8")),
        *((kind, kind.lower()) for kind in ("Complex64", "Complex128", "Bool")),
        *((kind, "int64") for kind in ("Int", "Integer")),
        ("UInt", "uint8"),
        ("Complex", "complex64"),
        *((kind, None) for kind in ("UInt16", "Int4", "Float8e5m2", "Key", "Annotated", "dict")),
    ],
)
@pytest.mark.parametrize("is_text", [True, False])
def test_an_annotation_has_the_dtype_that_it_names(
    kind: str, dtype: str | None, is_text: bool
) -> None:
    """That of the model where it leaves it open; none for what no tensor is made of."""
    written = f"{kind}[Tensor, 'batch seq 3']"
    model = annotated_with(written if is_text else type(written, (), {}))  # jaxtyping's are classes
    if dtype is None:
        assert refusal(model).kind == "inputs"
        return
    (found,) = find_inputs(model, spec()).kwargs.values()
    assert isinstance(found, Placeholder)
    assert (found.dtype, found.shape) == (dtype, (4, 16, 3))


class Config:
    """What Conventions reads of a Transformers config."""

    def __init__(self, **sizes: object) -> None:
        self.__dict__.update(sizes)

    def to_dict(self) -> dict[str, object]:
        return dict(vars(self))


def model_with(forward: Any, main: str = "input_ids", **sizes: object) -> nn.Module:
    model = type("Net", (nn.Module,), {"forward": forward, "main_input_name": main})()
    model.config = Config(**sizes)
    assert isinstance(model, nn.Module)
    return model


MASK = Placeholder("int64", (4, 16), "ones")
IDS = Placeholder("int64", (4, 16))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (model_with(lambda self, input_ids=None, attention_mask=None, labels=None: None),
         {"input_ids": IDS, "attention_mask": MASK}),
        (model_with(lambda self, input_ids=None, attention_mask=None, decoder_input_ids=None: None,
                    is_encoder_decoder=True),
         {"input_ids": IDS, "attention_mask": MASK, "decoder_input_ids": IDS}),
        (model_with(lambda self, input_ids=None: None, max_position_embeddings=8),
         {"input_ids": Placeholder("int64", (4, 8))}),
        (model_with(lambda self, pixel_values=None: None, "pixel_values", image_size=[8, 6]),
         {"pixel_values": Placeholder("float32", (4, 3, 8, 6))}),
        (model_with(lambda self, input_features=None: None, "input_features", num_mel_bins=40,
                    max_source_positions=10),
         {"input_features": Placeholder("float32", (4, 40, 20))}),
        (model_with(lambda self, input_values=None: None, "input_values"),
         {"input_values": Placeholder("float32", (4, 16_000))}),
        (model_with(lambda self, hidden_states: None, "hidden_states", hidden_size=5),
         {"hidden_states": Placeholder("float32", (4, 16, 5))}),
    ],
    ids=["text", "encoder-decoder", "short", "image", "spectrogram", "audio", "states"],
)  # fmt: skip
def test_names_of_transformers_tell_what_they_want(
    model: nn.Module, expected: dict[str, Placeholder]
) -> None:
    assert find_inputs(model, spec()).kwargs == expected


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (sequential(nn.Linear(6, 2)), "float32[4, 16, 6]"),
        (sequential(nn.LSTM(6, 2, batch_first=True)), "float32[4, 16, 6]"),
        (sequential(nn.GRU(6, 2)), "float32[16, 4, 6]"),
        (sequential(nn.Conv1d(6, 2, 3)), "float32[4, 6, 16]"),
        (sequential(nn.Embedding(10, 2)), "int64[4, 16]"),
        (sequential(nn.LayerNorm((3, 6))), "float32[4, 16, 3, 6]"),
        # what later layers take decides between the sizes that the first one would take
        (sequential(nn.Linear(6, 2), nn.BatchNorm1d(2)), "float32[4, 6]"),
        (sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(6 * 24 * 24, 10)),
         "float32[4, 1, 28, 28]"),
        (sequential(nn.TransformerEncoderLayer(8, 2, batch_first=True)), "float32[4, 16, 8]"),
    ],
)  # fmt: skip
def test_one_unknown_input_follows_from_the_first_layer(model: nn.Module, expected: str) -> None:
    """It is tried on meta, named as an assumption, and the model is left as it was."""
    before = [dict(vars(it)) for it in model.eval().modules()]
    found = find_inputs(model, spec())
    assert [str(it) for it in found.kwargs.values()] == [expected]
    assert [it.text.startswith(f"input: {expected}, from the first layer, ")
            for it in found.assumptions] == [True]  # fmt: skip
    assert [dict(vars(it)) for it in model.modules()] == before


def test_a_guess_that_does_not_run_is_kept_so_that_its_trace_says_why() -> None:
    found = find_inputs(sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(77, 10)), spec())
    assert [str(it) for it in found.kwargs.values()] == ["float32[4, 1, 224, 224]"]


def test_real_inputs_are_random_from_a_seed_and_valid() -> None:
    inputs = Inputs(
        kwargs={"ids": Placeholder("int64", (64,)), "mask": Placeholder("bool", (2,), "ones"),
                "x": [Placeholder("float32", (3,))]}
    )  # fmt: skip
    model = sequential(nn.Embedding(5, 2), nn.Embedding(9, 2))
    _, first = inputs.for_real(model, "cpu", 0)
    _, again = inputs.for_real(model, "cpu", 0)
    _, other = inputs.for_real(model, "cpu", 1)
    ids: Any = first["ids"]
    assert set(ids.tolist()) == set(range(5))
    assert torch.equal(ids, again["ids"])  # type: ignore[arg-type] # a tensor
    assert not torch.equal(ids, other["ids"])  # type: ignore[arg-type] # a tensor
    assert first["mask"].all()  # type: ignore[attr-defined] # a tensor
    assert [it.shape for it in first["x"]] == [(3,)]  # type: ignore[attr-defined] # a list


def test_on_meta_the_values_of_masks_alone_are_known() -> None:
    values = KnownValues()
    _, made = Inputs(kwargs={"ids": IDS, "mask": MASK}).on_meta(values)
    ids, mask = made["ids"], made["mask"]
    assert isinstance(ids, torch.Tensor)
    assert isinstance(mask, torch.Tensor)
    known = values.of(mask)
    assert known is not None
    assert bool(known.all())
    assert values.of(ids) is None
