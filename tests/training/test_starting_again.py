"""A run goes on with the splits that it began with."""

from pathlib import Path

import pytest

from atbert_jax.configs import defaults
from atbert_jax.training import starting
from atbert_jax.training.checkpoint import CheckpointError


@pytest.mark.parametrize("was_known", [False, True])
def test_splits_that_were_drawn_without_stratifying_stay(was_known):
    old, new = defaults.get_config("tiny"), defaults.get_config("tiny")
    old.data.stratify = False
    if not was_known:
        with old.unlocked():
            del old.data["stratify"]
    starting.require_same(old, new, Path("run"))
    assert new.data.stratify is False


def test_stratified_ones_stay_too():
    old, new = defaults.get_config("tiny"), defaults.get_config("tiny")
    starting.require_same(old, new, Path("run"))
    assert new.data.stratify is True
    new.data.stratify = False
    with pytest.raises(CheckpointError, match=r"data\.stratify: True -> False"):
        starting.require_same(old, new, Path("run"))
