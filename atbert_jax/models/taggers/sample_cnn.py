"""The sample-level CNNs, on samples instead of a spectrogram (Lee et al. 2017, Kim et al. 2018).

As Won et al. (2020) trained them: eleven layers over 59 049 = 3^10 samples.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.linear import Linear
from atbert_jax.models.taggers.blocks import ConvPool, Dense, Residual, global_max, require_samples
from atbert_jax.models.taggers.network import Network

# Of each layer. The first has a stride of 3, the last a kernel of 1; those between take maxima.
CHANNELS = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512)
MAXIMA = len(CHANNELS) - 2
# The first convolution makes ceil(samples / 3) frames; 3^9 are needed.
LEAST_SAMPLES = 3 * (3**MAXIMA - 1) + 1


class SqueezeExcitation(Residual):
    """A residual block whose channels weight each other (Hu et al. 2018), without a bottleneck."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Sequence[int],
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
        **sizes: Sequence[int],
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, dtype=dtype, rngs=rngs, **sizes)
        self.squeeze = Linear(channels_out, channels_out, dtype=dtype, rngs=rngs)
        self.excite = Linear(channels_out, channels_out, dtype=dtype, rngs=rngs)

    def branch(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Two convolutions, and a factor of each channel from the mean of all over time."""
        y = super().branch(x, mask, train)
        factors = self.excite(nnx.relu(self.squeeze(y.mean(axis=1))))
        return y * jax.nn.sigmoid(factors)[:, None]


class SampleCNN(Network):
    """Sample-level CNN; with an output of 50 tags 1 869 874 parameters.

    Clips longer than the published one leave several frames, of which the maximum is taken.

    Args:
        config: The whole config; `config.model.dtype` matters here.
        spectrogram: Tells the sample rate.
        rngs: Keys of the initial values.
    """

    features = CHANNELS[-1]
    block = ConvPool

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        dtype = jnp.dtype(config.model.dtype)
        self.spectrogram = spectrogram
        kernels, strides = (*[3] * (MAXIMA + 1), 1), (3, *[1] * (MAXIMA + 1))
        pools = (1, *[3] * MAXIMA, 1)
        pairs = itertools.pairwise((1, *CHANNELS))
        self.layers = nnx.List(
            self.block(*pair, (kernel,), stride=(stride,), pool=(pool,), dtype=dtype, rngs=rngs)
            for pair, kernel, stride, pool in zip(pairs, kernels, strides, pools, strict=True)
        )

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """Maps (N, samples) with mask (N,) to (N, 512); `key=None` is evaluation.

        Raises:
            ValueError: if a clip has less than 59 047 samples.
        """
        require_samples(waveform.shape[1], LEAST_SAMPLES, self.spectrogram)
        x = waveform[..., None]
        for layer in self.layers:
            x = layer(x, mask, key is not None)
        return global_max(x)


class SECNN(SampleCNN):
    """Sample-level CNN of residual blocks with squeeze-excitation; 6 951 858 parameters."""

    block = SqueezeExcitation

    def __init__(
        self, config: ml_collections.ConfigDict, spectrogram: Spectrogram, *, rngs: nnx.Rngs
    ) -> None:
        super().__init__(config, spectrogram, rngs=rngs)
        dtype = jnp.dtype(config.model.dtype)
        self.dense = Dense(self.features, self.features, dtype=dtype, rngs=rngs)

    def __call__(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """As `SampleCNN`, through one more linear layer."""
        return self.dense(super().__call__(waveform, mask, key), mask, key is not None)
