"""Costs at unseen batches and lengths against fresh traces, for text architectures of Transformers.

`python benchmarks/scaling.py` takes a fixed choice, `--all` every architecture whose default
config builds (with as few layers as have one of each kind) and takes tokens alone, `NAME ...`
these. For each a few traces are made into functions, and these compared with traces of models
built anew, at sizes that were not traced before: whole trees, to the last FLOP and byte.
"""

from __future__ import annotations

import logging
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reporting import print_table

from irene.scaling import ScaledTrace, scale
from irene.tree import Trace
from irene.worker.protocol import BuildSpec, Refusal
from irene.worker.refusals import Refused
from irene.worker.tracing import trace

BATCHES, LENGTHS = range(1, 65), range(2, 2049)
N_UNSEEN = 6
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers",
          "decoder_layers", "num_encoder_layers", "num_decoder_layers")  # fmt: skip
CHOICE = """albert apertus arcee bart bert big_bird biogpt bitnet bloom camembert clip_text_model
    codegen cohere cohere2 convbert ctrl data2vec-text deberta deberta-v2 deepseek_v3 diffllama
    distilbert doge electra ernie ernie4_5_moe eurobert falcon falcon_h1 flex_olmo fnet gemma gemma2
    glm glm4_moe gpt2 gpt_neo gpt_neox gpt_oss gptj granite granitemoe helium jamba jetmoe lfm2
    llama longformer mamba2 marian mbart mistral mixtral modernbert mpnet mpt nemotron olmo2 olmoe
    opt persimmon phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next roberta roformer rwkv smollm3
    stablelm starcoder2 t5 umt5 xglm xlm xlm-roberta xlnet""".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Figure:
    """What came of one architecture; `refused` says why there is no trace of it."""

    name: str
    refused: str = ""
    n_traces: int = 0
    n_exact: int = 0
    n_traced_anew: int = 0
    wrong: tuple[tuple[int, int], ...] = ()
    fit_s: float = 0.0  # without the traces
    trace_s: float = 0.0  # of one trace, the model built anew
    at_s: float = 0.0
    gaps: str = ""


def main(arguments: list[str]) -> int:
    """Exit code 1 where a value was wrong."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    every = arguments == ["--all"]
    names = architectures() if every else arguments or CHOICE
    figures = []
    for name in names:
        figure = measured(name)
        print(".", end="", flush=True, file=sys.stderr)
        if not figure.refused:
            figures.append(figure)
        elif not every:
            print(f"{name}: {figure.refused}")
    print_table(
        ("architecture", "traces", "exact", "traced anew", "wrong", "fit", "one size", "a trace"),
        [row(it) for it in figures],
    )
    for it in figures:
        if it.n_traced_anew or it.wrong:
            print(
                f"{it.name}: {it.gaps}; wrong at {it.wrong}"
                if it.wrong
                else f"{it.name}: {it.gaps}"
            )
    exact = sum(it.n_exact == N_UNSEEN for it in figures)
    print(
        f"{exact} of {len(figures)} architectures exact at all of {N_UNSEEN} unseen sizes "
        f"({exact / len(figures):.1%}), {sum(bool(it.wrong) for it in figures)} wrong in silence; "
        f"medians: {statistics.median(it.n_traces for it in figures):.0f} traces, fit "
        f"{1000 * statistics.median(it.fit_s for it in figures):.0f} ms, one size "
        f"{1000 * statistics.median(it.at_s for it in figures):.1f} ms against a trace of "
        f"{1000 * statistics.median(it.trace_s for it in figures):.0f} ms"
    )
    return int(any(it.wrong for it in figures))


def row(it: Figure) -> tuple[str, ...]:
    times = (f"{1000 * time_s:.1f} ms" for time_s in (it.fit_s, it.at_s, it.trace_s))
    return (it.name, *map(str, (it.n_traces, it.n_exact, it.n_traced_anew, len(it.wrong))), *times)


def architectures() -> list[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return list(CONFIG_MAPPING.keys())


def measured(name: str) -> Figure:
    """Fits one architecture and compares."""
    try:
        with config_folder(name) as folder:
            return compared(name, folder)
    except Refused as err:
        return Figure(name, refused=err.refusal.message)
    except Exception as err:  # noqa: BLE001 - a config that does not construct or save
        return Figure(name, refused=f"{type(err).__name__}: {err}")


def compared(name: str, folder: str) -> Figure:
    if not takes_tokens_alone(trace(spec(folder, 3, 16))):
        return Figure(name, refused="takes other inputs than tokens")
    traces_s: list[float] = []
    begin = time.thread_time()
    scaled = scale(tracer(folder, traces_s), BATCHES, LENGTHS)
    fit_s = time.thread_time() - begin - sum(traces_s)
    exact, anew, wrong, ats_s = 0, 0, [], []
    for batch, length in unseen(name):
        begin = time.thread_time()
        found = scaled.at(batch, length)
        ats_s.append(time.thread_time() - begin)
        if found is None:
            anew += 1
        elif found == trace(spec(folder, batch, length)):
            exact += 1
        else:
            wrong.append((batch, length))
    return Figure(
        name, "", scaled.n_traces, exact, anew, tuple(wrong), fit_s,
        statistics.median(traces_s), statistics.median(ats_s), gaps(scaled),
    )  # fmt: skip


def unseen(name: str) -> list[tuple[int, int]]:
    """Sizes at random, the same in every run: short and long ones, one in six of batch 1."""
    chance = random.Random(name)
    batches = [1] + [chance.randrange(2, BATCHES.stop) for _ in range(N_UNSEEN - 1)]
    return [
        (batch, chance.randrange(16, 300 if i % 2 else LENGTHS.stop))
        for i, batch in enumerate(batches)
    ]


def gaps(scaled: ScaledTrace) -> str:
    return "; ".join(
        f"{it.batches[0]}-{it.batches[-1]} x {it.lengths[0]}-{it.lengths[-1]}"
        f"{f' by {it.lengths.step}' if it.lengths.step > 1 else ''}: {it.reason}"
        for it in scaled.gaps[:4]
    )


def tracer(folder: str, times_s: list[float]) -> Callable[[int, int], Trace | Refusal]:
    """Builds and traces the model at any size, and notes how long it took."""

    def traced(batch: int, length: int) -> Trace | Refusal:
        begin = time.thread_time()
        try:
            return trace(spec(folder, batch, length))
        except Refused as err:
            return err.refusal
        finally:
            times_s.append(time.thread_time() - begin)

    return traced


def takes_tokens_alone(it: Trace) -> bool:
    names = {it.name for it in it.inputs}
    return "input_ids" in names and all(it.dtype == "int64" for it in it.inputs)


@contextmanager
def config_folder(name: str) -> Iterator[str]:
    """A folder with the default config of an architecture, with few layers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    with tempfile.TemporaryDirectory() as folder:
        small(CONFIG_MAPPING[name]).save_pretrained(folder)
        yield folder


def small(cls: Any) -> Any:  # noqa: ANN401 - a Transformers config
    """The default config with one layer of each kind, at least two; whole where that is refused."""
    from transformers import PretrainedConfig

    config = cls()
    settings = config.to_dict()
    kinds = list(dict.fromkeys(settings.get("layer_types") or ()))
    n_kept, n_layers = max(2, len(kinds)), settings.get("num_hidden_layers")
    changes: dict[str, Any] = {
        key: n_kept
        for key in LAYERS
        if isinstance(settings.get(key), int) and settings[key] > n_kept
    }
    for key, value in settings.items():
        if isinstance(value, (list, tuple)) and value and len(value) == n_layers:
            changes[key] = list(value)[:n_kept]
    if kinds:
        changes["layer_types"] = (kinds * 2)[:n_kept]
    for key, value in vars(config).items():
        if isinstance(value, PretrainedConfig):
            changes[key] = small(type(value))
    try:
        return cls(**changes)
    except Exception:  # noqa: BLE001 - some check what belongs together
        return config


def spec(folder: str, batch: int, length: int) -> BuildSpec:
    return BuildSpec(
        path="", text="", class_name="", search_paths=(), arguments=None, inputs=(),
        config_dir=folder, batch_size=batch, sequence_length=length, dtype=None, attention=None,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
