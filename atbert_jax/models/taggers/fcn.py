"""The fully convolutional network (Choi et al. 2016) as Won et al. (2020) trained it."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.models.taggers.blocks import ConvPool, global_max, require_size
from atbert_jax.models.taggers.frontend import MelFrontend
from input_pipeline.spectrogram import Spectrogram

# Channels, and blocks of (frequency, time) under one maximum, of each layer.
LAYERS = ((64, (2, 4)), (128, (2, 4)), (128, (2, 4)), (128, (3, 5)), (64, (4, 4)))


class FCN(nnx.Module):
    """Five convolutions over 29 seconds of 96 bands; with an output of 50 tags 447 732 parameters.

    Clips longer than the published one leave several frames, of which the maximum is taken.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end.
        rngs: Keys of the initial values.
    """

    hears = "waveform"
    features = LAYERS[-1][0]

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        dtype = jnp.dtype(config.model.dtype)
        self.frontend = MelFrontend(config.tagger, spectrogram, rngs=rngs)
        layers, channels = [], 1
        for width, pool in LAYERS:
            layers.append(ConvPool(channels, width, (3, 3), pool=pool, dtype=dtype, rngs=rngs))
            channels = width
        self.layers = nnx.List(layers)

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, 64); `key=None` is evaluation.

        Raises:
            ValueError: if a clip or its bands are too few for five maxima.
        """
        spectrogram, pools = self.frontend.spectrogram, [layer.pool for layer in self.layers]
        require_size(waveform.shape[1], spectrogram.n_mels, pools, spectrogram)
        x = self.frontend(waveform, mask, key)
        for layer in self.layers:
            x = layer(x, mask, key is not None)
        return global_max(x)
