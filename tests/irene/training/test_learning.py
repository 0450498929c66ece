"""What is learned beside the physics, against formulas and a library that we did not write."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xgboost

from irene.energy.predicted.formula import smooth_max, tiles_of, unit_work, waves_of
from irene.energy.predicted.predictor import Interval
from irene.energy.predicted.process import Scales, condition
from irene.energy.predicted.units import Unit
from irene.training.ours.boosting import DEEP, trees_of
from irene.training.ours.least_squares import fit
from irene.training.ours.process_fitting import fit_process


def test_trees_predict_as_xgboost_does() -> None:
    """The arrays are the booster, early leaves included."""
    random = np.random.RandomState(1)
    features = random.randn(200, 7)
    target = np.sin(features[:, 0]) + 0.3 * features[:, 1]
    data = xgboost.DMatrix(features, label=target)
    booster = xgboost.train(DEEP.parameters(), data, DEEP.n_trees)
    trees = trees_of(json.loads(booster.save_raw("json")), 0.0)
    np.testing.assert_allclose(trees.correct(features, ())[0], booster.predict(data), atol=1e-5)


def test_a_process_is_its_textbook_formula() -> None:
    """Rasmussen and Williams, equations 2.25 and 2.26, with a part that a signature shares."""
    random = np.random.RandomState(2)
    x, y = random.randn(6, 2), random.randn(6)
    counts = np.array([1.0, 2.0, 3.0, 1.0, 1.0, 2.0])
    scales = Scales(0.8, 0.3, 0.2, (1.5,))
    process = condition(scales, (0, 0), x, y, counts, list("abcdef"))

    def kernel(one: np.ndarray, other: np.ndarray) -> float:
        r = np.sqrt(5.0) * np.linalg.norm((one - other) / 1.5)
        return float(0.64 * (1 + r + r**2 / 3) * np.exp(-r))

    covariance = np.array([[kernel(a, b) for b in x] for a in x])
    covariance += np.diag(0.09 + 0.04 / counts + 1e-10)
    new = x.mean(axis=0)
    cross = np.array([kernel(new, b) for b in x])
    mean, deviation = process.correct(np.array([new]), ["elsewhere"])
    assert mean[0] == pytest.approx(cross @ np.linalg.solve(covariance, y))
    variance = 0.64 + 0.09 - cross @ np.linalg.solve(covariance, cross) + 0.04
    assert deviation[0] ** 2 == pytest.approx(variance)
    same, _ = process.correct(x[1:2], ["b"])
    cross = np.array([kernel(x[1], b) for b in x]) + 0.09 * (np.arange(6) == 1)
    assert same[0] == pytest.approx(cross @ np.linalg.solve(covariance, y))


def test_far_away_the_correction_of_the_edge_is_held() -> None:
    """With the deviation of the whole process."""
    random = np.random.RandomState(3)
    features = random.randn(40, 2)
    process = fit_process(
        features, 0.1 * np.sin(features[:, 0]), (0, 0), 0.01, np.ones(40), range(40)
    )
    near, sure = process.correct(features[:1], ["elsewhere"])
    far, unsure = process.correct(features[:1] + 1e3, ["elsewhere"])
    edge, _ = process.correct(features.max(axis=0)[None], ["elsewhere"])
    assert far[0] == edge[0] != near[0]
    assert unsure[0] > 2.0 * sure[0]


def test_least_squares_finds_what_made_the_data() -> None:
    """A curve of two coefficients, from a start that is far off."""
    x = np.linspace(0.0, 2.0, 30)
    found = fit(
        lambda at: np.exp(at[0]) * x + at[1],
        np.array([0.0, 0.0]),
        3.0 * x + 0.5,
        np.array([1e-9, 1e-9]),
    )
    np.testing.assert_allclose([np.exp(found[0]), found[1]], [3.0, 0.5], rtol=1e-5)


@pytest.mark.parametrize(
    ("unit", "tiles", "waves"),
    [
        (Unit("linear", "batched", 1, 512, 768, 768), (24, 128), 2),
        (Unit("linear", "batched", 1, 513, 768, 768), (30, 128), 2),
        (Unit("linear", "flat", 1, 8, 768, 768), (6, 32), 6 / 15),
        (Unit("matmul", "", 96, 64, 64, 64), (96, 128), 7),
    ],
)
def test_tiles_and_waves(unit: Unit, tiles: tuple[float, int], waves: float) -> None:
    """Tiles of 128 x 128, whole waves over 15 multiprocessors; few rows are divided."""
    assert tiles_of(unit) == tiles
    assert waves_of(unit, 15) == waves


def test_work_of_a_linear_layer() -> None:
    """512 x 768 @ 768 x 768: 24 full tiles, in two waves of 15; bytes of three matrices."""
    waves, tiles, n_bytes, bias = unit_work(Unit("linear", "batched", 1, 512, 768, 768), 15)
    assert tiles == pytest.approx(1e-10 * 2 * 512 * 768 * 768)
    assert waves == pytest.approx(tiles * 30 / 24)
    assert n_bytes == pytest.approx(3e-10 * 4 * (512 * 768 + 768 * 768 + 512 * 768))
    assert bias == pytest.approx(3e-10 * 8 * 512 * 768)


def test_a_soft_maximum_is_above_both() -> None:
    """And near the larger where they are apart."""
    one, other = np.array([1.0, 1.0, 5.0]), np.array([1.0, 100.0, 1e-9])
    found = smooth_max(one, other, 0.5)
    assert (found >= np.maximum(one, other)).all()
    np.testing.assert_allclose(found[1:], [100.0, 5.0], rtol=0.01)


def test_an_interval_is_never_narrower_than_the_meter_repeats() -> None:
    """The floor counts where the process is surer."""
    widths = Interval(2.0, 0.01).half_width(np.array([0.001, 0.05]))
    np.testing.assert_allclose(widths, [0.02, 0.1])
