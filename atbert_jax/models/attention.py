"""Scaled dot-product attention with several heads: the one implementation that all models use."""

import jax
import jax.numpy as jnp
from flax import nnx

from atbert_jax.models.encoded import drop


def attention_mask(
    mask: jax.Array | None, queries: int = 1, *, causal: bool = False
) -> jax.Array | None:
    """Which keys each query may attend to.

    Args:
        mask: (B, U), 1 = a real key; None, without `causal`, allows all.
        queries: Number of queries T; without `causal` 1 stands for any number.
        causal: Query t attends to no key after t.

    Returns:
        (B, 1, T, U), bool, or None.
    """
    if mask is None:
        return None
    allowed = (mask > 0)[:, None, None, :]
    return allowed & jnp.tril(jnp.ones((queries, mask.shape[1]), bool)) if causal else allowed


def attention_weights(
    query: jax.Array,
    key: jax.Array,
    mask: jax.Array | None = None,
    *,
    heads: int,
    bias: jax.Array | None = None,
) -> jax.Array:
    """The softmax of the scaled scores.

    Args:
        query: (B, T, W); each of the H heads has W / H neighbouring columns.
        key: (B, U, W).
        mask: (B, 1, T or 1, U), bool (see `attention_mask`); None allows all keys.
        heads: H.
        bias: Added to the scaled scores, (1 or B, H, T, U); None is 0.

    Returns:
        (B, H, T, U), float32, sums to 1 over U. Uniform where no key is allowed.
    """
    query, key = _split(query, heads), _split(key, heads)
    scores = jnp.einsum("bthd,buhd->bhtu", query, key, preferred_element_type=jnp.float32)
    scores /= jnp.sqrt(query.shape[-1])
    if bias is not None:
        scores += bias
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    heads: int,
    bias: jax.Array | None = None,
    dropout: nnx.Dropout | None = None,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Weighted means of the values.

    Args:
        query: (B, T, W), and so on: see `attention_weights`.
        key: (B, U, W).
        value: (B, U, W).
        mask: Of `attention_mask`.
        heads: H.
        bias: See `attention_weights`.
        dropout: Applied to the weights.
        dropout_key: None = evaluation.

    Returns:
        (B, T, W). Where no key is allowed it is the mean of all values.
    """
    if dropout is None or dropout_key is None or dropout.rate == 0:
        split = (_split(x, heads) for x in (query, key, value))
        attended = jax.nn.dot_product_attention(*split, bias=bias, mask=mask)
    else:  # which has no dropout
        weights = attention_weights(query, key, mask, heads=heads, bias=bias)
        weights = drop(dropout, weights, dropout_key)
        values = _split(value, heads)
        attended = jnp.einsum("bhtu,buhd->bthd", weights.astype(values.dtype), values)
    return attended.reshape(query.shape)


def _split(x: jax.Array, heads: int) -> jax.Array:
    """(B, T, W) to (B, T, H, W / H)."""
    return x.reshape(*x.shape[:2], heads, -1)
