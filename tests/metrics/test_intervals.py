"""Intervals of means: known ones, of draws and clips, and where all answers are the same."""

import numpy as np
import pytest
from scipy import stats

from atbert_jax.metrics import intervals


def test_one_draw_is_the_bootstrap_of_scipy():
    hits = np.random.default_rng(0).random(80) < 0.7
    expected = stats.bootstrap(
        (hits,), np.mean, n_resamples=9999, method="percentile", rng=0
    ).confidence_interval
    np.testing.assert_allclose(intervals.bootstrap(hits), expected, atol=0.015)
    assert intervals.bootstrap(hits) == intervals.bootstrap(hits)


def test_it_holds_the_luck_of_draws_and_of_clips():
    clips = np.repeat([[0.0, 1.0] * 50], 5, axis=0)
    alike = intervals.bootstrap(clips)  # which draw it is makes no difference
    np.testing.assert_allclose(alike, intervals.bootstrap(clips[0]), atol=0.03)
    draws = np.repeat([[0.2], [0.4], [0.5], [0.6], [0.8]], 100, axis=1)
    low, high = intervals.bootstrap(draws)  # which clip it is makes none
    assert low < 0.35 < 0.65 < high


@pytest.mark.parametrize("right", [True, False])
def test_where_all_are_right_or_wrong_it_is_wilsons(right):
    low, high = intervals.bootstrap(np.full((3, 20), right))
    assert (low, high) == pytest.approx((0.8389, 1) if right else (0, 0.1611), abs=1e-4)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_differences_that_are_all_the_same_have_no_luck(value):
    assert intervals.bootstrap(np.full((2, 20), value)) == (value, value)


def test_no_values_have_no_interval():
    with pytest.raises(ValueError, match="no values"):
        intervals.bootstrap(np.zeros(0))


def test_mcnemar_counts_what_one_alone_is_right_about():
    one, other = np.zeros((2, 30), bool)
    assert intervals.mcnemar(one, other) == 1
    one[:9], other[9:10] = True, True
    one[20:] = other[20:] = True  # both are right, so it tells nothing
    assert intervals.mcnemar(one, other) == pytest.approx(2 * 11 / 2**10)
