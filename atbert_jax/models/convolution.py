"""A convolution as all models have it."""

import jax
from flax import nnx

from atbert_jax.models import gradients


class Convolution(nnx.Conv):
    """`nnx.Conv` with explicit padding, whose gradients are float32."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (N, ..., C) to (N, ..., D)."""
        x = x.astype(self.dtype)
        outputs = gradients.convolution(x, self.kernel[...], self.strides, self.padding)
        return outputs if self.bias is None else gradients.shifted(outputs, self.bias[...])
