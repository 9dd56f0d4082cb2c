"""A linear map that can be split over devices."""

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.models import gradients
from atbert_jax.parallel.sharding import axes, repeated

LECUN_NORMAL = nnx.initializers.lecun_normal()


class Linear(nnx.Linear):
    """A linear map whose gradients are float32, and whose kernel can be split.

    The kernel (C, D) may have copies (P, C, D) for P equal parts of the batch (`sharding.copies`).

    Args:
        width_in: C.
        width_out: D.
        axis_in: Name of the input's axis, for `sharding.RULES`; None stays whole.
        axis_out: Name of the output's.
        repeats: The map is used several times in a step.
        use_bias: Whether something is added.
        kernel_init: Gives the initial kernel.
        dtype: Compute type.
        rngs: Keys of the initial values.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        axis_in: str | None = None,
        axis_out: str | None = None,
        *,
        repeats: bool = False,
        use_bias: bool = True,
        kernel_init: nnx.Initializer = LECUN_NORMAL,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            width_in,
            width_out,
            use_bias=use_bias,
            kernel_init=kernel_init,
            dtype=dtype,
            kernel_metadata=(repeated if repeats else axes)(axis_in, axis_out),
            bias_metadata=axes(axis_out),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, ..., C) to (B, ..., D)."""
        kernel = self.kernel[...]
        rows = x.astype(self.dtype).reshape(*kernel.shape[:-2], -1, x.shape[-1])
        outputs = gradients.product(rows, kernel).reshape(*x.shape[:-1], -1)
        return outputs if self.bias is None else gradients.shifted(outputs, self.bias[...])
