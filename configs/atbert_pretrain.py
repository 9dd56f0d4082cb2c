"""Pre-train ATBERT on pairs of audio and text by Correct Pair Prediction, helped by alignment.

atbert train --config atbert_pretrain:small \
    --workdir runs/pretrain --config.data.manifest=tracks.csv
"""

import ml_collections

from atbert_jax.configs import defaults, words


def get_config(given: str = "", default: str = "base") -> ml_collections.ConfigDict:
    """Pre-training at a size: 'tiny', 'small' or 'base', `default` where none is given."""
    (size,) = words.read(given, size=(defaults.PRESETS, default))
    config = defaults.get_config(size)
    if size == "tiny":
        defaults.take_little_memory(config)
    config.objectives.correct_pair = 1.0
    # Pairs alone start on a long plateau from scratch; set this to 0 for ATBERT's own recipe.
    config.objectives.alignment = 1.0
    config.evaluation.best_metric = "correct_pair/roc_auc"
    config.augmentation.time_shift = 0.1
    config.augmentation.gain_db = 6.0
    config.augmentation.frequency_masks = 1
    config.augmentation.time_masks = 1
    return config
