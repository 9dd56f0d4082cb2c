"""The short-chunk CNNs of Won et al. (2020): seven small steps over 3.69 seconds of 128 bands."""

import functools
import itertools

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.taggers.blocks import ConvPool, Dense, Residual, global_max
from atbert_jax.models.taggers.ladder import Ladder
from atbert_jax.models.taggers.tagger_frontend import MelFrontend

# Of each layer.
CHANNELS = (128, 128, 256, 256, 256, 256, 512)


class ShortChunk(Ladder):
    """Short-chunk CNN ("VGG-ish"); with an output of 50 tags 3 687 348 parameters.

    Every layer is a convolution of 3x3 and a maximum over 2x2; a global maximum follows, so that
    longer clips are used whole.

    Args:
        config: The whole config; `config.tagger` and `config.model.dtype` matter here.
        spectrogram: Of the front end; 128 bands or more.
        rngs: Keys of the initial values.
    """

    features = CHANNELS[-1]
    block = staticmethod(functools.partial(ConvPool, kernel=(3, 3), pool=(2, 2)))

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        dtype = jnp.dtype(config.model.dtype)
        self.frontend = MelFrontend(config.tagger, spectrogram, rngs=rngs)
        self.layers = nnx.List(
            self.block(*pair, dtype=dtype, rngs=rngs) for pair in itertools.pairwise((1, *CHANNELS))
        )
        self.dense = Dense(self.features, self.features, dtype=dtype, rngs=rngs)

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, 512); `key=None` is evaluation.

        Raises:
            ValueError: if a clip or its bands are too few for seven maxima.
        """
        x = self.picture(waveform, mask, key)
        return self.dense(global_max(x), mask, key is not None)


class ShortChunkRes(ShortChunk):
    """Short-chunk ResNet; with an output of 50 tags 12 104 244 parameters.

    Every layer is a residual block whose strides take the place of the maxima, so that clips of any
    length will do. Its shortcut is a convolution of 3x3, as published.
    """

    block = staticmethod(functools.partial(Residual, kernel=(3, 3), stride=(2, 2)))
