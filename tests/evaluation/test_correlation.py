"""Correlations of hidden units and features: scipy's r and p, in parts, of both signs."""

import numpy as np
import pytest
from scipy import stats

from atbert_jax.evaluation.correlation import SHOWN, Pearson, _strongest, p_values


def test_r_and_p_are_those_of_scipy():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3)) + 5
    units = features @ rng.normal(size=(3, 4)) + 3 * rng.normal(size=(200, 4))
    pearson = Pearson(4, 3)
    for part in np.array_split(np.arange(200), 7):
        pearson.add(units[part].astype(np.float32), features[part].astype(np.float32))
    r = pearson.correlations()
    p = p_values(r, pearson.count)
    for unit in range(4):
        for feature in range(3):
            expected = stats.pearsonr(units[:, unit], features[:, feature])
            assert r[unit, feature] == pytest.approx(expected.statistic, abs=1e-6)
            assert p[unit, feature] == pytest.approx(expected.pvalue, rel=1e-3, abs=1e-12)
    assert (r < 0).any()
    assert (r > 0).any()


def test_what_never_varies_correlates_with_nothing():
    pearson = Pearson(2, 1)
    values = np.random.default_rng(0).normal(size=(50, 1))
    pearson.add(np.concatenate([np.full((50, 1), 0.3), -values], axis=1), values)
    np.testing.assert_allclose(pearson.correlations()[:, 0], [0, -1], atol=1e-12)
    assert p_values(np.array(-1.0), 50) == 0


def test_the_strongest_pairs_of_either_sign_are_named():
    r = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 6, 5))
    r[1, 3, 4], r[0, 2, 1] = -0.9, 0.8
    pairs = _strongest(r, 30, list("abcde"))
    assert len(pairs) == SHOWN
    assert [pair["r"] > 0 for pair in pairs].count(True) == SHOWN // 2
    assert {name: pairs[0][name] for name in ("layer", "unit", "feature", "r")} == {
        "layer": 2,
        "unit": 3,
        "feature": "e",
        "r": -0.9,
    }
    assert (pairs[1]["layer"], pairs[1]["unit"], pairs[1]["feature"]) == (1, 2, "b")
    assert pairs[1]["p"] == pytest.approx(float(p_values(np.array(0.8), 30)))
    sizes = [abs(pair["r"]) for pair in pairs]
    assert sizes == sorted(sizes, reverse=True)


def test_few_pairs_are_shown_once():
    assert len(_strongest(np.array([[[0.5, -0.5]]]), 10, ["a", "b"])) == 2
