"""Pre-train a tiny ATBERT on single notes of instruments with captions.

python -m atbert_jax.train --config configs/notes_pretrain.py --workdir runs/notes_pretrain \
    --config.data.manifest=notes.csv
"""

import ml_collections

from configs import atbert_pretrain


def get_config(preset: str = "tiny") -> ml_collections.ConfigDict:
    """Notes of up to some seconds; a preset sets the size."""
    config = atbert_pretrain.get_config(preset)
    set_front_end(config)
    config.text.vocabulary = 200
    config.text.max_tokens = 24
    config.augmentation.noise_probability = 0.3
    config.train.steps = 700
    config.train.batch_size = 32
    config.train.log_every = 50
    config.train.evaluate_every = 100
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 100
    return config


def set_front_end(config: ml_collections.ConfigDict) -> None:
    """The first seconds of a note tell the instrument; few bands suit a shallow CNN."""
    config.spectrogram.sample_rate = 22_050
    config.spectrogram.n_fft = 1024
    config.spectrogram.hop_length = 512
    config.spectrogram.n_mels = 20
    config.spectrogram.f_min = 40.0
    config.segmenting.segments = 2
    config.segmenting.seconds = 1.0
