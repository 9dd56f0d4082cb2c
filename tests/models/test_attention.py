"""The one attention: masks, heads and dropout, in closed form."""

import jax
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.attention import attend, attention_mask, attention_weights

ROWS, QUERIES, KEYS, WIDTH, HEADS = 3, 4, 5, 6, 2
MASK = (np.arange(KEYS) < np.array([[5], [2], [0]])).astype(np.float32)


@pytest.fixture(scope="module")
def sequences() -> tuple[np.ndarray, ...]:
    """Queries, keys and values."""
    rng = np.random.default_rng(0)
    lengths = (QUERIES, KEYS, KEYS)
    return tuple(rng.normal(size=(ROWS, n, WIDTH)).astype(np.float32) for n in lengths)


def expected_weights(query: np.ndarray, key: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Of one row and head: softmax over the allowed keys (T, U), uniform where there is none."""
    scores = np.exp(query.astype(np.float64) @ key.T / np.sqrt(query.shape[-1])) * allowed
    total = scores.sum(axis=1, keepdims=True)
    return np.where(total > 0, scores / np.where(total > 0, total, 1), 1 / key.shape[0])


@pytest.mark.parametrize("causal", [False, True])
def test_each_head_is_a_softmax_over_the_allowed_keys(sequences, causal):
    query, key, value = sequences
    mask = attention_mask(MASK, QUERIES, causal=causal)
    weights = attention_weights(query, key, mask, heads=HEADS)
    attended = attend(query, key, value, mask, heads=HEADS)
    allowed = np.broadcast_to(MASK[:, None] > 0, (ROWS, QUERIES, KEYS))
    if causal:
        allowed = allowed & np.tri(QUERIES, KEYS, dtype=bool)
    for row in range(ROWS):
        for head in range(HEADS):
            own = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            expected = expected_weights(query[row, :, own], key[row, :, own], allowed[row])
            np.testing.assert_allclose(weights[row, head], expected, atol=1e-6)
            found = attended[row, :, own]
            np.testing.assert_allclose(found, expected @ value[row, :, own], atol=1e-6)


def test_without_a_mask_all_keys_are_allowed(sequences):
    everything = attention_mask(np.ones((ROWS, KEYS)))
    expected = attend(*sequences, everything, heads=HEADS)
    np.testing.assert_allclose(attend(*sequences, heads=HEADS), expected, atol=1e-6)


def test_dropout_is_of_the_weights_and_needs_a_key(sequences):
    query, key, value = sequences
    mask, dropout = attention_mask(MASK), nnx.Dropout(0.5)

    def run(dropout_key: jax.Array | None) -> jax.Array:
        return attend(
            query, key, value, mask, heads=HEADS, dropout=dropout, dropout_key=dropout_key
        )

    plain = attend(query, key, value, mask, heads=HEADS)
    np.testing.assert_array_equal(run(None), plain)
    weights = attention_weights(query, key, mask, heads=HEADS)
    dropped = dropout(weights, deterministic=False, rngs=jax.random.key(0))
    assert ((dropped == 0) | np.isclose(dropped, 2 * weights)).all()
    heads = value.reshape(ROWS, KEYS, HEADS, -1)
    expected = np.einsum("bhtu,buhd->bthd", dropped, heads).reshape(ROWS, QUERIES, WIDTH)
    np.testing.assert_allclose(run(jax.random.key(0)), expected, atol=1e-6)
    assert np.abs(run(jax.random.key(1)) - plain).max() > 0.1
