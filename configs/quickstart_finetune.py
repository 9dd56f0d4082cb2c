"""Fine-tune the quickstart's tiny ATBERT on genres, from audio alone."""

import ml_collections

from configs import atbert_finetune, quickstart_pretrain


def get_config() -> ml_collections.ConfigDict:
    """From audio alone: half of the captions name the genre."""
    config = atbert_finetune.get_config("tiny")
    quickstart_pretrain.set_front_end(config)
    config.classification.views = ("audio",)
    config.evaluation.best_metric = "classification/loss"
    config.train.steps = 150
    config.train.batch_size = 32
    config.train.log_every = 20
    config.train.evaluate_every = 50
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 20
    return config
