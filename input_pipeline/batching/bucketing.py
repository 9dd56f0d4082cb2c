"""Training batches of records that are about equally long, cut to one of a few lengths.

The stream of training is taken in windows of so many batches. Each is sorted by length, cut into
batches, and these come in an order that is shuffled anew for each window. All of it follows from
the seed, the window's number and the lengths of the records, so a batch is still a function of its
step alone, at no cost to start from, and the same for any number of processes.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.batching.frames import FrameReader
from atbert_jax.input_pipeline.batching.mixture import Mixture
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import track

# Lengths of sound and of text that batches are cut to: for each of them a step is compiled.
SHAPES = 8
# Batches next to each other by sound that are sorted by text, where both vary.
STRIP = 4
# Batches that the shapes are chosen by, at least, and that padding is measured on.
PLANNED = 256
# Shortest sound and text: a batch without any text still has room for [CLS], a word and [SEP].
LEAST = (1, 3)
# More headers than so many are read with a sign of life.
MANY = 10_000


class Buckets:
    """Which records make each batch of training, and how long it is.

    Args:
        mixture: Which record stands at each place of the stream.
        lengths: (N, 2), positions of sound and of text that are real, of each record.
        batch_size: B, over all processes.
        window: K, batches that are sorted together.
        seed: Of the order of the batches within a window.

    Attributes:
        shapes: (P, 2), lengths of sound and of text that batches are cut to; at most `SHAPES`, and
            one for all that is longer than what they were chosen by.
        padding: (2,), share of sound and of text that is padding in these batches.
    """

    def __init__(
        self, mixture: Mixture, lengths: np.ndarray, batch_size: int, window: int, seed: int
    ) -> None:
        self.mixture, self.batch_size, self.window, self.seed = mixture, batch_size, window, seed
        self._lengths = tf.constant(lengths, tf.int64)
        self._texts = int(lengths[:, 1].max()) + 1
        weights = 1 / np.maximum(lengths, LEAST).mean(axis=0)
        rows = [lengths[record] for record, _ in self._planned(0).take(PLANNED).as_numpy_iterator()]
        needed = np.array([longest(each) for each in rows])
        self.shapes = np.unique([*_merged(needed, weights), longest(lengths)], axis=0)
        # The cheapest first, so that it is the first that fits.
        self.shapes = self.shapes[np.argsort(self.shapes @ weights, kind="stable")]
        cut = self.shapes[(self.shapes >= needed[:, None]).all(axis=2).argmax(axis=1)]
        self.padding = 1 - np.mean(rows, axis=(0, 1)) / cut.mean(axis=0)

    def batches(self, start_step: int = 0) -> tf.data.Dataset:
        """The batches from a step on: record and epoch (B,), and the lengths to cut to, (2,)."""
        return self._planned(start_step).map(self._with_shape)

    def _planned(self, start_step: int) -> tf.data.Dataset:
        """Record and epoch (B,) of each batch from a step on."""
        first, left_out = divmod(start_step, self.window)
        size = self.window * self.batch_size
        places = tf.data.Dataset.range(first * size, np.iinfo(np.int64).max)
        windows = places.map(self.mixture.locate).batch(size).enumerate(first).map(self._arranged)
        return windows.unbatch().skip(left_out)

    def _arranged(
        self, window: tf.Tensor, located: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Record and epoch (K, B) of a window, of (K * B,) as they stand in the stream."""
        record, epoch = located
        sound, text = tf.unstack(tf.gather(self._lengths, record), axis=1)
        order = tf.argsort(sound * self._texts + text, stable=True)
        strip = tf.range(tf.size(record, tf.int64)) // (STRIP * self.batch_size)
        within = tf.argsort(strip * self._texts + tf.gather(text, order), stable=True)
        order = tf.reshape(tf.gather(order, within), [self.window, self.batch_size])
        seed = tf.stack([tf.constant(self.seed, tf.int64), window])
        turns = tf.random.experimental.index_shuffle(
            tf.range(self.window), seed, tf.constant(self.window - 1)
        )
        order = tf.gather(order, turns)
        return tf.gather(record, order), tf.gather(epoch, order)

    def _with_shape(self, record: tf.Tensor, epoch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        needed = tf.reduce_max(tf.gather(self._lengths, record), axis=0)
        fits = tf.reduce_all(self.shapes >= needed, axis=1)
        return record, epoch, tf.gather(self.shapes, tf.argmax(fits))


def longest(lengths: np.ndarray) -> np.ndarray:
    """Lengths (2,) that are enough for each of (N, 2)."""
    return np.maximum(lengths.max(axis=0), LEAST)


def _merged(needed: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """At most `SHAPES` lengths (P, 2), of which one is enough for each that is needed, (M, 2).

    The two whose union adds the least padding become one, again and again.
    """
    shapes, counts = np.unique(needed, axis=0, return_counts=True)
    while len(shapes) > SHAPES:
        union = np.maximum(shapes[:, None], shapes)
        own = (union - shapes[:, None]) @ weights * counts[:, None]
        added = own + own.T
        np.fill_diagonal(added, np.inf)
        one, other = np.unravel_index(added.argmin(), added.shape)
        shapes[one], counts[one] = union[one, other], counts[one] + counts[other]
        shapes, counts = np.delete(shapes, other, axis=0), np.delete(counts, other)
    return shapes


def durations(records: Sequence[Record], reader: Reader | FrameReader, threads: int) -> np.ndarray:
    """Length of each record in seconds, (N,): the manifest's, or what the header of its file says.

    It is never less than what the reader gives of the record; 0 where that is nothing.
    """

    def duration(record: Record) -> float:
        if record.duration is not None and not record.perturbation:
            return record.duration
        try:
            return reader.duration(record, 0.0)
        except AudioError:
            return 0.0  # reported when the record's turn comes

    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(duration, records)
        if len(records) > MANY:
            found = track(found, "reading headers", len(records), "files")
        return np.fromiter(found, float, len(records))
