"""Which other embeddings a masked one is contrasted with: AVBert's four samplers, on the device.

Each sampler gives every query a weight for every candidate, and `sample` draws by these weights
without replacement; nothing here has a gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# Of a normal distribution: what is farther from the mean distance is too like or too unlike.
BAND = 1.96
# Of normalized distances in float32.
ROUNDING = 1e-5


def current_sequence(distance: jax.Array, same_row: jax.Array) -> jax.Array:
    """Other positions of the same sequence, all alike."""
    del distance
    return same_row.astype(jnp.float32)


def current_minibatch(distance: jax.Array, same_row: jax.Array) -> jax.Array:
    """Everything in the batch, all alike."""
    del same_row
    return jnp.ones_like(distance)


def cans_similar(distance: jax.Array, same_row: jax.Array) -> jax.Array:
    """What is near, but not too near: 1 - d within the band of `normalized`."""
    del same_row
    return jnp.where(within_band(distance), 1 - distance, 0.0)


def cans_dissimilar(distance: jax.Array, same_row: jax.Array) -> jax.Array:
    """What is far, but not too far: d within the band of `normalized`."""
    del same_row
    return jnp.where(within_band(distance), distance, 0.0)


SAMPLERS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "current_sequence": current_sequence,
    "current_minibatch": current_minibatch,
    "cans_similar": cans_similar,
    "cans_dissimilar": cans_dissimilar,
}


def within_band(distance: jax.Array) -> jax.Array:
    """(Q, N), where a distance is within 1.96 deviations of its row's mean; NaN is never."""
    mean = jnp.nanmean(distance, axis=1, keepdims=True)
    deviation = jnp.nanstd(distance, axis=1, keepdims=True)
    # A hair wider than the band, so that equal distances are all within.
    return jnp.abs(distance - mean) <= BAND * deviation + ROUNDING


def normalized(queries: jax.Array, embeddings: jax.Array, candidates: jax.Array) -> jax.Array:
    """Euclidean distances, from 0 for the nearest candidate to 1 for the farthest.

    Args:
        queries: (Q, D).
        embeddings: (N, D).
        candidates: (Q, N), whether n may be a negative of q.

    Returns:
        (Q, N), NaN where n is no candidate.
    """
    queries, embeddings = queries.astype(jnp.float32), embeddings.astype(jnp.float32)
    squares = (queries**2).sum(-1)[:, None] + (embeddings**2).sum(-1)[None]
    product = jnp.matmul(queries, embeddings.T, precision="highest")
    apart = squares - 2 * product
    # Of equal vectors, as one word in two places has, rounding alone would be left; whether that
    # is 0, and the other one no negative, would depend on the processor.
    rounding = 16 * jnp.finfo(jnp.float32).eps * squares
    distance = jnp.sqrt(jnp.where(apart > rounding, apart, 0.0))
    distance = jnp.where(candidates, distance, jnp.nan)
    least = jnp.nanmin(distance, axis=1, keepdims=True)
    most = jnp.nanmax(distance, axis=1, keepdims=True)
    share = (distance - least) / jnp.maximum(most - least, 1e-9)
    # As near or as far as the nearest or farthest but for rounding, as the same word in two places
    # is: otherwise the processor would tell whether one of the two is a negative.
    share = jnp.where(share < ROUNDING, 0.0, share)
    return jnp.where(share > 1 - ROUNDING, 1.0, share)


def sample(weights: jax.Array, count: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws without replacement, the first with chances in proportion to the weights.

    By the Gumbel trick (Kool et al. 2019): the largest of log weight plus noise.

    Args:
        weights: (Q, N), 0 is never drawn.
        count: K, at most N.
        key: Of the draw.

    Returns:
        (Q, K) indices, and (Q, K) whether there was one left to draw.
    """
    chances = jnp.log(weights) + jax.random.gumbel(key, weights.shape)
    values, indices = jax.lax.top_k(chances, count)
    return indices, jnp.isfinite(values)


def draw(
    name: str,
    queries: jax.Array,
    embeddings: jax.Array,
    candidates: jax.Array,
    same_row: jax.Array,
    count: int,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Negatives of each query.

    Args:
        name: Of `SAMPLERS`.
        queries: (Q, D), the embeddings that were masked.
        embeddings: (N, D), of all positions of the batch.
        candidates: (Q, N), whether n may be a negative of q.
        same_row: (Q, N), whether n is in the sequence of q.
        count: How many, if there are as many.
        key: Of the draw.

    Returns:
        (Q, K) indices into the N, and (Q, K) whether they are negatives; K <= count.
    """
    distance = normalized(*jax.lax.stop_gradient((queries, embeddings)), candidates)
    weights = jnp.where(candidates, SAMPLERS[name](distance, same_row), 0.0)
    return sample(weights, min(count, weights.shape[1]), key)
