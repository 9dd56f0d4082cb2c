"""Harmonic CNN (Won et al. 2020): triangular filters at harmonics, whose width is learned."""

import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.taggers.blocks import Dense, global_max
from atbert_jax.models.taggers.ladder import Ladder, steps
from atbert_jax.models.taggers.tagger_frontend import Frontend

HARMONICS, BANDS_PER_SEMITONE = 6, 2
C1, A4, A4_HERTZ = 24, 69, 440.0
# Bandwidth in Hz of an auditory filter at f: ALPHA * f + BETA (Glasberg and Moore 1990).
ALPHA, BETA = 0.1079, 24.7
# Channels, and blocks of (frequency, time) under one maximum, of each layer.
LAYERS = (
    (128, (2, 2)),
    (128, (2, 2)),
    (128, (2, 2)),
    (128, (2, 2)),
    (256, (2, 2)),
    (256, (2, 3)),
    (256, (2, 3)),
)


def centres(sample_rate: int) -> np.ndarray:
    """Centre frequencies (F, H) in Hz: half semitones from C1 on, and their harmonics.

    Fundamentals end below the note nearest to the highest one all of whose harmonics are below half
    the sample rate. With 16 kHz there are 128.
    """
    last = A4 + 12 * math.log2(sample_rate / 2 / HARMONICS / A4_HERTZ)
    notes = np.arange(C1, round(last), 1 / BANDS_PER_SEMITONE)
    fundamentals = A4_HERTZ * 2 ** ((notes - A4) / 12)
    return fundamentals[:, None] * np.arange(1, HARMONICS + 1)


class HarmonicFrontend(Frontend):
    """Waveform -> bands (N, F, T, H): one channel for each harmonic.

    The filters are triangles of height 1 around `centres`, and as wide as auditory filters divided
    by a learned `sharpness` (Q in the paper). They are computed in each step.
    """

    def __init__(
        self, settings: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        super().__init__(settings, spectrogram, HARMONICS, rngs=rngs)
        self.sharpness = nnx.Param(jnp.ones(1))

    @property
    def bands(self) -> int:
        """Number of bands F."""
        return len(centres(self.spectrogram.sample_rate))

    def filters(self) -> jax.Array:
        """(n_fft // 2 + 1, F, H)."""
        rate, bins = self.spectrogram.sample_rate, self.spectrogram.n_fft // 2 + 1
        middle = centres(rate)
        distance = np.linspace(0, rate / 2, bins)[:, None, None] - middle
        # In float64 up to here, where Q comes in.
        relative = (2 * distance / (ALPHA * middle + BETA)).astype(np.float32)
        return jnp.maximum(1 - jnp.abs(relative * self.sharpness[...]), 0)


class HarmonicCNN(Ladder):
    """Seven layers over 5 seconds; with an output of 50 tags 3 631 551 parameters.

    Where the channels stay the same a layer is a residual block. A global maximum follows, so that
    longer clips are used whole.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Its rate, FFT, hop and least power; it has bands of its own.
        rngs: Keys of the initial values.
    """

    features = LAYERS[-1][0]

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        dtype = jnp.dtype(config.model.dtype)
        self.frontend = HarmonicFrontend(config.tagger, spectrogram, rngs=rngs)
        self.layers = steps(LAYERS, HARMONICS, residual=True, dtype=dtype, rngs=rngs)
        self.dense = Dense(self.features, self.features, dtype=dtype, rngs=rngs)

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, 256); `key=None` is evaluation.

        Raises:
            ValueError: if a clip is too short for seven maxima, or the rate too low for 128 bands.
        """
        x = self.picture(waveform, mask, key)
        return self.dense(global_max(x), mask, key is not None)
