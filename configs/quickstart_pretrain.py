"""Pre-train a tiny ATBERT on the synthetic music set: minutes on two CPU cores."""

import ml_collections

from configs import atbert_pretrain


def get_config() -> ml_collections.ConfigDict:
    """Clips of six seconds at 16 kHz with their captions."""
    config = atbert_pretrain.get_config("tiny")
    set_front_end(config)
    config.text.vocabulary = 400
    config.text.max_tokens = 24
    config.augmentation.frequency_masks = 0
    config.train.steps = 700
    config.train.batch_size = 32
    config.train.log_every = 20
    config.train.evaluate_every = 100
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 50
    return config


def set_front_end(config: ml_collections.ConfigDict) -> None:
    """Few bands and frames: a shallow CNN sees all bands at once, and a CPU keeps up."""
    config.spectrogram.n_fft = 1024
    config.spectrogram.hop_length = 640
    config.spectrogram.n_mels = 20
    config.segmenting.segments = 4
    config.segmenting.seconds = 1.0
