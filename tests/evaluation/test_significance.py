"""Two systems on the same records: by how much, how sure, and in which words."""

import numpy as np
import pytest

from atbert_jax.evaluation import significance
from atbert_jax.evaluation.significance import Hits


def hits(right, start=0):
    right = np.array(right, bool)
    return Hits(np.arange(start, start + len(right)), right)


def test_only_records_that_both_have_answered_count():
    one, other = hits([1, 1, 0, 1, 1, 1], start=2), hits([1, 0, 0, 0, 0, 1])
    found = significance.compare(one, other)  # on 2 to 5: 1 1 0 1 and 0 0 0 1
    assert (found["records"], found["by"]) == (4, 0.5)
    assert found["p_value"] == 0.5
    with pytest.raises(ValueError, match="no record in common"):
        significance.compare(one, hits([1], start=100))


def test_hits_are_of_the_largest_scores():
    scores, truth = np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([[0, 1], [0, 1]])
    found = Hits.of(np.arange(2), scores, truth)
    assert found.right.tolist() == [True, False]
    assert found.accuracy == 0.5


def test_better_and_worse_are_said_only_where_that_is_sure():
    good, poor = hits([1] * 36 + [0] * 4), hits([1] * 18 + [0] * 22)
    found = significance.compare(good, poor)
    assert found["interval"][0] > 0.25
    said = significance.sentence("ours", "MFCC", found)
    assert said.startswith("ours: better than MFCC by 0.45 (0.")
    assert "40 clips, exact McNemar test p = 7.6e-06" in said
    said = significance.sentence("ours", "MFCC", significance.compare(poor, good))
    assert said.startswith("ours: worse than MFCC by 0.45 (0.3")
    near = significance.compare(hits([1] * 19 + [0] * 21), poor)
    said = significance.sentence("ours", "MFCC", near)
    assert said.startswith("ours: cannot be told from MFCC; its accuracy is +0.03 apart (+0.00")
