"""Pre-train a tiny ATBERT on the synthetic music set: minutes on two CPU cores."""

import ml_collections

from atbert_jax.configs import atbert_pretrain


def get_config() -> ml_collections.ConfigDict:
    """Clips of six seconds at 16 kHz with their captions."""
    config = atbert_pretrain.get_config("tiny")
    set_up_music(config)
    config.text.vocabulary = 400
    config.text.max_tokens = 24
    config.train.steps = 800
    config.train.evaluate_every = 100
    return config


def set_up_music(config: ml_collections.ConfigDict) -> None:
    """What pre-training and fine-tuning share: a shallow CNN sees few bands at once."""
    config.spectrogram.n_fft = 1024
    config.spectrogram.hop_length = 640
    config.spectrogram.n_mels = 20
    config.segmenting.segments = 4
    config.segmenting.seconds = 1.0
    config.augmentation.frequency_masks = 0
    config.augmentation.time_masks = 0
    config.data.memory_mb = 256  # of the 1.2 GB that all clips are: a laptop keeps the rest
    config.train.batch_size = 32
    config.train.log_every = 20
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 1 / 16
