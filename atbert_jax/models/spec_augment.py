"""SpecAugment (Park et al. 2019) within a model that has its own front end, by `config.tagger`."""

import jax
import jax.numpy as jnp
import ml_collections

from atbert_jax.models.encoded import fold

# By axis: how many masks, and the largest share of the axis under one.
Masks = dict[int, tuple[int, float]]


def masks_of(settings: ml_collections.ConfigDict, *, bands: int, frames: int) -> Masks:
    """Those of `config.tagger`, with the axes of the bands and of the frames."""
    return {
        bands: (settings.frequency_masks, settings.frequency_mask_size),
        frames: (settings.time_masks, settings.time_mask_size),
    }


def spec_augment(values: jax.Array, masks: Masks, key: jax.Array) -> jax.Array:
    """Random stretches of (N, ...) become 0, others in each row.

    Args:
        values: Normalised.
        masks: Of `masks_of`.
        key: Of the draws.
    """
    for axis, (count, size) in masks.items():
        length = values.shape[axis]
        for number in range(count):
            own = fold(fold(key, axis), number)
            width, start = jax.random.uniform(own, (2, len(values), 1))
            width = jnp.floor(width * (int(size * length) + 1))
            start = jnp.floor(start * (length - width + 1))
            index = jnp.arange(length)
            kept = (index < start) | (index >= start + width)
            shape = [len(values), *[length if a == axis else 1 for a in range(1, values.ndim)]]
            values *= kept.reshape(shape)
    return values
