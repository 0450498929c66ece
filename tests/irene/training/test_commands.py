"""The commands from the command line: files in, files and JSON out."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from irene.cache import FOLDER_VARIABLE
from irene.cli import main
from irene.energy.catalogue import find
from irene.energy.predicted.storing import load
from irene.training.bottlenecks import REST, shares
from irene.training.forms import read_dataset, write_csv_folder, write_jsonl
from irene.training.measurements import PAPER_MODELS, Dataset
from irene.training.plot import scatter


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = main([str(it) for it in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def some_cells(dataset: Dataset, n_shapes: int = 4) -> Dataset:
    """Few shapes of every model of the paper."""
    shapes = sorted({(it.batch_size, it.seq_len) for it in dataset.cells})[:n_shapes]
    return Dataset(
        tuple(
            it
            for it in dataset.cells
            if (it.batch_size, it.seq_len) in shapes and it.model_name in PAPER_MODELS
        ),
        (),
    )


@pytest.fixture
def csv_folder(dataset: Dataset, tmp_path: Path) -> Path:
    write_csv_folder(some_cells(dataset), tmp_path / "data")
    return tmp_path / "data"


def test_train_predict_evaluate(
    small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The paper's three steps, with a configuration that is honoured."""
    data, out, model = tmp_path / "data.jsonl", tmp_path / "out.jsonl", tmp_path / "model"
    write_jsonl(small, data)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"training_strategy": "none", "save_nodes": True}))
    run(capsys, "train", data, model, "--config_filepath", config)
    assert json.loads((model / "config.json").read_text())["config"]["training_strategy"] == "none"
    assert (model / "predictions.jsonl").is_file()
    run(capsys, "predict", data, out, model)
    means = json.loads(run(capsys, "evaluate", data, out))
    assert list(means) == ["ml", "module", "model"]
    assert means["ml"] < 1.0
    only = json.loads(run(capsys, "evaluate", data, out, "--node_types", "ml"))
    assert only == {"ml": means["ml"]}


def test_a_missing_prediction_counts_as_nothing(
    small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its error is 100 %."""
    data = tmp_path / "data.jsonl"
    write_jsonl(small, data)
    means = json.loads(run(capsys, "evaluate", data, data))
    assert means == {"ml": 100.0, "module": 100.0, "model": 100.0}


def test_each_of_two_products_has_its_own_prediction(
    small: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An attention has two of one scope and class; blank lines and other files do not hurt."""
    gold, predictions = tmp_path / "gold.jsonl", tmp_path / "out.jsonl"
    cell = small.cells[0]
    write_jsonl(Dataset((cell,), ()), gold)
    n_products = 0
    exact: dict[int, float] = {}
    for place, it in enumerate(cell.nodes):
        assert it.energy_j is not None
        n_products += it.class_name == "MatMul"
        second = it.class_name == "MatMul" and n_products % 2 == 0
        exact[place] = it.energy_j * (2.0 if second else 1.0)
    write_jsonl(Dataset((cell,), ()), predictions, exact)
    predictions.write_text("\n" + predictions.read_text())
    found = json.loads(run(capsys, "evaluate", gold, predictions))
    assert found == {"ml": 25.0, "module": 0.0, "model": 0.0}  # one of four is 100 % off
    write_jsonl(Dataset((small.cells[-1],), ()), predictions, exact)
    assert "no node of" in refused(capsys, "evaluate", gold, predictions)


@pytest.mark.parametrize("method", ["paper", "ours"])
def test_crossvalidate_prints_json_and_writes_rows(
    csv_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    """The keys of the JSON, a row per tested node, and what each fold left."""
    file, kept = tmp_path / "rows.csv", tmp_path / "kept"
    arguments: Sequence[object] = ("--method", method, "--features", "static", "--json")
    text = run(capsys, "crossvalidate", csv_folder, kept, *arguments, "--predictions", file)
    found = json.loads(text)
    assert list(found) == ["mean", "per_fold", "coverage", "protocol"]
    assert list(found["mean"]) == ["ml", "module", "model"]
    assert set(found["per_fold"]) == set(PAPER_MODELS)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    columns = "model_name batch_size seq_len level_name level predicted low high"
    assert list(rows[0]) == columns.split()
    dataset = read_dataset(csv_folder)
    assert len(rows) == sum(len(cell.nodes) for cell in dataset.cells)
    energies = {
        (cell.model_name, cell.batch_size, cell.seq_len): cell.nodes[0].energy_j
        for cell in dataset.cells
        if cell.is_whole
    }
    errors: dict[str, list[float]] = {}
    for row in rows:
        if row["level"] == "model":
            key = (row["model_name"], int(row["batch_size"]), int(row["seq_len"]))
            energy_j = energies[key] or 0.0
            error = 100 * abs(float(row["predicted"]) - energy_j) / energy_j
            errors.setdefault(row["model_name"], []).append(error)
    mean = sum(sum(it) / len(it) for it in errors.values()) / len(errors)
    assert found["mean"]["model"] == pytest.approx(mean, abs=1e-3)
    assert (kept / "crossvalidation" / "leave_gpt2" / "percentage_errors.json").is_file()


def test_crossvalidate_prints_a_table(csv_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line per fold, the last overall."""
    lines = run(capsys, "crossvalidate", csv_folder).splitlines()
    assert lines[0].split() == ["left", "out", "ml", "module", "model"]
    assert lines[7].startswith("overall")


def test_ours_is_trained_and_predicts(
    csv_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with one JSON file, whose predictions of its own data are near."""
    out, model = tmp_path / "out.jsonl", tmp_path / "mine"
    run(capsys, "train", csv_folder, model, "--method", "ours", "--name", "my machine")
    assert [it.name for it in model.iterdir()] == ["predictor.json"]
    assert str(model) in run(capsys, "predictors").replace("\n", "")
    run(capsys, "predict", csv_folder, out, model)
    means = json.loads(run(capsys, "evaluate", csv_folder, out))
    assert max(means.values()) < 5.0


def test_a_predictor_without_times_is_not_trained(
    csv_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No seconds are invented: the error names the column, and nothing is written."""
    for file in csv_folder.iterdir():
        with file.open(encoding="utf-8", newline="") as text:
            found = list(csv.DictReader(text))
        with file.open("w", encoding="utf-8", newline="") as text:
            writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({**row, "times_mean": ""} for row in found)
    assert main(["train", str(csv_folder), str(tmp_path / "no"), "--method", "ours"]) == 1
    assert "times_mean" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_a_few_rows_calibrate_a_shipped_predictor(
    dataset: Dataset, tmp_path: Path, machine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other machine's predictor, moved by one shape of one model."""
    write_csv_folder(
        Dataset(tuple(it for it in some_cells(dataset, 1).cells if it.model_name == "gpt2"), ()),
        tmp_path / "data",
    )
    other = {"device_1": "IrEne-device-2", "device_2": "IrEne-device-1"}[machine]
    arguments = ("--method", "ours", "--from", other)
    run(capsys, "train", tmp_path / "data", tmp_path / "mine", *arguments)
    stored = load(tmp_path / "mine" / "predictor.json")
    assert stored.provenance["calibrated_from"] == other.replace("-d", " d").replace("-", " ")
    run(capsys, "predict", tmp_path / "data", tmp_path / "out.jsonl", tmp_path / "mine")
    means = json.loads(run(capsys, "evaluate", tmp_path / "data", tmp_path / "out.jsonl"))
    assert means["model"] < 15.0
    assert main(["train", str(tmp_path / "data"), str(tmp_path / "no"), "--from", other]) == 1
    assert "--from: --method paper" in capsys.readouterr().err


def test_a_few_rows_calibrate_a_data_sheet(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any device of the catalogue can be the start; one that does not exist is named."""
    write_csv_folder(
        Dataset(tuple(it for it in some_cells(dataset, 1).cells if it.model_name == "gpt2"), ()),
        tmp_path / "data",
    )
    arguments = ("--method", "ours", "--from", "T4")
    run(capsys, "train", tmp_path / "data", tmp_path / "mine", *arguments)
    stored = load(tmp_path / "mine" / "predictor.json")
    assert stored.provenance["calibrated_from"] == find("T4").name
    run(capsys, "predict", tmp_path / "data", tmp_path / "out.jsonl", tmp_path / "mine")
    means = json.loads(run(capsys, "evaluate", tmp_path / "data", tmp_path / "out.jsonl"))
    assert means["model"] < 15.0
    unknown = ["train", str(tmp_path / "data"), str(tmp_path / "no"), *arguments[:-1], "T44"]
    assert main(unknown) == 1
    assert "unknown device 'T44': nearest are T4" in capsys.readouterr().err


def test_bottlenecks_divide_the_whole(
    dataset: Dataset, csv_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shares of each model add up to 1; the matrix products take the most."""
    for it in shares(dataset.cells):
        assert sum(it.primitives.values()) == pytest.approx(1.0, abs=1e-3)
        dense = it.primitives.get("Linear", 0.0) + it.primitives.get("Conv1D", 0.0)
        assert dense > 0.6
        assert 0.05 < it.primitives[REST] < 0.35
    found = json.loads(run(capsys, "bottlenecks", csv_folder, "--json"))
    assert set(found) == set(PAPER_MODELS)
    assert run(capsys, "bottlenecks", csv_folder).startswith("| primitive | bert-base-uncased")


def test_a_plot_is_a_picture() -> None:
    """Well-formed SVG with a dot for each distinct point."""
    text = scatter({"one": [(0.1, 0.11), (1.0, 0.9), (1.0, 0.9)], "two": [(5.0, 5.0)]}, "a < b")
    root = ElementTree.fromstring(text)
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3 + 2  # dots and legend


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(it) for it in arguments]) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "ours", "--config_filepath", "c.json"), "--config_filepath: --method ours"),
        (("--multiprocessors", "15", "--name", "x"), "--multiprocessors, --name: --method paper"),
        (("--method", "ours", "--multiprocessors", "0"), "a card has some"),
        (("--from", "T4"), "--from: --method paper"),
    ],
)
def test_options_of_the_other_method_are_refused(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read or written."""
    assert message in refused(capsys, "train", "no data", tmp_path / "no", *arguments)
    assert not (tmp_path / "no").exists()


def test_places_that_cannot_be_written_are_found_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No dataset is read for them."""
    nowhere, file = tmp_path / "nowhere" / "out", tmp_path / "file"
    file.touch()
    assert "make it" in refused(capsys, "predict", "no data", nowhere, tmp_path)
    assert "make it" in refused(capsys, "crossvalidate", "no data", "--predictions", nowhere)
    assert "is a file" in refused(capsys, "train", "no data", file)
    assert "is a file" in refused(capsys, "crossvalidate", "no data", file)


def test_a_folder_holds_one_method(
    csv_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that no older predictor answers; the name may have spaces."""
    folder = tmp_path / "my predictor"
    run(capsys, "train", csv_folder, folder)
    run(capsys, "train", csv_folder, folder)  # again
    message = refused(capsys, "train", csv_folder, folder, "--method", "ours")
    assert "other method (config.json)" in message


def test_training_tells_its_losses_where_it_is_asked_to(
    csv_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`log_train_diff`, on standard error; `device_name` is in what each fold keeps."""
    config = tmp_path / "config.json"
    config.write_text('{"log_train_diff": true, "device_name": "mine", "num_epochs": 2}')
    arguments = [str(csv_folder), str(tmp_path / "kept"), "--config_filepath", str(config)]
    assert main(["crossvalidate", *arguments]) == 0
    assert "epoch 2: mean loss of a tree" in capsys.readouterr().err
    kept = tmp_path / "kept" / "crossvalidation" / "leave_gpt2" / "config.json"
    assert json.loads(kept.read_text())["provenance"]["device"] == "mine"


def test_a_cache_folder_that_cannot_be_used_is_said(
    csv_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The predictor is written all the same."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file"))
    out = run(capsys, "train", csv_folder, tmp_path / "mine")
    assert "choose it by its folder" in out.replace("\n", " ")
    assert (tmp_path / "mine" / "config.json").is_file()


def test_rows_that_are_left_out_are_named(
    csv_folder: Path, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model whose architecture is not known is in the protocol of its figures."""
    ctrl = [it for it in dataset.cells if it.model_name == "sshleifer/tiny-ctrl"][:1]
    folder = tmp_path / "more"
    write_csv_folder(Dataset((*read_dataset(csv_folder).cells, *ctrl), ()), folder)
    arguments = ("--method", "ours", "--split", "family", "--features", "profiled", "--json")
    found = json.loads(run(capsys, "crossvalidate", folder, *arguments))
    assert "rows left out: sshleifer/tiny-ctrl" in found["protocol"]


def test_an_empty_split_reaches_the_person(
    csv_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One model alone leaves nothing to train on."""
    cells = [it for it in read_dataset(csv_folder).cells if it.model_name == "gpt2"]
    write_csv_folder(Dataset(tuple(cells), ()), tmp_path / "one")
    assert "no cell to train on" in refused(capsys, "crossvalidate", tmp_path / "one")


def test_errors_reach_the_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and a sentence on standard error."""
    assert main(["crossvalidate", str(tmp_path)]) == 1
    assert "the folder needs" in capsys.readouterr().err
