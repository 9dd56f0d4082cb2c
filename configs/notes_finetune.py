"""Fine-tune on the instruments of single notes, from audio alone.

python -m atbert_jax.train --config configs/notes_finetune.py --workdir runs/notes \
    --config.data.manifest=notes.csv --config.init_from=runs/notes_pretrain
"""

import ml_collections

from configs import atbert_finetune, notes_pretrain


def get_config(preset: str = "tiny") -> ml_collections.ConfigDict:
    """From audio alone: captions tend to name the instrument. A preset sets the size."""
    config = atbert_finetune.get_config(preset)
    notes_pretrain.set_front_end(config)
    config.classification.views = ("audio",)
    config.classification.mixup = 0.2
    config.evaluation.best_metric = "classification/loss"
    config.augmentation.noise_probability = 0.3
    config.augmentation.frequency_masks = 1
    config.train.steps = 300
    config.train.batch_size = 32
    config.train.evaluate_every = 50
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 0.05
    config.optimizer.warmup_steps = 50
    return config
