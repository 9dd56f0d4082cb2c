"""Kernels and biases whose gradients are float32, whatever a model computes in.

The gradient of a kernel that was cast to bfloat16 is bfloat16, too: it is rounded on each device,
and again wherever devices add theirs up, the more often the more devices there are. Here the cast
is part of the operation, so gradients leave the matrix units as they were accumulated. In float32
these are the operations of JAX. On GPUs gradients of convolutions are rounded still: cuDNN gives
float32 to convolutions of float32 alone, which take half as long again.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

Padding = tuple[tuple[int, int], ...]


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x @ kernel` in x's type: (..., N, C) and float32 (..., C, D) to (..., N, D)."""
    return x @ kernel if x.dtype == kernel.dtype else _product(x, kernel)


def shifted(x: jax.Array, bias: jax.Array) -> jax.Array:
    """`x + bias` in x's type, (..., D) and float32 (D,)."""
    return x + bias if x.dtype == bias.dtype else _shifted(x, bias)


def convolution(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Sequence[Sequence[int]]
) -> jax.Array:
    """A convolution over the axes between the first and the last one, in x's type.

    Args:
        x: (N, ..., C).
        kernel: (..., C, D), float32.
        strides: Of each axis.
        padding: Zeros before and after, of each axis.

    Returns:
        (N, ..., D).
    """
    strides, padding = tuple(strides), tuple(map(tuple, padding))
    convolve = _convolve if x.dtype == kernel.dtype else _convolution
    return convolve(x, kernel, strides, padding)


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel.astype(x.dtype)


def _product_backward(given: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = given
    of_kernel = jnp.einsum("...nc,...nd->...cd", x, gradient, preferred_element_type=jnp.float32)
    return gradient @ kernel.astype(x.dtype).swapaxes(-1, -2), of_kernel


_product.defvjp(lambda x, kernel: (_product(x, kernel), (x, kernel)), _product_backward)


@jax.custom_vjp
def _shifted(x: jax.Array, bias: jax.Array) -> jax.Array:
    return x + bias.astype(x.dtype)


def _shifted_backward(_: None, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    axes = tuple(range(gradient.ndim - 1))
    return gradient, gradient.sum(axes, dtype=jnp.float32)


_shifted.defvjp(lambda x, bias: (_shifted(x, bias), None), _shifted_backward)


def _convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Padding
) -> jax.Array:
    space = "HW"[: x.ndim - 2]
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        strides,
        padding,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )


_convolution = jax.custom_vjp(_convolve, nondiff_argnums=(2, 3))


def _convolution_forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, strides, padding), (x, kernel)


def _convolution_backward(
    strides: tuple[int, ...],
    padding: Padding,
    given: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = given
    of_x = functools.partial(_convolve, kernel=kernel, strides=strides, padding=padding)
    # The gradient of a kernel is x convolved with that of the output: examples are summed over, as
    # channels are, and what the stride left out is left out of the kernel instead.
    space = "HW"[: x.ndim - 2]
    ends = [
        (outputs - 1) * stride + size - inputs - before
        for outputs, stride, size, inputs, (before, _) in zip(
            gradient.shape[1:-1], strides, kernel.shape, x.shape[1:-1], padding, strict=False
        )
    ]

    def of_kernel(x: jax.Array, gradient: jax.Array, dtype: jnp.dtype) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            gradient,
            (1,) * len(strides),
            [(before, end) for (before, _), end in zip(padding, ends, strict=True)],
            rhs_dilation=strides,
            dimension_numbers=(f"C{space}N", f"I{space}O", f"{space}NC"),
            preferred_element_type=dtype,
        ).astype(jnp.float32)

    rounded = functools.partial(of_kernel, dtype=x.dtype)
    exact = functools.partial(of_kernel, dtype=jnp.float32)
    return jax.vjp(of_x, x)[1](gradient)[0], jax.lax.platform_dependent(
        x, gradient, cuda=rounded, rocm=rounded, default=exact
    )


_convolution.defvjp(_convolution_forward, _convolution_backward)
