"""Fine-tune ATBERT on labels, from a pre-trained checkpoint or from scratch.

python -m atbert_jax.train --config configs/atbert_finetune.py:small \
    --workdir runs/genre --config.init_from=runs/pretrain --config.data.manifest=tracks.csv
"""

import ml_collections

from configs import defaults


def get_config(preset: str = "base") -> ml_collections.ConfigDict:
    """Single-label classification at the size of a preset: 'tiny', 'small' or 'base'."""
    config = defaults.get_config(preset)
    config.objectives.classification = 1.0
    config.data.task = "single_label"
    config.evaluation.best_metric = "classification/audio_text/accuracy"
    config.augmentation.time_shift = 0.1
    config.augmentation.gain_db = 6.0
    config.augmentation.frequency_masks = 2
    config.augmentation.time_masks = 1
    config.train.steps = 3000
    config.train.evaluate_every = 250
    config.optimizer.warmup_steps = 200
    return config
