"""Fine-tune the quickstart's tiny ATBERT on genres, from audio alone."""

import ml_collections

from atbert_jax.configs import atbert_finetune, quickstart_pretrain


def get_config() -> ml_collections.ConfigDict:
    """From audio alone: half of the captions name the genre."""
    config = atbert_finetune.get_config("tiny")
    quickstart_pretrain.set_up_music(config)
    config.classification.views = ("audio",)
    config.evaluation.best_metric = "classification/loss"
    config.train.steps = 300
    config.optimizer.warmup_steps = 1 / 6
    config.train.evaluate_every = 100
    return config
