"""What every trunk returns, and the keys of its dropout."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Encoded(NamedTuple):
    """Hidden states (B, T, D) with their mask (B, T), 1 = real; position 0 is the summary."""

    hidden: jax.Array
    mask: jax.Array


def fold(key: jax.Array | None, number: int) -> jax.Array | None:
    """A key for one of several uses; None (evaluation) stays None."""
    return None if key is None else jax.random.fold_in(key, number)


def with_mean(states: Encoded) -> Encoded:
    """States (B, T, D) behind the mean of the real ones, their summary: (B, T + 1, D)."""
    hidden, mask = states
    weight = mask[..., None].astype(hidden.dtype)
    total = (hidden * weight).sum(axis=1, keepdims=True)
    mean = total / jnp.maximum(weight.sum(axis=1, keepdims=True), 1)
    there = mask.max(axis=1, keepdims=True)
    return Encoded(jnp.concatenate([mean, hidden], axis=1), jnp.concatenate([there, mask], axis=1))
