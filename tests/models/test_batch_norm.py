"""Batch normalisation against its definition, wherever the channels are the last axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models import batch_norm
from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.models.keys import Keys

ROWS, CHANNELS = 6, 3
MASKS = ([1.0] * 6, [1.0, 0.0, 1.0, 1.0, 0.0, 0.0], [0.0] * 6)


@nnx.jit
def train(norm: BatchNorm, x: jax.Array, mask: jax.Array) -> jax.Array:
    return norm(x, mask, True)


def make() -> BatchNorm:
    norm = BatchNorm(CHANNELS, momentum=0.9, epsilon=1e-5, rngs=Keys(0))
    norm.scale[...], norm.bias[...] = jnp.array([1.0, 2.0, 0.5]), jnp.array([0.0, -1.0, 3.0])
    norm.mean[...], norm.var[...] = jnp.array([0.1, 0.2, 0.3]), jnp.array([1.0, 2.0, 0.5])
    return norm


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("middle", [(), (5,), (4, 5)], ids=["NC", "NTC", "NFTC"])
def test_training_counts_the_real_rows_and_moves_the_running_statistics(middle, mask):
    rng, norm = np.random.default_rng(0), make()
    x = rng.normal(2, 3, (ROWS, *middle, CHANNELS)).astype(np.float32)
    found = train(norm, x, np.float32(mask))
    real = x[np.array(mask) > 0] if any(mask) else x
    flat = real.reshape(-1, CHANNELS)
    mean, variance = flat.mean(axis=0), flat.var(axis=0)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * np.array([1, 2, 0.5]) + np.array([0, -1, 3])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    running = 0.9 * np.array([0.1, 0.2, 0.3]) + 0.1 * mean
    np.testing.assert_allclose(norm.mean[...], running, rtol=1e-5)
    running = 0.9 * np.array([1.0, 2.0, 0.5]) + 0.1 * variance
    np.testing.assert_allclose(norm.var[...], running, rtol=1e-5)


def test_evaluation_takes_the_running_statistics_and_leaves_them():
    norm, x = make(), np.random.default_rng(0).normal(size=(ROWS, 5, CHANNELS)).astype(np.float32)
    before = np.array(norm.mean[...])
    found = nnx.jit(lambda norm, x: norm(x, jnp.ones(ROWS), False))(norm, x)
    scaled = (x - np.array([0.1, 0.2, 0.3])) / np.sqrt(np.array([1.0, 2.0, 0.5]) + 1e-5)
    expected = scaled * np.array([1, 2, 0.5]) + np.array([0, -1, 3])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm.mean[...], before)
    assert found.dtype == jnp.float32


def plain(relu: bool, x, mask, scale, bias):
    """What is normalised, by its definition, for differentiation."""
    weight = batch_norm.row_weights(x, mask).reshape(-1, *[1] * (x.ndim - 1))
    axes = tuple(range(x.ndim - 1))
    mean = (x * weight).sum(axes)
    variance = ((x - mean) ** 2 * weight).sum(axes)
    y = (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias
    return nnx.relu(y) if relu else y


def numbers(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0.5, 1, shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("mask", MASKS[:2])
@pytest.mark.parametrize("relu", [False, True])
def test_its_own_gradient_is_that_of_its_definition(relu, mask):
    x, scale, bias, upstream = numbers((ROWS, 4, 5, CHANNELS), (3,), (3,), (ROWS, 4, 5, CHANNELS))
    mask = jnp.array(mask)

    def of(function):
        run = jax.jit(lambda x, scale, bias: jax.vjp(function, x, scale, bias)[1](upstream))
        return run(x, scale, bias)

    weight = batch_norm.row_weights(x, mask)
    expected = of(lambda x, *rest: plain(relu, x, mask, *rest))
    found = of(lambda x, *rest: batch_norm.normalize(relu, 1e-5, x, weight, *rest)[0])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS[:2])
@pytest.mark.parametrize("relu", [False, True])
def test_folded_into_a_product_it_gives_the_same_values_gradients_and_statistics(relu, mask):
    shape = (ROWS, 4, 5, 7)
    x, kernel, scale, bias, residual, upstream = numbers(
        (ROWS, 4, 5, CHANNELS), (CHANNELS, 7), (7,), (7,), shape, shape
    )
    mask = jnp.array(mask)

    def by_definition(x, kernel, scale, bias, residual):
        y = plain(False, x @ kernel, mask, scale, bias) + residual
        return nnx.relu(y) if relu else y

    def folded(x, kernel, scale, bias, residual):
        weight = batch_norm.row_weights(x, mask)
        kernel, bias, mean, variance = batch_norm.fold(1e-5, x, weight, kernel, scale, bias)
        return batch_norm.add(relu, x @ kernel, bias, residual), (mean, variance)

    given = (x, kernel, scale, bias, residual)
    y, pull = jax.vjp(jax.jit(by_definition), *given)
    found, pull_folded, (mean, variance) = jax.vjp(jax.jit(folded), *given, has_aux=True)
    np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-5)
    for one, other in zip(pull_folded(upstream), pull(upstream), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=5e-5)
    real = (x @ kernel)[np.array(mask) > 0].reshape(-1, 7)
    np.testing.assert_allclose(mean, real.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, real.var(0), rtol=1e-4)


def test_in_bfloat16_a_folded_product_rounds_little_more_than_one_that_is_normalised_after():
    x, kernel, scale, bias = numbers((64, 8, 8, 32), (32, 128), (128,), (128,))
    x, mask = nnx.relu(x).astype(jnp.bfloat16), jnp.ones(64)
    weight, exact = batch_norm.row_weights(x, mask), x.astype(jnp.float32) @ kernel
    expected = plain(True, exact, mask, scale, bias)

    @jax.jit
    def both(x):
        product = x @ kernel.astype(x.dtype)
        after, _, _ = batch_norm.normalize(True, 1e-5, product, weight, scale, bias)
        folded, shift, _, _ = batch_norm.fold(1e-5, x, weight, kernel, scale, bias)
        return after.astype(x.dtype), batch_norm.add(True, x @ folded, shift, None)

    after, folded = (np.abs(y.astype(jnp.float32) - expected) for y in both(x))
    # Bias and sum are rounded here; a fused convolution of a GPU rounds the sum alone.
    assert folded.mean() < 1.5 * after.mean()
    assert folded.max() < 2 * after.max()
