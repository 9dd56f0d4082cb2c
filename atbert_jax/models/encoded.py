"""What every trunk returns, and the keys of its dropout."""

from typing import NamedTuple

import jax


class Encoded(NamedTuple):
    """Hidden states (B, T, D) with their mask (B, T), 1 = real; position 0 is the summary."""

    hidden: jax.Array
    mask: jax.Array


def fold(key: jax.Array | None, number: int) -> jax.Array | None:
    """A key for one of several uses; None (evaluation) stays None."""
    return None if key is None else jax.random.fold_in(key, number)
