"""What batches look like where a benchmark makes up its data."""

import dataclasses

import jax
import ml_collections
import numpy as np

from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import Contract, Labels, Normalization
from atbert_jax.training.description import abstract_batch

VOCABULARY = 30_000  # ALBERT's
LABELS = 50  # those of MagnaTagATune


def made_up(config: ml_collections.ConfigDict) -> Contract:
    """The contract of a config; its labels are made up where it names a task without them."""
    task, labels = config.data.task, tuple(config.data.labels)
    if task and not labels:
        labels = tuple(f"label {number}" for number in range(LABELS))
    segmenting, features = Segmenting(**config.segmenting), None
    if config.data.input == "frames":
        features = MusicFeatures(**config.features)
        frames = max(1, round(segmenting.seconds * features.frame_rate))
        segmenting = dataclasses.replace(segmenting, seconds=frames / features.frame_rate)
    spectrogram = {name: value for name, value in config.spectrogram.items() if name != "frames"}
    return Contract(
        spectrogram=Spectrogram(**spectrogram),
        segmenting=segmenting,
        normalization=Normalization("none"),
        max_tokens=config.text.max_tokens,
        vocabulary=VOCABULARY,
        labels=Labels(task, labels),
        features=features,
    )


def set_frames(config: ml_collections.ConfigDict, frames: int) -> None:
    """Makes segments so long that their log-mels have so many frames."""
    spectrogram = config.spectrogram
    config.segmenting.seconds = (frames - 1) * spectrogram.hop_length / spectrogram.sample_rate


def log_mel_shape(config: ml_collections.ConfigDict) -> tuple[int, int, int]:
    """Of a clip: segments, bands, frames."""
    return abstract_batch(made_up(config), "log_mel", 1)["log_mel"].shape[1:]


def made_up_batch(config: ml_collections.ConfigDict, contract: Contract) -> dict[str, np.ndarray]:
    """Noise and random tokens without padding, `config.train.batch_size` rows."""
    generator = np.random.default_rng(0)

    def made(name: str, field: jax.ShapeDtypeStruct) -> np.ndarray:
        if name == config.data.input:
            return generator.standard_normal(field.shape, np.float32)
        if name == "token_ids":
            return generator.integers(5, contract.vocabulary, field.shape, np.int32)
        if name == "record":
            return np.arange(field.shape[0], dtype=np.int32)
        return np.ones(field.shape, field.dtype)

    fields = abstract_batch(contract, config.data.input, config.train.batch_size)
    return {name: made(name, field) for name, field in fields.items()}
