"""Means and spreads are numpy's; differences are those of runs with the same seed."""

import numpy as np
import pytest

from atbert_jax.evaluation.comparison import Outcome, Spread, compare, main_metrics, numbers, tables

AUC, RMSE = "correct_pair/roc_auc", "classification/audio/rmse"
BASE, FEW, BROKEN, LATER = {}, {"model.layers": 1}, {"model.heads": 3}, {"model.layers": 4}
CELLS = [BASE, FEW, BROKEN, LATER]
SEEDS = [{"seed": seed} for seed in range(5)]


def outcome(cell, seed, metrics=None, **more):
    return Outcome(cell, seed, metrics, 1000, **more)


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).uniform(size=(2, 5, 2))


@pytest.fixture(scope="module")
def outcomes(values):
    """The base misses the last seed, the cell of few layers the first; others failed or wait."""
    rows = [
        outcome(cell, seed, {AUC: auc, RMSE: rmse}, seconds={"training": 90.0})
        for cell, runs in zip((BASE, FEW), values.tolist(), strict=True)
        for seed, (auc, rmse) in zip(SEEDS, runs, strict=True)
        if (cell, seed) not in ((BASE, SEEDS[4]), (FEW, SEEDS[0]))
    ]
    failed = [outcome(FEW, SEEDS[0], error="bad"), outcome(BROKEN, SEEDS[0], error="bad")]
    return [*rows, *failed, outcome(LATER, SEEDS[0])]


def test_mean_and_deviation_are_those_of_numpy(values, outcomes):
    base, few, broken, later = compare(CELLS, outcomes, [AUC, RMSE])
    for number, metric in enumerate((AUC, RMSE)):
        for row, own in ((base, values[0, :4, number]), (few, values[1, 1:, number])):
            np.testing.assert_allclose(row.metrics[metric].mean, own.mean(), rtol=1e-12)
            np.testing.assert_allclose(row.metrics[metric].deviation, own.std(ddof=1), rtol=1e-12)
    assert (base.runs, base.failed, few.runs, few.failed) == (4, 0, 4, 1)
    assert (broken.runs, broken.failed, later.runs, later.failed) == (0, 1, 0, 0)
    assert base.minutes == pytest.approx(1.5)
    assert (base.parameters, broken.parameters, broken.minutes) == (1000, None, None)


def test_differences_are_of_the_same_seeds(values, outcomes):
    base, few, broken, _ = compare(CELLS, outcomes, [AUC])
    expected = values[1, 1:4, 0] - values[0, 1:4, 0]
    np.testing.assert_allclose(few.differences[AUC].values, expected, rtol=1e-12)
    np.testing.assert_allclose(few.differences[AUC].mean, expected.mean(), rtol=1e-12)
    np.testing.assert_allclose(few.differences[AUC].deviation, expected.std(ddof=1), rtol=1e-12)
    assert base.differences == {}
    assert broken.differences[AUC].values == ()


@pytest.mark.parametrize(
    ("values", "text"),
    [((), "–"), ((0.5,), "0.5000"), ((0.25, 0.75), "0.5000 ± 0.3536"), ((1.0, 1.0), "1.0000 ± 0")],
)
def test_a_spread_says_no_more_than_it_knows(values, text):
    assert str(Spread(values)).startswith(text)


def test_the_best_mean_is_marked_and_failures_are_named(outcomes):
    rows = compare(CELLS, outcomes, [AUC, RMSE])
    results, differences = tables(rows, "seed 0, 1")
    assert [row[0] for row in results.rows] == [
        *("base", "model.layers=1", "model.heads=3", "model.layers=4")
    ]
    assert [row[1] for row in results.rows] == [4, "4, 1 failed", "0, 1 failed", 0]
    for column, choose in ((2, max), (3, min)):  # the area is better high, the error low
        metric = results.columns[column]
        best = choose(rows[:2], key=lambda row: row.metrics[metric].mean)
        marked = [row[0] for row in results.rows if str(row[column]).endswith(" *")]
        assert marked == ["base" if best is rows[0] else "model.layers=1"]
        assert [row[column] for row in results.rows[2:]] == ["failed", "–"]
    assert "seed 0, 1" in results.note
    assert [row[0] for row in differences.rows] == [row[0] for row in results.rows[1:]]
    assert (differences.rows[0][1][0] == "+") == (rows[1].differences[AUC].mean > 0)


def test_the_base_alone_has_no_differences_and_is_not_the_best(outcomes):
    (results,) = tables(compare([BASE], outcomes, [AUC]), "seed 0")
    assert not results.rows[0][2].endswith("*")


def test_numbers_name_the_value_of_every_field(outcomes):
    rows = compare(CELLS, outcomes, [AUC])
    flat = numbers(rows, {"model.layers": 2, "model.heads": 4})
    assert [row["model.layers"] for row in flat] == [2, 1, 2, 4]
    assert [row["model.heads"] for row in flat] == [4, 4, 3, 4]
    assert flat[0][f"{AUC} difference"] is None
    assert flat[1][f"{AUC} difference sd"] == rows[1].differences[AUC].deviation
    assert len({tuple(row) for row in flat}) == 1


def test_each_objective_and_view_has_a_main_metric():
    first = {"loss": 2.0, "correct_pair/loss": 0.5, "correct_pair/accuracy": 0.8, AUC: 0.9}
    second = {"classification/loss": 1.0, "classification/audio/accuracy": 0.7, RMSE: 0.3}
    found = [first, first | second]
    assert main_metrics(found) == ["correct_pair/accuracy", "classification/audio/accuracy"]
    assert main_metrics(found, ["loss", AUC])[0] == AUC
    assert main_metrics([{}]) == []
