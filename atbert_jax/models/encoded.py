"""What every encoder returns, and its dropout."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx


class Encoded(NamedTuple):
    """Hidden states (B, T, D) with their mask (B, T), 1 = real; position 0 is the summary."""

    hidden: jax.Array
    mask: jax.Array


def fold(key: jax.Array | None, number: int) -> jax.Array | None:
    """A key for one of several uses; None (evaluation) stays None."""
    return None if key is None else jax.random.fold_in(key, number)


def drop(dropout: nnx.Dropout, x: jax.Array, key: jax.Array | None) -> jax.Array:
    """Dropout of x, of any shape; None (evaluation) leaves it as it is."""
    return dropout(x, deterministic=key is None, rngs=key)


def unit(x: jax.Array) -> jax.Array:
    """(..., D) to length 1, float32; next to nothing stays next to nothing."""
    x = x.astype(jnp.float32)
    # The limit is within the root, whose slope is infinite at 0.
    square = (x**2).sum(axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(square, 1e-12))


def masked_mean(states: Encoded) -> jax.Array:
    """The mean (B, 1, D) of the real states (B, T, D); 0 where there is none."""
    weight = states.mask[..., None].astype(states.hidden.dtype)
    total = (states.hidden * weight).sum(axis=1, keepdims=True)
    return total / jnp.maximum(weight.sum(axis=1, keepdims=True), 1)


def with_mean(states: Encoded) -> Encoded:
    """States (B, T, D) behind the mean of the real ones, their summary: (B, T + 1, D)."""
    return with_first(masked_mean(states), states)


def with_first(first: jax.Array, states: Encoded) -> Encoded:
    """States (B, T, D) after a first one (B, 1, D), which is real where any of them is."""
    hidden, mask = states
    present = mask.max(axis=1, keepdims=True)
    return Encoded(
        jnp.concatenate([first.astype(hidden.dtype), hidden], axis=1),
        jnp.concatenate([present, mask], axis=1),
    )
