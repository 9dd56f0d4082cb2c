"""Batch normalisation that counts only what is real, and the additions and ReLUs around it."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.models.remat import keep


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation over the real segments, with biased running variances as in JAX.

    With `use_running_average` (where it is frozen) it acts as in evaluation, always.

    Flax's own takes a mask too, but leaves its gradient to differentiation, which moves half as
    much again as `normalize` and `fold` do.
    """

    def __call__(
        self, x: jax.Array, mask: jax.Array, train: bool, *, relu: bool = False
    ) -> jax.Array:
        """Normalises (N, ..., C) with mask (N,), in float32; returns the compute type.

        Args:
            x: (N, ..., C).
            mask: (N,), 1 = real.
            train: Normalise by the batch and update the running statistics.
            relu: Whether a ReLU follows.
        """
        if self.learns(train):
            y, mean, variance = normalize(
                relu, self.epsilon, x, row_weights(x, mask), self.scale[...], self.bias[...]
            )
            self.learn(mean, variance)
        else:
            scale = jax.lax.rsqrt(self.var[...] + self.epsilon) * self.scale[...]
            y = (x - self.mean[...]) * scale + self.bias[...]
            y = nnx.relu(y) if relu else y
        return y.astype(self.dtype)

    def learns(self, train: bool) -> bool:
        """Whether it normalises by the batch."""
        return train and not self.use_running_average

    def learn(self, mean: jax.Array, variance: jax.Array) -> None:
        """Moves the running statistics towards those of a batch, (C,)."""
        for running, found in ((self.mean, mean), (self.var, variance)):
            found = jax.lax.stop_gradient(found)
            running[...] = self.momentum * running[...] + (1 - self.momentum) * found


def row_weights(x: jax.Array, mask: jax.Array) -> jax.Array:
    """What each row of x (N, ..., C) counts in a mean over rows and positions, (N,)."""
    # Statistics of nothing would be NaN, and stay so: without a real row, all count.
    weight = jnp.where(mask.any(), mask, 1.0)
    return weight / (weight.sum() * math.prod(x.shape[1:-1]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def normalize(
    relu: bool,
    epsilon: float,
    x: jax.Array,
    weight: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch normalisation and ReLU, in two passes over x forward and two backward.

    Args:
        relu: Whether a ReLU ends it.
        epsilon: Added to the variance.
        x: (N, ..., C).
        weight: (N,), see `row_weights`.
        scale: (C,).
        bias: (C,).

    Returns:
        (N, ..., C), float32; mean and variance (C,), which pass no gradient on.
    """
    return _normalize(relu, epsilon, x, weight, scale, bias)[0]


def _normalize(
    relu: bool,
    epsilon: float,
    x: jax.Array,
    weight: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    values, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    weight = weight.reshape(-1, *[1] * (x.ndim - 1))
    mean = keep((values * weight).sum(axes))
    # Rounding can take the difference of a constant channel below 0.
    variance = keep(jnp.maximum((values * values * weight).sum(axes) - mean**2, 0.0))
    inverse = jax.lax.rsqrt(variance + epsilon)
    y = (values - mean) * (inverse * scale) + bias
    y = nnx.relu(y) if relu else y
    return (y, mean, variance), (x, weight, scale, bias, mean, inverse)


def _normalize_backward(
    relu: bool, epsilon: float, kept: tuple[jax.Array, ...], gradients: tuple[jax.Array, ...]
) -> tuple[jax.Array | None, ...]:
    del epsilon
    (x, weight, scale, bias, mean, inverse), gradient = kept, gradients[0]
    axes, standard = tuple(range(x.ndim - 1)), (x.astype(jnp.float32) - mean) * inverse
    if relu:
        gradient = jnp.where(standard * scale + bias > 0, gradient, 0.0)
    of_bias, of_scale = gradient.sum(axes), (gradient * standard).sum(axes)
    of_x = (scale * inverse) * (gradient - weight * (of_bias + standard * of_scale))
    return of_x.astype(x.dtype), None, of_scale, of_bias


normalize.defvjp(_normalize, _normalize_backward)


def fold(
    epsilon: float,
    x: jax.Array,
    weight: jax.Array,
    kernel: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The normalisation of a product of x and a kernel, as a product itself.

    Mean and variance of a product follow from the mean and the second moments of its input, so a
    wide product of a narrow input need not be kept, nor read for its statistics.

    Args:
        epsilon: Added to the variance.
        x: (N, ..., C), of the compute type.
        weight: (N,), see `row_weights`.
        kernel: (C, D), float32.
        scale: (D,).
        bias: (D,).

    Returns:
        Kernel (C, D), not rounded to the compute type yet, and bias (D,) of the normalised product;
        mean and variance (D,) of the product.
    """
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    inputs = keep(weight @ rows.astype(jnp.float32).sum(axis=1))
    moments = keep(second_moments(rows, weight)) - jnp.outer(inputs, inputs)
    variance = jnp.maximum((kernel * (moments @ kernel)).sum(axis=0), 0.0)
    folded = kernel * (jax.lax.rsqrt(variance + epsilon) * scale)
    # The mean of what the rounded kernel gives.
    bias = bias - inputs @ folded.astype(x.dtype).astype(jnp.float32)
    return folded, bias, inputs @ kernel, variance


@jax.custom_vjp
def second_moments(x: jax.Array, weight: jax.Array) -> jax.Array:
    """The weighted sum of x x^T over rows and positions, (C, C).

    Args:
        x: (N, P, C).
        weight: (N,), see `row_weights`.
    """
    moments = jnp.einsum("npc,npd->ncd", x, x, preferred_element_type=jnp.float32)
    return jnp.tensordot(weight, moments, 1)


def _moments_backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple:
    x, weight = kept
    # One product; differentiation would make two, one for each factor.
    gradient = weight[:, None, None] * (gradient + gradient.T)
    return jnp.einsum("npc,ncd->npd", x, gradient.astype(x.dtype)), None


second_moments.defvjp(lambda *given: (second_moments(*given), given), _moments_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def add(relu: bool, x: jax.Array, bias: jax.Array, residual: jax.Array | None) -> jax.Array:
    """The sum of the three, and a ReLU whose gradient needs the result alone.

    Args:
        relu: Whether a ReLU ends it.
        x: (N, ..., C).
        bias: (C,), float32; its gradient is summed in float32.
        residual: (N, ..., C) or None.
    """
    return _add(relu, x, bias, residual)[0]


def _add(
    relu: bool, x: jax.Array, bias: jax.Array, residual: jax.Array | None
) -> tuple[jax.Array, tuple]:
    y = x + bias.astype(x.dtype)
    y = y if residual is None else y + residual
    y = keep(nnx.relu(y)) if relu else y
    return y, (y if relu else None, residual is None)


def _add_backward(
    relu: bool, kept: tuple[jax.Array | None, bool], gradient: jax.Array
) -> tuple[jax.Array | None, ...]:
    y, alone = kept
    if relu:
        # Not `y > 0`: XLA would take it for a question about what comes before the ReLU.
        gradient = jnp.where(y != 0, gradient, 0)
    of_bias = gradient.astype(jnp.float32).sum(range(gradient.ndim - 1))
    return gradient, of_bias, None if alone else gradient


add.defvjp(_add, _add_backward)
