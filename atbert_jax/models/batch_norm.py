"""Batch normalisation that counts only what is real."""

import math

import jax
import jax.numpy as jnp
from flax import nnx


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation over the real segments, with biased running variances as in JAX.

    With `use_running_average` (where it is frozen) it acts as in evaluation, always.

    Flax's own takes a mask too; the gradients of its masked means take XLA's CPU compiler four
    times as long as those of these weighted sums.
    """

    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Normalises (N, ..., C) with mask (N,), in float32; returns the compute type."""
        mean, variance = self.mean[...], self.var[...]
        if train and not self.use_running_average:
            # Statistics of nothing would be NaN, and stay so: without a real segment, all count.
            weight = jnp.where(mask.any(), mask, 1.0)
            weight = weight / (weight.sum() * math.prod(x.shape[1:-1]))
            weight = weight.reshape(-1, *[1] * (x.ndim - 1))
            values, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
            mean = (values * weight).sum(axis=axes)
            # Rounding can take the difference of a constant channel below 0.
            squares = (values * values * weight).sum(axis=axes)
            variance = jnp.maximum(squares - mean**2, 0.0)
            keep = self.momentum
            self.mean[...] = keep * self.mean[...] + (1 - keep) * jax.lax.stop_gradient(mean)
            self.var[...] = keep * self.var[...] + (1 - keep) * jax.lax.stop_gradient(variance)
        scale = jax.lax.rsqrt(variance + self.epsilon) * self.scale[...]
        return ((x - mean) * scale + self.bias[...]).astype(self.dtype)
