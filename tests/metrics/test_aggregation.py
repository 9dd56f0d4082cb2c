"""Chunks into tracks, against answers worked out by hand."""

import numpy as np
import pytest

from atbert_jax.metrics.aggregation import aggregate

SCORES = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.0, 0.6, 0.4], [0.3, 0.3, 0.4]])
RECORD = np.array([7, 3, 7, 7])


def test_mean():
    records, scores = aggregate(SCORES, RECORD, "mean")
    assert records.tolist() == [3, 7]
    np.testing.assert_allclose(scores, [[0.2, 0.5, 0.3], [0.4, 1 / 3, 0.8 / 3]], atol=1e-15)


def test_max():
    _, scores = aggregate(SCORES - 1, RECORD, "max")
    np.testing.assert_allclose(scores, [[-0.8, -0.5, -0.7], [-0.1, -0.4, -0.6]], atol=1e-15)


def test_vote_gives_shares_and_breaks_ties_by_the_mean():
    _, scores = aggregate(SCORES, RECORD, "vote")
    # Track 7 has one vote for each class; class 0 has the highest mean, 0.4.
    np.testing.assert_allclose(scores, [[0, 1, 0], [1 / 3, 1 / 3, 1 / 3]], atol=1e-7)
    assert scores[1].argmax() == 0
    _, flipped = aggregate(SCORES[:, ::-1], RECORD, "vote")
    assert flipped[1].argmax() == 2
    assert flipped.astype(np.float32)[1].argmax() == 2


def test_vote_prefers_votes_to_the_mean():
    scores = np.array([[0.51, 0.49], [0.51, 0.49], [0.0, 1.0]])
    _, shares = aggregate(scores, np.zeros(3, int), "vote")
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3]], atol=1e-15)
    assert aggregate(scores, np.zeros(3, int), "mean")[1].argmax() == 1


@pytest.mark.parametrize("how", ["mean", "max", "vote"])
def test_order_of_chunks_does_not_matter(how):
    rng = np.random.default_rng(0)
    scores, record = rng.random((300, 5)), rng.integers(0, 40, 300)
    order = rng.permutation(300)
    records, expected = aggregate(scores, record, how)
    shuffled_records, shuffled = aggregate(scores[order], record[order], how)
    np.testing.assert_array_equal(shuffled_records, records)
    np.testing.assert_allclose(shuffled, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_one_chunk_per_track_changes_nothing(how):
    _, scores = aggregate(SCORES, np.array(["a", "b", "c", "d"]), how)
    np.testing.assert_array_equal(scores, SCORES)


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match="aggregate='median' is none of mean, max, vote"):
        aggregate(SCORES, RECORD, "median")
    with pytest.raises(ValueError, match="nothing to aggregate"):
        aggregate(np.zeros((0, 3)), np.zeros(0))
    with pytest.raises(ValueError, match=r"record \(3,\)"):
        aggregate(SCORES, RECORD[:3])
