"""The smallest tagger: mel bands, their mean over time, one dense layer."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from flax import nnx

from atbert_jax import models
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models import taggers
from atbert_jax.models.taggers.blocks import Dense
from atbert_jax.models.taggers.network import Network
from atbert_jax.models.taggers.tagger import Tagger
from atbert_jax.models.taggers.tagger_frontend import MelFrontend
from tests import tiny

CONFIG = {
    "model.name": "ear",
    "data.input": "waveform",
    "objectives.classification": 1.0,
    "classification.views": ("audio",),
    "classification.head": "linear",
    "classification.pooling": "mean",
    "normalization": "none",
    "spectrogram.mel_scale": "htk",
    "spectrogram.log_floor": 1e-10,
}


# A MuLaP that hears with it, and its objectives.
MULAP = {
    **{name: value for name, value in CONFIG.items() if "classification" not in name},
    "model.name": "mulap",
    "model.audio_encoder": "ear",
    "model.layers": 2,
    "model.activation": "gelu",
    "mulap.audio.hidden": 12,
    "mulap.audio.heads": 2,
    "mulap.audio.layers": 2,
    "mulap.audio.ffn": 20,
    "mulap.text_places": (1,),
    "mulap.audio_places": (0,),
    "mulap.width": 8,
    "mulap.heads": 2,
}
OBJECTIVES = {
    "objectives.masked_language": 0.1,
    "objectives.masked_audio": 4.0,
    "objectives.correct_pair": 2.0,
    "masked_language.with_audio": True,
    "correct_pair.inputs": "summary",
    "correct_pair.head": "linear",
}


class Ear(Network):
    """Maps (N, samples) to (N, 4)."""

    features = 4

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        self.frontend = MelFrontend(config.tagger, spectrogram, rngs=rngs)
        self.dense = Dense(spectrogram.n_mels, self.features, dtype=jnp.float32, rngs=rngs)

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        x = self.frontend(waveform, mask, key).mean(axis=(2, 3))
        return self.dense(x, mask, key is not None)


def install(patch: pytest.MonkeyPatch) -> None:
    """Makes it a model that configs can name, as `ear`."""
    patch.setitem(taggers.NETWORKS, "ear", Ear)
    patch.setitem(models.MODELS, "ear", Tagger)


def make_batch(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """`tiny.make_batch` with waveforms."""
    batch = tiny.make_batch(rows, seed)
    samples = tiny.make_contract().segmenting.samples(8000)
    noise = np.random.default_rng(seed).normal(0, 0.1, (rows, tiny.SEGMENTS, samples))
    batch["waveform"] = noise.astype(np.float32) * batch["segment_mask"][..., None]
    del batch["log_mel"]
    return batch
