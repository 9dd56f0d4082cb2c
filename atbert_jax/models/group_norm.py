"""Group normalisation, with the arguments of batch normalisation."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

GROUPS = 32


class GroupNorm(nnx.GroupNorm):
    """Group normalisation (Wu and He 2018) in 32 groups, or as many as divide the channels.

    Every row is normalised by itself, in training and in evaluation alike.
    """

    def __init__(
        self, channels: int, *, scale_init: nnx.Initializer, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        groups = math.gcd(GROUPS, channels)
        super().__init__(channels, num_groups=groups, scale_init=scale_init, rngs=rngs)
        self.compute_type = dtype

    def __call__(
        self, x: jax.Array, mask: jax.Array, train: bool, *, relu: bool = False
    ) -> jax.Array:
        """Normalises (N, ..., C), in float32; returns the compute type."""
        del mask, train
        y = super().__call__(x.astype(jnp.float32))
        return (nnx.relu(y) if relu else y).astype(self.compute_type)

    def learns(self, train: bool) -> bool:
        """Whether it normalises by the batch: never."""
        del train
        return False
