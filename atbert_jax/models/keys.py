"""The keys that initial values are drawn from."""

import jax


class Keys:
    """One key after the other, the same ones that `nnx.Rngs` gives.

    That counts in an array. While JAX traces, each look at the count walks through all that was
    traced before, so a deep network takes seconds to describe; here Python counts.

    Args:
        key: To begin with, or its seed.
    """

    def __init__(self, key: jax.Array | int) -> None:
        self._key = jax.random.key(key) if isinstance(key, int) else key
        self._count = 0

    def params(self) -> jax.Array:
        """The next key."""
        self._count += 1
        return jax.random.fold_in(self._key, self._count - 1)
