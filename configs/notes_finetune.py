"""Fine-tune on the instruments of single notes, from audio alone.

atbert train --config notes_finetune --workdir runs/notes \
    --config.data.manifest=notes.csv --config.init_from=runs/notes_pretrain
"""

import ml_collections

from atbert_jax.configs import atbert_finetune, notes_pretrain


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """From audio alone, for captions tend to name the instrument; words as of `atbert_finetune`."""
    config = atbert_finetune.get_config(given, "tiny")
    notes_pretrain.set_up_notes(config)
    config.classification.views = ("audio",)
    config.classification.mixup = 0.3
    config.evaluation.best_metric = "classification/audio/accuracy"
    config.augmentation.pitch_semitones = 4.0
    config.train.steps = 1200
    config.optimizer.warmup_steps = 1 / 12
    config.train.evaluate_every = 150
    config.optimizer.weight_decay = 0.05
    return config
