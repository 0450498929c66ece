"""Measured data are read as they are, written back the same, and refused where they cannot be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from irene.errors import DatasetError
from irene.training.forms import read_dataset, write_csv_folder, write_jsonl
from irene.training.forms.csv_files import FILES
from irene.training.measurements import Cell, Dataset


def whole(dataset: Dataset) -> Dataset:
    return Dataset(tuple(cell for cell in dataset.cells if cell.is_whole), ())


def test_trees_come_back_from_jsonl(small: Dataset, tmp_path: Path) -> None:
    """Writing and reading gives the same trees, and writing these the same text."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    write_jsonl(small, first)
    read = read_dataset(first)
    write_jsonl(read, second)
    assert read.cells[0].nodes[0].energy_j == small.cells[0].nodes[0].energy_j
    assert first.read_text() == second.read_text()


def test_a_line_has_the_keys_of_the_paper(small: Dataset, tmp_path: Path) -> None:
    """Ids are unique over the file; children are nested and named."""
    write_jsonl(small, tmp_path / "trees.jsonl")
    lines = [json.loads(it) for it in (tmp_path / "trees.jsonl").read_text().splitlines()]
    root = lines[1]["frontend_tree"]
    assert (root["scope"], root["type"], root["level"], root["parent_name"]) == (
        "root",
        "model",
        0,
        None,
    )
    assert root["child_nodes"] == ["h.0", "h.1"]
    assert [it["instance_type"] for it in root["child_nodes_obj"][0]["child_nodes_obj"]] == [
        "Linear",
        "LayerNorm",
        "MatMul",
        "MatMul",
    ]
    assert root["id"] == len(small.cells[0].nodes)


def test_published_files_come_back(dataset: Dataset, tmp_path: Path) -> None:
    """CSV -> trees -> CSV -> trees, and whole models through JSONL, node by node."""
    write_csv_folder(dataset, tmp_path / "csv")
    again = read_dataset(tmp_path / "csv")
    assert repr(again.cells) == repr(dataset.cells)  # NaN is not equal to itself
    write_jsonl(whole(dataset), tmp_path / "trees.jsonl")
    assert repr(read_dataset(tmp_path / "trees.jsonl").cells) == repr(whole(dataset).cells)


def test_published_trees_have_the_published_shape(dataset: Dataset) -> None:
    """Parents are the longest module scopes above; parameters are those of the hub."""
    cell = next(it for it in dataset.cells if it.model_name == "bert-base-uncased")
    parents = {
        node.scope: cell.nodes[parent].scope
        for node, parent in zip(cell.nodes, cell.parents, strict=True)
        if parent >= 0 and node.node_type != "ml-np"
    }
    assert parents["encoder.layer.3.attention.self.query"] == "encoder.layer.3.attention.self"
    assert parents["encoder.layer.3"] == "encoder"
    assert parents["embeddings"] == "root"
    assert cell.nodes[0].n_parameters == 109_482_240


def test_a_cell_without_its_model_is_named(dataset: Dataset, machine: str) -> None:
    """Device 1 has primitives of one cell whose model was not measured."""
    expected = {"device_1": 1, "device_2": 0}[machine]
    assert len(dataset.left_out) == expected
    assert all("whole model was not measured" in it for it in dataset.left_out)


Damage = Callable[[str], str]


def column(text: str, name: str, value: Callable[[str], str], rows: slice = slice(None)) -> str:
    """The CSV text with other values in a column."""
    header, *lines = text.splitlines()
    place = header.split(",").index(name)
    for number in range(len(lines))[rows]:
        cells = lines[number].split(",")
        cells[place] = value(cells[place])
        lines[number] = ",".join(cells)
    return "\n".join([header, *lines]) + "\n"


def first_row(name: str, value: str) -> Damage:
    return lambda text: column(text, name, lambda _: value, slice(0, 1))


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("ml", lambda text: text[: len(text) // 2], "cut short"),
        ("module", lambda text: text.rsplit(",", 1)[0] + "\n", "copy it again"),
        ("ml", lambda text: "".join(text.splitlines(keepends=True)[:-60]), "no row below"),
        ("model", first_row("energy_mean", ""), "never taken as 0"),
        ("ml-np", first_row("energy_mean", "-0.5"), "above 0"),
        ("ml", first_row("energy_mean", "nan"), "above 0"),
        ("ml", first_row("energy_mean", "0.0"), "above 0"),
        ("ml", first_row("flops", "many"), "not a number"),
        ("ml", first_row("flops", "-1"), "not a number from 0 on"),
        ("ml", lambda text: text + text.splitlines()[1] + "\n", "there twice"),
        (
            "module",
            lambda text: column(text, "energy_mean", lambda it: repr(1000 * float(it))),
            "off by 1,000",
        ),
        (
            "model",
            lambda text: column(text, "energy_mean", lambda it: repr(float(it) / 1000)),
            "off by 1,000",
        ),
        (
            "ml",
            lambda text: column(text, "times_mean", lambda it: repr(1000 * float(it))),
            "off by 1,000",
        ),
        ("ml", lambda text: text.replace("energy_mean,", "joules,", 1), "no column"),
    ],
)
def test_damaged_files_are_refused(
    dataset: Dataset, tmp_path: Path, file: str, damage: Damage, message: str
) -> None:
    """Each says the file, and what to do."""
    some = Dataset(dataset.cells[:20], ())
    write_csv_folder(some, tmp_path)
    path = tmp_path / FILES[file]  # type: ignore[index] # a node type
    path.write_text(damage(path.read_text()))
    with pytest.raises(DatasetError, match=message) as caught:
        read_dataset(tmp_path)
    where = tmp_path if message == "no row below" else path  # known once all files are read
    assert str(where) in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "cut short"),
        (lambda text: text + text.splitlines()[0] + "\n", "is there twice"),
        (lambda text: text.replace('"ground_truth_energy": ', '"other": ', 1), "has no energy"),
        (lambda text: text.replace('"type": "ml"', '"type": "leaf"', 1), "the type of"),
        (lambda text: text.replace('"flops"', '"flop"', 1), "has no 'flops'"),
        (lambda text: text.replace('"batch_size"', '"batch"', 1), "batch_size"),
        (lambda text: "", "the file is empty"),
        (lambda text: re.sub(r'"flops": [0-9.]+', '"flops": NaN', text, count=1), "flops of root"),
        (lambda text: re.sub(r'"flops": ', '"flops": -', text, count=1), "not a number from 0 on"),
        (
            lambda text: re.sub(r'("ground_truth_energy": )[0-9.]+', r"\1true", text, count=1),
            "True",
        ),
        (lambda text: text.replace('"times_mean": ', '"times_mean": -', 1), "times_mean of root"),
        (lambda text: text.replace('"batch_size": 8', '"batch_size": 0', 1), "from 1 on"),
        (
            lambda text: text.replace('"child_nodes_obj": [', '"child_nodes_obj": [7, ', 1),
            "a node is 7",
        ),
        (lambda text: text.replace('"seq_len": 64', '"seq_len": 32', 1), "there twice"),
    ],
)
def test_damaged_trees_are_refused(
    small: Dataset, tmp_path: Path, damage: Damage, message: str
) -> None:
    """Each says the line."""
    path = tmp_path / "trees.jsonl"
    write_jsonl(small, path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(DatasetError, match=message):
        read_dataset(path)


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(DatasetError, match="not UTF-8"):
        read_dataset(path)


def test_a_line_without_its_model_is_named(small: Dataset, tmp_path: Path) -> None:
    """Such a tree trains, and cannot be predicted as a whole."""
    path = tmp_path / "trees.jsonl"
    write_jsonl(small, path)
    path.write_text(path.read_text().replace('"type": "model"', '"type": "module"', 1))
    assert "one at 8 x 32: the whole model was not measured" in read_dataset(path).left_out[0]


def test_data_to_be_predicted_need_no_energy(small: Dataset, tmp_path: Path) -> None:
    """What is missing stays missing."""
    path = tmp_path / "trees.jsonl"
    write_jsonl(small, path)
    path.write_text(path.read_text().replace('"ground_truth_energy"', '"other"'))
    read = read_dataset(path, with_energies=False)
    assert {node.energy_j for _, node in read.nodes()} == {None}


def test_unknown_models_need_trees(small: Dataset, tmp_path: Path) -> None:
    """The CSV files have no column for parameters: only the published models are known."""
    write_csv_folder(small, tmp_path)
    with pytest.raises(DatasetError, match="number of parameters is not known"):
        read_dataset(tmp_path)


def test_a_fragment_is_no_tree(small: Dataset, tmp_path: Path) -> None:
    """A cell whose model was not measured cannot be written as a tree."""
    cell = small.cells[0]
    parents = tuple(max(-1, parent - 1) for parent in cell.parents[1:])
    fragment = Cell("one", 8, 32, cell.nodes[1:], parents)
    with pytest.raises(DatasetError, match="needs a root"):
        write_jsonl(Dataset((fragment,), ()), tmp_path / "trees.jsonl")


def test_nothing_there(tmp_path: Path) -> None:
    """A path that is not there, and a folder without the files."""
    with pytest.raises(DatasetError, match="no such folder"):
        read_dataset(tmp_path / "missing")
    with pytest.raises(DatasetError, match="the folder needs"):
        read_dataset(tmp_path)
