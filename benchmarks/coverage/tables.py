"""The rows as lines of a terminal and as a page of docs/."""

from __future__ import annotations

from rows import BATCH, LENGTH, NOT_BUILT, REFUSED, TRACED, Row

_NAMES = {"transformers": "Transformers", "diffusers": "diffusers"}
_TITLES = {
    "transformers": "# Transformers architectures that are traced",
    "diffusers": "# diffusers models that are traced",
}


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


def table(library: str, rows: list[Row]) -> str:
    """A page of docs/."""
    rows = sorted(rows, key=lambda it: it.name.lower())
    missing = [it for it in rows if it.state == REFUSED]
    alone = [it for it in missing if it.raises_alone]
    different = [it for it in rows if it.is_wrong]
    parts = [
        _TITLES[library],
        _introduction(library),
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
                    _cell(it.inputs),
                    f"{it.matrix_flops:,}",
                    _verdict(it),
                    _cell("; ".join(it.assumptions)),
                )
                for it in rows
                if it.state == TRACED
            ],
        ),
        f"## Not built by {_NAMES[library]} from the default config",
        _grid(
            ("architecture", "reason"),
            [(it.name, _cell(it.reason)) for it in rows if it.state == NOT_BUILT],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(library: str) -> str:
    command, versions = "python benchmarks/coverage/architectures.py", f"torch {_version('torch')}"
    how = f"batch {BATCH}, length {LENGTH}"
    if library == "diffusers":
        return (
            f"Made by `{command} --library diffusers`: each model class that diffusers "
            f"{_version('diffusers')} ({versions}) exports, from its default config, or from the "
            "one in `benchmarks/coverage/diffusers_configs.json` where its defaults build no model "
            f"that runs, written as a config.json and traced as `irene estimate --hf-config` does, "
            f"{how}, latents and pictures of the config's sizes."
        )
    return (
        f"Made by `{command}`: each entry of `CONFIG_MAPPING` of Transformers "
        f"{_version('transformers')} ({versions}) that builds from its default config, written as "
        f"a config.json and traced as `irene estimate --hf-config` does, {how}. Its class is the "
        "one that `AutoModel` has for the config, else that of another auto class, else the one in "
        "the modeling file that is built from this config. Models of diffusers have "
        "[their own page](coverage-diffusers.md)."
    )


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
