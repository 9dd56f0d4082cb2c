"""A picture of sound that convolutions make smaller and smaller: what most taggers are."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.models.taggers.blocks import ConvPool, Residual, require_size
from atbert_jax.models.taggers.network import Network

# Channels of a layer, and the block of (frequency, time) under one maximum.
Step = tuple[int, tuple[int, int]]


def steps(
    table: Sequence[Step],
    channels: int,
    *,
    residual: bool = False,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
) -> nnx.List:
    """Layers of 3x3 convolutions with maxima.

    Args:
        table: Of each layer.
        channels: Of the picture.
        residual: A layer that keeps the number of channels is a residual block.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """
    layers = []
    for width, pool in table:
        block = Residual if residual and width == channels else ConvPool
        layers.append(block(channels, width, (3, 3), pool=pool, dtype=dtype, rngs=rngs))
        channels = width
    return nnx.List(layers)


class Ladder(Network):
    """A tagger with a `frontend` and `layers` upon each other."""

    def pictures(
        self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None
    ) -> list[jax.Array]:
        """The output (N, F', T', C) of each layer, of waveforms (N, samples) with mask (N,).

        Raises:
            ValueError: if a clip or its bands are too few for all maxima.
        """
        spectrogram, pools = self.frontend.spectrogram, [layer.pool for layer in self.layers]
        require_size(waveform.shape[1], self.frontend.bands, pools, spectrogram)
        found = [self.frontend(waveform, mask, key)]
        for layer in self.layers:
            found.append(layer(found[-1], mask, key is not None))
        return found[1:]

    def picture(self, waveform: jax.Array, mask: jax.Array, key: jax.Array | None) -> jax.Array:
        """The last of the `pictures`."""
        return self.pictures(waveform, mask, key)[-1]
