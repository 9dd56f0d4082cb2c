"""A linear map that can be split over devices."""

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.parallel.sharding import axes, repeated


class Linear(nnx.Linear):
    """A linear map whose kernel names its axes, for `sharding.RULES`.

    Its kernel (C, D) may have copies (P, C, D) for P equal parts of the batch (`sharding.copies`).

    Args:
        width_in: C.
        width_out: D.
        axis_in: Name of the input's axis.
        axis_out: Name of the output's.
        repeats: The map is used several times in a step.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        axis_in: str,
        axis_out: str,
        *,
        repeats: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            width_in,
            width_out,
            dtype=dtype,
            kernel_metadata=(repeated if repeats else axes)(axis_in, axis_out),
            bias_metadata=axes(axis_out),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, ..., C) to (B, ..., D)."""
        if self.kernel.ndim == 2:
            return super().__call__(x)
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        outputs = x.reshape(len(kernel), -1, x.shape[-1]) @ kernel
        return outputs.reshape(*x.shape[:-1], -1) + self.bias[...].astype(self.dtype)
