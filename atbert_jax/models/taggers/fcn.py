"""The fully convolutional network (Choi et al. 2016) as Won et al. (2020) trained it."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.taggers.blocks import global_max
from atbert_jax.models.taggers.ladder import Ladder, steps
from atbert_jax.models.taggers.tagger_frontend import MelFrontend

# Channels, and blocks of (frequency, time) under one maximum, of each layer.
LAYERS = ((64, (2, 4)), (128, (2, 4)), (128, (2, 4)), (128, (3, 5)), (64, (4, 4)))


class FCN(Ladder):
    """Five convolutions over 29 seconds of 96 bands; with an output of 50 tags 447 732 parameters.

    Clips longer than the published one leave several frames, of which the maximum is taken.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.
    """

    features = LAYERS[-1][0]

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        dtype = jnp.dtype(config.model.dtype)
        self.frontend = MelFrontend(config.tagger, spectrogram, rngs=rngs)
        self.layers = steps(LAYERS, 1, dtype=dtype, rngs=rngs)

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, 64); `key=None` is evaluation.

        Raises:
            ValueError: if a clip or its bands are too few for five maxima.
        """
        x = self.picture(waveform, mask, key)
        return global_max(x)
