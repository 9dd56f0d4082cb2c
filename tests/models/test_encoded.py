"""Directions of vectors."""

import jax
import jax.numpy as jnp
import numpy as np

from atbert_jax.models.encoded import unit


def test_a_direction_has_length_1_and_nothing_none():
    x = jnp.asarray([[3.0, -4.0], [0.0, 0.0], [1e-9, 0.0]])
    np.testing.assert_allclose(unit(x), [[0.6, -0.8], [0, 0], [1e-3, 0]], rtol=1e-6)


def test_the_gradient_of_nothing_is_finite():
    """As the vector of a record without a clip is, before its first step."""
    gradient = jax.grad(lambda x: (unit(x) * jnp.asarray([[1.0, 2.0]] * 2)).sum())
    found = gradient(jnp.asarray([[3.0, -4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found[0], [0.32, 0.24], rtol=1e-5)
    assert np.isfinite(found).all()
