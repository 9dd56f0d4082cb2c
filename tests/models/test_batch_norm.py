"""Batch normalisation against its definition, wherever the channels are the last axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.batch_norm import BatchNorm
from atbert_jax.training.keys import Keys

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
