"""Keys are those of `nnx.Rngs`, so that a seed means what it means to Flax."""

import jax
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.keys import Keys


@pytest.mark.parametrize("key", [0, 7, jax.random.key(3)])
def test_keys_are_those_of_flax(key):
    ours, theirs = Keys(key), nnx.Rngs(key)
    for _ in range(3):
        found, expected = (jax.random.key_data(keys.params()) for keys in (ours, theirs))
        np.testing.assert_array_equal(found, expected)
