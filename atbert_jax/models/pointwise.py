"""1x1 convolutions, in the form that XLA compiles best for each kind of device.

On a CPU they are products of two matrices: XLA's CPU gradients of 1x1 convolutions, and of products
with more axes, take several times as long. On GPUs and TPUs they are convolutions: products come
with copies between layouts, and XLA's GPU compiler before JAX 0.12 aborts where one is of every
other position.
"""

import jax

from atbert_jax.models import batch_norm, gradients
from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.models.remat import keep


def pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Maps (N, F, T, C) with a float32 kernel (C, D) to (N, F, T, D), of x's type."""
    return jax.lax.platform_dependent(x, kernel, cpu=_product, default=_convolution)


def widening(
    x: jax.Array,
    kernel: jax.Array,
    norm: BatchNorm,
    mask: jax.Array,
    *,
    relu: bool,
    residual: jax.Array | None,
) -> jax.Array:
    """`pointwise` to more channels and batch normalisation, in training.

    On GPUs the normalisation becomes part of the convolution (see `batch_norm.fold`). There memory
    is what limits a step, and this is where most of it goes. On a CPU the second moments cost more
    than they save; on a TPU, whose compiler fuses a normalisation with the convolution before it,
    they bring copies between layouts.

    Args:
        x: (N, F, T, C), of the compute type.
        kernel: (C, D), float32.
        norm: Of D channels; learns.
        mask: (N,), 1 = real.
        relu: Whether a ReLU ends it.
        residual: What is added before that, (N, F, T, D), or None.

    Returns:
        (N, F, T, D).
    """
    weight, epsilon = batch_norm.row_weights(x, mask), norm.epsilon

    def apart(x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple:
        y = keep(pointwise(x, kernel))
        y, mean, variance = batch_norm.normalize(False, epsilon, y, weight, scale, bias)
        y = y.astype(x.dtype) if residual is None else y.astype(x.dtype) + residual
        return jax.nn.relu(y) if relu else y, mean, variance

    def folded(x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple:
        kernel, bias, mean, variance = batch_norm.fold(epsilon, x, weight, kernel, scale, bias)
        return batch_norm.add(relu, _convolution(x, kernel), bias, residual), mean, variance

    y, mean, variance = jax.lax.platform_dependent(
        x, kernel, norm.scale[...], norm.bias[...], cuda=folded, rocm=folded, default=apart
    )
    norm.learn(mean, variance)
    return y


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    rows = x.reshape(-1, x.shape[-1])
    return gradients.product(rows, kernel).reshape(*x.shape[:-1], -1)


def _convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return gradients.convolution(x, kernel[None, None], (1, 1), ((0, 0), (0, 0)))
