"""Classify short recordings of single spoken words from audio alone, from scratch.

atbert train --config spoken_words --workdir runs/digits \
    --config.data.manifest=digits.csv
"""

import ml_collections

from atbert_jax.configs import defaults, words


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Words of up to a second at 8 kHz, for a model of the size 'tiny', 'small' or 'base'."""
    (size,) = words.read(given, size=(defaults.PRESETS, "tiny"))
    config = defaults.get_config(size)
    config.objectives.classification = 1.0
    config.data.task = "single_label"
    config.classification.views = ("audio",)
    config.evaluation.best_metric = "classification/loss"
    set_up_words(config)
    config.augmentation.time_shift = 0.05
    config.augmentation.gain_db = 6.0
    config.augmentation.noise_probability = 0.3
    config.augmentation.frequency_masks = 1
    config.augmentation.time_masks = 1
    config.train.steps = 800
    config.train.evaluate_every = 100
    config.optimizer.weight_decay = 0.05
    return config


def set_up_words(config: ml_collections.ConfigDict) -> None:
    """The front end of words, and how to train on few of them."""
    config.spectrogram.sample_rate = 8000
    config.spectrogram.n_fft = 256
    config.spectrogram.hop_length = 100
    config.spectrogram.n_mels = 20  # few bands: a shallow CNN sees them all at once
    config.segmenting.segments = 4
    config.segmenting.seconds = 0.25
    config.train.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 1 / 16
