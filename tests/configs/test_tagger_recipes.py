"""Recipes: the published one by its epochs, and each of them one that can be trained."""

import numpy as np
import pytest

from atbert_jax.configs import defaults, tagger_recipes
from atbert_jax.input_pipeline.batching.augmentation import Augmentation
from atbert_jax.training import optimizer


def make_config(recipe: str):
    config = defaults.get_config("tiny")
    config.train.steps = 2000
    config.train.evaluate_every = 10
    tagger_recipes.apply(config, recipe)
    return config


def test_the_published_recipe_has_its_epochs():
    """Of 200, Adam has 80, and SGD 20, 20 and 80."""
    config = make_config("published")
    assert optimizer.reloads(config) == [800, 1000, 1200]
    rate = optimizer.schedule(config.optimizer, 2000)
    found = [float(rate(10 * epoch)) for epoch in range(200)]
    expected = np.repeat([1e-4, 1e-3, 1e-4, 1e-5], [80, 20, 20, 80])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert config.train.batch_size == 16


@pytest.mark.parametrize("recipe", tagger_recipes.RECIPES)
def test_a_recipe_describes_a_training(recipe):
    config = make_config(recipe)
    optimizer.build(config.optimizer, config.train.steps)
    Augmentation(**config.augmentation)
    assert config.evaluation.best_metric == "loss"
    assert config.model == defaults.get_config("tiny").model
