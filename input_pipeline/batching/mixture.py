"""Which record stands at which place of the endless training stream, without any state."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Length of the repeating pattern that spreads several sources; shares are exact to 1 in so many.
PATTERN = 1000


class Mixture:
    """Sources of records, each shuffled anew every epoch, interleaved by their weights.

    Args:
        sizes: Number of records of each source, which stand one after the other.
        weights: Share of each source in the stream, in any unit; empty sources get none.
        seed: Of the shuffles.

    Raises:
        ValueError: if no source has both records and a positive weight.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int) -> None:
        shares = np.array([w if n else 0.0 for n, w in zip(sizes, weights, strict=True)], float)
        if min(weights) < 0 or shares.sum() <= 0:
            raise ValueError(f"config.data.mixture={tuple(weights)} must hold positive weights")
        self.seed = seed
        self.sizes = tf.constant(sizes, tf.int64)
        self.offsets = tf.constant(np.cumsum(sizes) - np.array(sizes), tf.int64)
        pattern = _interleave(shares / shares.sum())
        self.pattern = tf.constant(pattern, tf.int64)
        counts = np.bincount(pattern, minlength=len(sizes))
        self.counts = tf.constant(counts, tf.int64)
        # How often the source of each place has come before it in the pattern.
        order = np.argsort(pattern, kind="stable")
        ranks = np.empty(len(pattern), np.int64)
        ranks[order] = np.arange(len(pattern)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.ranks = tf.constant(ranks, tf.int64)

    def locate(self, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The record at a place of the stream, and how often its source was gone through before.

        Args:
            place: Scalar int64.

        Returns:
            Record index and epoch, scalar int64.
        """
        length = tf.size(self.pattern, tf.int64)
        turn, column = place // length, place % length
        source = tf.gather(self.pattern, column)
        number = turn * tf.gather(self.counts, source) + tf.gather(self.ranks, column)
        size = tf.gather(self.sizes, source)
        epoch = number // size
        seed = tf.stack([tf.constant(self.seed, tf.int64), epoch])
        seed = tf.random.experimental.stateless_fold_in(seed, source)
        row = tf.random.experimental.index_shuffle(number % size, seed, size - 1)
        return tf.gather(self.offsets, source) + row, epoch


def _interleave(shares: np.ndarray) -> np.ndarray:
    """A pattern of sources in which each one's places are spread as evenly as can be."""
    positive = np.flatnonzero(shares)
    if len(positive) == 1:
        return positive
    counts = np.maximum(1, np.round(shares[positive] * PATTERN)).astype(int)
    counts //= math.gcd(*counts.tolist())
    places = [((np.arange(n) + 0.5) / n, s) for n, s in zip(counts, positive, strict=True)]
    when = np.concatenate([times for times, _ in places])
    which = np.concatenate([np.full(len(times), source) for times, source in places])
    return which[np.argsort(when, kind="stable")]
