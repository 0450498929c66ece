"""Which Transformers architectures are traced from their default config -> docs/coverage.md.

Each architecture of `CONFIG_MAPPING` is written as a config.json and traced as
`irene estimate --hf-config` would, in a process of its own. Its matrix FLOPs are compared
with those that torch's FlopCounterMode counts on the same module and inputs.

    python benchmarks/coverage/architectures.py           # all that results.jsonl lacks; then the table
    python benchmarks/coverage/architectures.py bert vit  # these alone, printed, nothing is written
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from irene.worker.protocol import BuildSpec
    from irene.worker.values import KnownValues

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0
BATCH, LENGTH = 2, 64
TRACED, REFUSED, NOT_BUILT = "traced", "refused", "not built"


@dataclass
class Row:
    """What became of one architecture."""

    name: str
    state: str
    class_name: str = ""
    reason: str = ""  # of a refusal, or why Transformers itself does not build it
    inputs: str = ""
    assumptions: list[str] = field(default_factory=list)
    unpriced: list[str] = field(default_factory=list)
    matrix_flops: int = 0
    counted: int | None = None  # by FlopCounterMode; None where it cannot run
    counter: str = ""  # how it ran, or why not
    sums_hold: bool = True
    memo_holds: bool = True  # the tree is that of a process which remembers nothing
    raises_alone: bool = False  # a refused one, with IrEne out of the way
    seconds: float = 0.0

    @property
    def is_equal(self) -> bool:
        """Whether torch's counter agrees."""
        return self.counted == self.matrix_flops

    @property
    def is_wrong(self) -> bool:
        """Whether a figure of the tree is refuted."""
        differs = self.counted is not None and not self.is_equal
        is_sound = self.sums_hold and self.memo_holds
        return self.state == TRACED and (differs or not is_sound)


def main() -> int:
    """Exit code 1 where FLOPs differ from the counter's, or a sum is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="model types; all where none is given")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "coverage.jsonl")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "coverage.md")
    parser.add_argument("--no-flops", action="store_true", help="do not run FlopCounterMode")
    parser.add_argument("--fresh", action="store_true", help="measure again what is in results")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    from transformers import CONFIG_MAPPING

    known = {} if asked.fresh else read_rows(asked.results)
    missing = [it for it in CONFIG_MAPPING.keys() if it not in known]  # noqa: SIM118 - lazy: it has no iterator
    rows = dict(known)
    asked.results.parent.mkdir(exist_ok=True)
    for row in measure(asked.names or missing, not asked.no_flops, asked.processes):
        rows[row.name] = row
        print(line_of(row), flush=True)
        with asked.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
    print(summary(list(rows.values())))
    if not asked.names:
        asked.table.write_text(table(list(rows.values())), encoding="utf-8")
    return 1 if any(it.is_wrong for it in rows.values()) else 0


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of an earlier run; the last of a name counts."""
    if not path.is_file():
        return {}
    rows = [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return {it.name: it for it in rows}


def measure(names: list[str], with_flops: bool, n_processes: int) -> Iterator[Row]:
    """A row for each name as it comes, from a forked child for each."""
    import torch
    import transformers
    import transformers.modeling_utils  # loaded once, for all children

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    waiting, running = list(reversed(names)), dict[int, tuple[str, int, float]]()
    while waiting or running:
        while waiting and len(running) < n_processes:
            name = waiting.pop()
            pid, pipe = _forked(name, with_flops)
            running[pipe] = (name, pid, time.monotonic())
        ready, _, _ = select.select(list(running), [], [], 0.5)
        for pipe in ready:
            name, pid, begin = running.pop(pipe)
            yield _answer(name, pid, pipe, time.monotonic() - begin)
        for _, pid, begin in running.values():
            if time.monotonic() - begin > LIMIT_S:
                os.kill(pid, signal.SIGKILL)


def _forked(name: str, with_flops: bool) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    try:
        os.close(read)
        warnings.simplefilter("ignore")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(write, json.dumps(asdict(_row(name, with_flops))).encode())
    finally:
        os._exit(0)


def _answer(name: str, pid: int, pipe: int, seconds: float) -> Row:
    with os.fdopen(pipe, "rb") as stream:
        data = stream.read()
    os.waitpid(pid, 0)
    if not data:
        reason = f"no answer within {LIMIT_S:.0f} s" if seconds > LIMIT_S else "the process died"
        return Row(name, REFUSED, reason=reason, seconds=seconds)
    return Row(**json.loads(data))


def _row(name: str, with_flops: bool) -> Row:
    from irene.tree import check_sums, matrix_flops
    from irene.worker.protocol import BuildSpec
    from irene.worker.refusals import Refused
    from irene.worker.tracing import trace

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            _write_default_config(name, folder)
        except Exception as err:  # noqa: BLE001 - whatever a config class raises
            return Row(name, NOT_BUILT, reason=f"its config has no default: {_short(err)}")
        spec = BuildSpec(
            path="", text="", class_name="", search_paths=(), arguments=None, inputs=(),
            config_dir=folder, batch_size=BATCH, sequence_length=LENGTH, dtype=None, attention=None,
        )  # fmt: skip
        try:
            made = trace(spec)
        except Refused as refused:
            found = refused.refusal
            reason = f"{found.kind}: {found.message.replace(folder, name)}"
            state = REFUSED
            if found.kind in ("constructor", "arguments", "missing-import", "internal"):
                flaw = _flaw_of_transformers(name)
                state, reason = (NOT_BUILT, flaw) if flaw else (state, reason)
            row = Row(name, state, reason=reason, seconds=time.perf_counter() - begin)
            if state == REFUSED:
                row.raises_alone = _raises_alone(spec, refused.__cause__)
            return row
        except Exception as err:  # noqa: BLE001 - a fault of ours is a row too
            text = "".join(traceback.format_exception(err)[-4:])
            return Row(name, REFUSED, reason=f"fault: {text}")
        row = Row(
            name, TRACED, made.root.class_name,
            inputs=", ".join(f"{it.name} {list(it.shape)}" for it in made.inputs),
            assumptions=list(dict.fromkeys(it.text for it in made.assumptions)),
            unpriced=list(dict.fromkeys(it.name for it in made.unpriced)),
            matrix_flops=matrix_flops(made.root),
            sums_hold=check_sums(made.root) == [],
            seconds=time.perf_counter() - begin,
        )  # fmt: skip
        row.memo_holds = _tree(spec) == _tree_without_memo(spec)
        if with_flops:
            row.counted, row.counter = _counted(spec)
        return row


def _tree(spec: BuildSpec) -> object:
    """Of a second trace: some models keep what their first forward pass made."""
    from irene.tree import trace_to_json
    from irene.worker.tracing import trace

    return trace_to_json(trace(spec))


def _tree_without_memo(spec: BuildSpec) -> object:
    """The same where nothing is remembered, not even within the pass."""
    from unittest.mock import patch

    from irene.worker.meta import MEMO
    from irene.worker.tracing import forget

    forget()
    with patch.object(MEMO, "put"):
        return _tree(spec)


def _write_default_config(name: str, folder: str) -> None:
    from transformers import CONFIG_MAPPING

    CONFIG_MAPPING[name]().save_pretrained(folder)


def _flaw_of_transformers(name: str) -> str:
    """Why Transformers itself builds no model from the default config; "" where it does."""
    import torch
    import transformers

    from irene.worker.building.architectures import architecture_of

    config = transformers.CONFIG_MAPPING[name]()
    cls = architecture_of(config, (), transformers)
    if cls is None:
        return "Transformers has no model class for its config"
    try:
        with torch.device("meta"):
            cls(config)
    except Exception as meta_err:  # noqa: BLE001 - whatever a constructor raises
        return f"{cls.__name__} is not built: {_short(meta_err)}"
    return ""


def _batch_experts(model: torch.nn.Module) -> None:
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_experts_implementation_internal"):
            config._experts_implementation_internal = "batched_mm"


def _move_to_meta(model: torch.nn.Module, values: KnownValues) -> None:
    """What has memory, with the values of small integers known."""
    from irene.worker.meta import to_meta

    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                if tensor is not None and not tensor.is_meta:
                    tensors[key] = to_meta(tensor, values)  # type: ignore[assignment] # a tensor


def _counted(spec: BuildSpec) -> tuple[int | None, str]:
    """FLOPs by torch's counter, and how it ran.

    First on plain meta tensors; where the model asks for values, with the values that the
    trace had, those that it made up last. Grouped products of experts, of which the counter sees
    none, as batched ones.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from irene.worker.building import build
    from irene.worker.inputs import mend_inputs
    from irene.worker.meta import accelerators_on_meta, parts_of, stay_on_meta
    from irene.worker.meta.answers import Answers
    from irene.worker.meta.trial import guess_values

    reason = ""
    for how in ("plain", "with values", "with made-up values"):
        built = build(spec, on_meta=True)
        inputs = mend_inputs(built.model, spec, built.planned, built.values) or built.planned
        _batch_experts(built.model)
        built.model.requires_grad_(False)  # the counter's hooks take no parameters as inputs
        args, kwargs = inputs.on_meta(built.values)
        counter = FlopCounterMode(display=False)
        mode = contextlib.nullcontext() if how == "plain" else stay_on_meta(built.values)
        answers = None if how == "plain" else Answers(built.values, None, None).function
        if how == "plain":
            built.model.to("meta")
        else:
            _move_to_meta(built.model, built.values)
        if how == "with made-up values":
            built.values.begin_trial()
            guess_values(parts_of(built.model), args, kwargs, built.values)
        try:
            with accelerators_on_meta(answers), torch.no_grad(), mode, counter:
                built.model(*args, **kwargs)
        except Exception as err:  # noqa: BLE001 - the counter does not run on every model
            reason = _short(err)
            continue
        return int(counter.get_total_flops()), how
    return None, reason


def _raises_alone(spec: BuildSpec, error: BaseException | None) -> bool:
    """Whether the model raises the same on plain meta tensors, as Transformers builds it."""
    import torch
    import transformers

    from irene.worker.building import build
    from irene.worker.building.architectures import architecture_of
    from irene.worker.refusals import Refused

    try:
        args, kwargs = build(spec, on_meta=True).inputs(on_meta=True)
    except Refused:
        return False
    config = transformers.AutoConfig.from_pretrained(spec.config_dir)
    cls = architecture_of(config, (), transformers)
    try:
        with torch.device("meta"), torch.no_grad():
            cls(config).eval()(*args, **kwargs)  # type: ignore[misc] # it was built before
    except Exception as err:  # noqa: BLE001 - what it raises is the question
        return type(err) is type(error) and str(err) == str(error)
    return False


def _short(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:300] + " ..."


def line_of(row: Row) -> str:
    """One line for the terminal."""
    if row.state != TRACED:
        return f"{row.name}: {row.state}: {row.reason}"
    flops = "no count" if row.counted is None else "equal" if row.is_equal else "DIFFERENT"
    return f"{row.name}: {row.class_name} {row.inputs}; {flops} ({row.counter}) {row.seconds:.1f} s"


def summary(rows: list[Row]) -> str:
    """The figures of the whole."""
    built = [it for it in rows if it.state != NOT_BUILT]
    traced = [it for it in rows if it.state == TRACED]
    counted = [it for it in traced if it.counted is not None]
    return (
        f"{len(traced)} of {len(built)} architectures that build from their default config are "
        f"traced ({100 * len(traced) / max(1, len(built)):.1f} %); matrix FLOPs equal to "
        f"FlopCounterMode's in {sum(it.is_equal for it in counted)} of {len(counted)} in which it "
        f"runs; sums hold in {sum(it.sums_hold for it in traced)} of {len(traced)}; the tree "
        "with the memo is the one without, operation by operation, in "
        f"{sum(it.memo_holds for it in traced)} of {len(traced)}"
    )


def table(rows: list[Row]) -> str:
    """docs/coverage.md."""
    rows = sorted(rows, key=lambda it: it.name.lower())
    missing = [it for it in rows if it.state == REFUSED]
    alone = [it for it in missing if it.raises_alone]
    different = [it for it in rows if it.is_wrong]
    parts = [
        "# Transformers architectures that are traced",
        "Made by `python benchmarks/coverage/architectures.py`: each entry of `CONFIG_MAPPING` of "
        f"Transformers {_version('transformers')} (torch {_version('torch')}) that builds from its "
        "default config, written as a config.json and traced as `irene estimate --hf-config` "
        f"does, batch {BATCH}, length {LENGTH}. Its class is the one that `AutoModel` has for the "
        "config, else that of another auto class, else the one in the modeling file that is built "
        "from this config.",
        summary(rows) + ".",
        "Counts are compared with those of torch's `FlopCounterMode` on the same module and "
        "inputs: on plain meta tensors, and where the model asks for values with those that the "
        "trace had. Grouped products of experts, of which the counter sees none, run there as "
        "batched ones.",
        f"Of the {len(missing)} that are missing {len(alone)} raise the same error for the "
        "first inputs on plain meta tensors with IrEne out of the way: the class has no forward, "
        "its default config contradicts itself, or it wants other inputs.",
        "## Missing",
        _grid(
            ("architecture", "reason", "raises alone"),
            [(it.name, _cell(it.reason), "yes" if it.raises_alone else "") for it in missing],
        ),
    ]
    if different:
        parts += [
            "## Refuted",
            _grid(
                ("architecture", "here", "FlopCounterMode", "sums hold", "memo holds"),
                [
                    (
                        it.name,
                        f"{it.matrix_flops:,}",
                        _verdict(it),
                        str(it.sums_hold),
                        str(it.memo_holds),
                    )
                    for it in different
                ],
            ),
        ]
    parts += [
        "## Traced",
        _grid(
            ("architecture", "class", "inputs", "matrix FLOPs", "counter", "assumptions"),
            [
                (
                    it.name,
                    it.class_name,
                    it.inputs,
                    f"{it.matrix_flops:,}",
                    _verdict(it),
                    _cell("; ".join(it.assumptions)),
                )
                for it in rows
                if it.state == TRACED
            ],
        ),
        "## Not built by Transformers from the default config",
        _grid(
            ("architecture", "reason"),
            [(it.name, _cell(it.reason)) for it in rows if it.state == NOT_BUILT],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(row: Row) -> str:
    if row.counted is None:
        return _cell(f"does not run: {row.counter}")
    return "equal" if row.is_equal else f"{row.counted:,}"


def _grid(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    short = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return short if len(short) <= 240 else short[:240] + " ..."


def _version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)


if __name__ == "__main__":
    sys.exit(main())
