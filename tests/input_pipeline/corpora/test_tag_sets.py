"""The label sets: whole, without doubles, and in the order of the published weights."""

from pathlib import Path

import pytest

from atbert_jax.input_pipeline.corpora.tag_sets import TAG_SETS

LISTS = Path(__file__).resolve().parents[4] / "shared" / "weights"


def test_numbers_and_ends():
    assert {name: (len(set(tags)), tags[0], tags[-1]) for name, tags in TAG_SETS.items()} == {
        "gtzan": (10, "blues", "rock"),
        "jamendo": (50, "genre---alternative", "mood/theme---relaxing"),
        "msd": (50, "rock", "happy"),
        "mtat": (50, "guitar", "choral"),
    }
    assert all(len(set(tags)) == len(tags) for tags in TAG_SETS.values())
    assert list(TAG_SETS["jamendo"]) == sorted(TAG_SETS["jamendo"])
    assert list(TAG_SETS["gtzan"]) == sorted(TAG_SETS["gtzan"])


@pytest.mark.skipif(not LISTS.is_dir(), reason=f"no lists at {LISTS}: they are not distributed")
@pytest.mark.parametrize("name", ["jamendo", "msd", "mtat"])
def test_the_order_of_the_weights(name):
    assert list(TAG_SETS[name]) == (LISTS / f"tags_{name}.txt").read_text().splitlines()
