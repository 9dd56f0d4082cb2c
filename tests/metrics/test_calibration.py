"""Calibration: by hand, and where probabilities are what they say."""

import numpy as np
import pytest

from atbert_jax.metrics.calibration import calibration


def test_by_hand():
    found = calibration(np.array([0.95, 1.0, 0.91, 0.32, 0.0]), np.array([1, 1, 0, 0, 0]))
    assert [each["count"] for each in found["bins"]] == [1, 1, 3]
    last = found["bins"][-1]
    assert (last["probability"], last["right"]) == pytest.approx((2.86 / 3, 2 / 3))
    assert found["ece"] == pytest.approx((0.32 + (2.86 - 2)) / 5)


def test_what_means_what_it_says_has_no_error():
    rng = np.random.default_rng(0)
    probability = rng.random(200_000)
    right = rng.random(200_000) < probability
    assert calibration(probability, right)["ece"] < 0.01
    assert calibration(np.sqrt(probability), right)["ece"] > 0.15
