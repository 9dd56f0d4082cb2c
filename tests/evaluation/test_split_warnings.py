"""Labels that nothing is measured of are named, and not too many of them."""

import numpy as np

from atbert_jax.evaluation import split_warnings
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import Dataset, Split
from tests import tiny


def test_labels_that_no_clip_has_are_named():
    names = [f"tag{number}" for number in range(25)]
    labels = np.zeros((3, 25), np.float32)
    labels[0, 24] = labels[1, 23] = labels[2, 0] = 1  # the last has no labels that count
    empty = np.zeros((3, 4), np.int32)
    part = Split([None] * 3, empty, empty, labels, np.array([1.0, 1, 0]), (3,), (3,))
    contract = tiny.make_contract(labels=Labels("multi_label", tuple(names)))
    data = Dataset({"test": part, "train": part}, contract, None)
    [warning] = split_warnings.labels_without_clips(data, "test")
    assert "No clip of test has 23 of the 25 labels" in warning
    assert warning.endswith("tag18, tag19, ...")
