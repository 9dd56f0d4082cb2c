"""Pre-train a tiny ATBERT on single notes of instruments with captions.

atbert train --config notes_pretrain --workdir runs/notes_pretrain \
    --config.data.manifest=notes.csv
"""

import ml_collections

from atbert_jax.configs import atbert_pretrain


def get_config(given: str = "") -> ml_collections.ConfigDict:
    """Notes of up to some seconds, for a model of the size 'tiny', 'small' or 'base'."""
    config = atbert_pretrain.get_config(given, "tiny")
    set_up_notes(config)
    config.text.vocabulary = 200
    config.text.max_tokens = 24
    config.train.evaluate_every = 50
    return config


def set_up_notes(config: ml_collections.ConfigDict) -> None:
    """What pre-training and fine-tuning on notes share.

    The first seconds of a note tell the instrument; few bands suit a shallow CNN. Transposing makes
    many notes of few; masks and noise would hide what little there is in a note.
    """
    config.spectrogram.sample_rate = 22_050
    config.spectrogram.n_fft = 2048
    config.spectrogram.hop_length = 1024
    config.spectrogram.n_mels = 20
    config.spectrogram.f_min = 40.0
    config.spectrogram.f_max = 9000.0
    config.segmenting.segments = 2
    config.segmenting.seconds = 1.0
    config.augmentation.pitch_semitones = 3.0
    config.augmentation.frequency_masks = 0
    config.augmentation.time_masks = 0
    config.train.steps = 900
    config.train.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 1 / 9
