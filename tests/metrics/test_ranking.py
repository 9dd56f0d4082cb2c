"""Rankings against scikit-learn and closed forms, and chance against all orders there are."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from atbert_jax.metrics import ranking


def close(value):
    return pytest.approx(value, abs=1e-12, rel=0)


def ranked(scores):
    return np.argsort(-scores, axis=1)


def test_several_right_answers_equal_scikit_learn():
    rng = np.random.default_rng(0)
    scores, relevant = rng.normal(size=(40, 23)), rng.random((40, 23)) < 0.15
    relevant[np.arange(40), rng.integers(0, 23, 40)] = True
    found = ranking.ranking_metrics(ranked(scores), relevant)
    each = [sk.average_precision_score(*row) for row in zip(relevant, scores, strict=True)]
    assert found["map"] == close(np.mean(each))
    assert found["map"] == close(sk.label_ranking_average_precision_score(relevant, scores))
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    places = 1 + (scores > best).sum(axis=1)
    assert found["median_rank"] == np.median(places)
    for depth in (1, 5, 10):
        assert found[f"recall_at_{depth}"] == close((places <= depth).mean())


def test_one_right_answer_equals_scikit_learn():
    rng = np.random.default_rng(1)
    scores, right = rng.normal(size=(50, 12)), rng.integers(0, 12, 50)
    found = ranking.ranking_metrics(ranked(scores), right[:, None] == np.arange(12))
    for depth in (1, 5, 10):
        expected = sk.top_k_accuracy_score(right, scores, k=depth, labels=np.arange(12))
        assert found[f"recall_at_{depth}"] == close(expected)


def test_duplicates_in_closed_form():
    relevant = np.array([[1, 0, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0]], bool)
    order = np.array([[1, 0, 2, 3, 4, 6, 5], [2, 3, 4, 5, 6, 0, 1]])
    found = ranking.ranking_metrics(order, relevant)
    # Right at the places 2, 4 and 6 for the first query, at 7 for the second.
    assert found["map"] == close(((1 / 2 + 2 / 4 + 3 / 6) / 3 + 1 / 7) / 2)
    assert found["median_rank"] == 4.5
    assert [found[f"recall_at_{k}"] for k in (1, 5, 10)] == [0, 0.5, 1]


@pytest.mark.parametrize("right", [[1], [2], [5], [1, 1, 3], [2, 4, 1, 1]], ids=str)
def test_chance_is_the_mean_over_all_orders(right):
    relevant = np.arange(5) < np.array(right)[:, None]
    orders = np.array(list(itertools.permutations(range(5))))
    every = np.repeat(relevant, len(orders), axis=0), np.tile(orders, (len(right), 1))
    expected = ranking.ranking_metrics(every[1], every[0])
    found = ranking.chance(relevant)
    assert found.keys() == expected.keys() == set(ranking.NAMES)
    assert found == {name: close(value) for name, value in expected.items()}


@pytest.mark.parametrize("candidates", [1, 2, 7, 12, 1000])
def test_chance_of_one_right_answer_in_closed_form(candidates):
    found = ranking.chance(np.eye(candidates, dtype=bool))
    for depth in (1, 5, 10):
        assert found[f"recall_at_{depth}"] == close(min(depth / candidates, 1))
    assert found["median_rank"] == (candidates + 1) / 2
    assert found["map"] == close((1 / np.arange(1, candidates + 1)).mean())


def test_a_query_without_an_answer_is_named():
    relevant = np.array([[True, False], [False, False]])
    for attempt in (
        ranking.chance,
        lambda right: ranking.ranking_metrics(np.zeros((2, 2), int), right),
    ):
        with pytest.raises(ValueError, match="query 1 has no right answer among 2 candidates"):
            attempt(relevant)


def test_shapes_that_disagree():
    with pytest.raises(ValueError, match=r"order \(1, 3\) and relevant \(1, 2\)"):
        ranking.ranking_metrics(np.arange(3)[None], np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"relevant \(0, 4\)"):
        ranking.chance(np.ones((0, 4)))
