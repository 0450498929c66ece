"""Small measured trees made here, and the paper's own data where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from irene.cache import FOLDER_VARIABLE
from irene.training.crossvalidation import observations
from irene.training.forms import read_dataset
from irene.training.measurements import Cell, Dataset, MeasuredNode, NodeType
from irene.training.ours.observations import Observation

DATA = Path(__file__).parents[4] / "shared" / "irene-data"


def node(
    scope: str, class_name: str, node_type: NodeType, energy_j: float | None, mflop: float = 100.0
) -> MeasuredNode:
    """A node whose other columns follow from its FLOPs, 200 W at 5 TFLOP/s."""
    time_s = 1e-4 + mflop / 5e6
    resources = (8.5, 10.0, 90.0, 20.0, 1900.0, 3802.0, time_s, 100.0 * time_s)
    return MeasuredNode(scope, class_name, node_type, 1000, mflop, mflop / 25, resources, energy_j)


def small_cell(model_name: str, batch_size: int, seq_len: int) -> Cell:
    """A model of two layers with a linear layer, a normalisation and two products each."""
    size = batch_size * seq_len / 256
    nodes = [node("root", model_name, "model", 1.1 * size, 4000 * size)]
    parents = [-1]
    for layer in range(2):
        nodes.append(node(f"h.{layer}", "Block", "module", 0.5 * size, 2000 * size))
        parents.append(0)
    for layer in range(2):
        for name, node_type, energy_j, mflop in (
            ("Linear", "ml", 0.2, 1000),
            ("LayerNorm", "ml", 0.01, 10),
            ("MatMul", "ml-np", 0.05, 200),
            ("MatMul", "ml-np", 0.05, 200),
        ):
            own = f"h.{layer}" if node_type == "ml-np" else f"h.{layer}.{name.lower()}"
            nodes.append(node(own, name, node_type, energy_j * size, mflop * size))
            parents.append(1 + layer)
    return Cell(model_name, batch_size, seq_len, tuple(nodes), tuple(parents))


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained here is remembered here."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def small() -> Dataset:
    """Three models at four shapes."""
    shapes = [(8, 32), (8, 64), (16, 32), (16, 64)]
    models = ["one", "two", "three"]
    return Dataset(tuple(small_cell(m, b, s) for m in models for b, s in shapes), ())


@pytest.fixture(scope="session", params=["device_1", "device_2"])
def machine(request: pytest.FixtureRequest) -> str:
    """Each of the paper's machines."""
    return str(request.param)


_DATASETS: dict[str, Dataset] = {}
_ROWS: dict[str, tuple[Observation, ...]] = {}


def dataset_of(machine: str) -> Dataset:
    """The data of a machine, read once."""
    if not DATA.is_dir():
        pytest.skip(f"needs the paper's measurements in {DATA}")
    if machine not in _DATASETS:
        _DATASETS[machine] = read_dataset(DATA / machine)
    return _DATASETS[machine]


@pytest.fixture
def dataset(machine: str) -> Dataset:
    """The paper's data of a machine."""
    return dataset_of(machine)


@pytest.fixture
def rows(machine: str) -> tuple[Observation, ...]:
    """The paper's rows of a machine, each with what it was measured on."""
    if machine not in _ROWS:
        _ROWS[machine] = observations(dataset_of(machine))[0]
    return _ROWS[machine]
