"""Gradients of kernels and biases are float32, and not rounded on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atbert_jax.models import gradients

CONVOLUTIONS = {
    "same": ((9, 7), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "strided": ((9, 8), (3, 5), (2, 3), ((1, 1), (2, 2))),
    "uneven": ((6, 7), (2, 1), (1, 2), ((0, 1), (0, 0))),
    "1x1": ((4, 5), (1, 1), (1, 1), ((0, 0), (0, 0))),
    "of waveforms": ((32,), (3,), (3,), ((1, 0),)),
    "reaches not all": ((8,), (3,), (4,), ((0, 0),)),
}


def draw(*shape: int, seed: int = 0) -> jax.Array:
    """Values that bfloat16 holds exactly, in float32."""
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.bfloat16).astype(jnp.float32)


def check(operation, x: jax.Array, parameter: jax.Array) -> None:
    """Of bfloat16, against the same in float32, where nothing is rounded."""
    expected, pull = jax.vjp(operation, x, parameter)
    gradient = draw(*expected.shape, seed=1)
    of_x, of_parameter = pull(gradient)
    found, pull = jax.vjp(operation, x.astype(jnp.bfloat16), parameter)
    of_x_found, of_parameter_found = pull(gradient.astype(jnp.bfloat16))
    assert found.dtype == of_x_found.dtype == jnp.bfloat16
    assert of_parameter_found.dtype == jnp.float32
    np.testing.assert_allclose(of_parameter_found, of_parameter, rtol=1e-5, atol=1e-5)
    for rounded, exact in ((found, expected), (of_x_found, of_x)):
        np.testing.assert_allclose(
            rounded.astype(jnp.float32), exact, rtol=2**-8, atol=1e-2 * np.abs(exact).max()
        )


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    space, kernel, strides, padding = CONVOLUTIONS[name]

    def operation(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return gradients.convolution(x, kernel, strides, padding)

    check(operation, draw(4, *space, 3), draw(*kernel, 3, 5, seed=2))


@pytest.mark.parametrize("copies", [(), (2,)])
def test_products(copies):
    check(gradients.product, draw(*copies, 6, 3), draw(*copies, 3, 5, seed=2))


def test_biases():
    check(gradients.shifted, draw(2, 300, 5), draw(5, seed=2))


def test_a_sum_that_bfloat16_cannot_hold():
    """Of 512 ones and a half: bfloat16 has 8 bits."""
    x = jnp.concatenate([jnp.ones((512, 1)), jnp.full((1, 1), 0.5)]).astype(jnp.bfloat16)
    kernel = jnp.ones((1, 1))
    ones = jnp.ones((513, 1), jnp.bfloat16)
    assert jax.vjp(gradients.product, x, kernel)[1](ones)[1] == 512.5
    assert jax.vjp(lambda x, k: x @ k.astype(x.dtype), x, kernel)[1](ones)[1] == 512
