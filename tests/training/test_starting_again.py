"""A run goes on with the splits and the warm-up that it began with."""

import json
from pathlib import Path

import pytest

from atbert_jax.configs import defaults
from atbert_jax.training import optimizer, run_config, starting
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


def test_a_warm_up_in_steps_stays_where_the_presets_have_a_share_now(caplog):
    old, new = defaults.get_config("tiny"), defaults.get_config("tiny")
    old.optimizer.warmup_steps = 500
    old.train.steps, new.train.steps = 2000, 4000
    starting.require_same(old, new, Path("run"))
    assert optimizer.warmup(new.optimizer, new.train.steps) == 500
    assert "run: the warm-up stays at the 500 steps" in caplog.text
    assert "run goes on with train.steps: 2000 -> 4000" in caplog.text
    new.optimizer.warmup_steps = 400
    with pytest.raises(CheckpointError, match=r"optimizer\.warmup_steps: 500.* -> 400"):
        starting.require_same(old, new, Path("run"))


def test_a_config_of_whole_numbers_loads():
    values = json.loads(defaults.get_config("tiny").to_json_best_effort())
    values["optimizer"]["warmup_steps"] = 500
    found = run_config.of_json(values, "config.json", "")
    assert optimizer.warmup(found.optimizer, found.train.steps) == 500
