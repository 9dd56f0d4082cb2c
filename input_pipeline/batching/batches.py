"""Records -> batches of numpy arrays through tf.data; a batch is a pure function of its step."""

import dataclasses
import os
import sys
from collections.abc import Iterator

import ml_collections
import numpy as np
import tensorflow as tf

from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.reader import WHOLE_SECONDS
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.batching.bucketing import Buckets, durations, longest
from atbert_jax.input_pipeline.batching.examples import LOG_MEL, Examples
from atbert_jax.input_pipeline.batching.mixture import Mixture
from atbert_jax.input_pipeline.contract import Normalization
from atbert_jax.input_pipeline.dataset import Dataset, Split
from atbert_jax.input_pipeline.preparing.band_statistics import BandSums

Batch = dict[str, np.ndarray]

# Of functions that datasets map: none has Python's control flow over tensors, and translating them
# takes longer than tracing them.
as_it_is = tf.autograph.experimental.do_not_convert

# Clips that the statistics of a data set are measured on, evenly taken from the training split.
MEASURED_CLIPS = 2000

# After which a thread hands the interpreter to another that waits for it. Threads that read need it
# for a tenth of a millisecond for each clip, and would wait for Python's usual 5 milliseconds.
SWITCH_SECONDS = 5e-4


class Batches:
    """Makes the batches of a data set.

    Args:
        config: The whole config; `data`, `augmentation` and `seed` matter here.
        dataset: The records and the contract.
        bad_records: Collects files that cannot be read.
        any_length: Whether the model hears one segment of any number of samples, so that buckets
            may cut it.

    Raises:
        ValueError: if a setting is wrong; the message names the field.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        dataset: Dataset,
        bad_records: BadRecords,
        *,
        any_length: bool = False,
    ) -> None:
        # TensorFlow only reads: it must never take an accelerator's memory.
        tf.config.set_visible_devices([], "GPU")
        sys.setswitchinterval(SWITCH_SECONDS)
        self.dataset, self.bad_records = dataset, bad_records
        self.examples = Examples(config, dataset.contract, bad_records, any_length=any_length)
        self.reader = self.examples.reader
        self.seed, self.budget = config.seed, config.data.memory_mb * 2**20
        self.threads = config.data.threads or os.cpu_count() or 1
        self.window = config.data.get("bucketing", 0)  # not in configs of before there was any
        if self.window < 0:
            raise ValueError(
                f"config.data.bucketing={self.window} must be a number of batches, or 0 for none"
            )
        self._buckets: dict[tuple[str, int], Buckets] = {}
        # Validation asks again and again, and a dataset takes a while to be traced.
        self._evaluations: dict[tuple, tuple[tf.data.Dataset, np.ndarray]] = {}

    def train(
        self,
        split: str,
        batch_size: int,
        start_step: int = 0,
        *,
        rows: np.ndarray | None = None,
    ) -> Iterator[Batch]:
        """Endless augmented batches, from `start_step` on.

        The record at each place of the stream follows from (seed, place) by a stateless shuffle,
        and its crop and augmentation from (seed, epoch, record), so starting at a step costs
        nothing, and gives what a run that never stopped would get.

        Args:
            split: 'train', 'val' or 'test'.
            batch_size: B, over all processes.
            start_step: Number of batches to leave out.
            rows: Which rows of every batch are made, (R,), those of one of several processes; None
                makes all.

        Raises:
            sources.ManifestError: if the split is empty.
        """
        records = self.dataset.split(split)
        mixture = Mixture(records.sizes, records.mixture, self.seed)
        rows = np.arange(batch_size) if rows is None else rows
        count, whole = len(rows), self._whole(records)

        @as_it_is
        def place(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            step, row = number // count, tf.gather(rows, number % count)
            return *mixture.locate(step * batch_size + row), whole

        @as_it_is
        def share(record: tf.Tensor, epoch: tf.Tensor, lengths: tf.Tensor) -> tf.data.Dataset:
            each = tf.broadcast_to(lengths, [count, 2])
            mine = (tf.gather(record, rows), tf.gather(epoch, rows), each)
            return tf.data.Dataset.from_tensor_slices(mine)

        if self.window:
            places = self._buckets_of(split, batch_size).batches(start_step).flat_map(share)
        else:
            places = tf.data.Dataset.range(start_step * count, np.iinfo(np.int64).max).map(place)
        stream = self._examples(places, records, count, augment=True)
        return _batches(stream, self.examples, records)

    def seconds(self, split: str) -> np.ndarray:
        """Lengths of up to 2000 records of a split, evenly taken; 0 where they cannot be read."""
        records = self.dataset.split(split).records
        part = records[:: -(-len(records) // MEASURED_CLIPS)]
        return durations(part, self.reader, self.threads)

    def remembered_bytes(self, split: str, seconds: np.ndarray) -> int:
        """Bytes that are remembered of a split at last, which is the budget at most.

        Args:
            split: 'train', 'val' or 'test'.
            seconds: Lengths of some of its records, from `seconds`.
        """
        features = self.dataset.contract.features
        rate = self.reader.sample_rate * (features.size if features else 1)
        kept = seconds if features else seconds[seconds <= WHOLE_SECONDS]
        count = len(self.dataset.split(split).records) / len(seconds)
        return int(min(4 * rate * count * kept.sum(), self.budget))

    def padding(self, split: str, batch_size: int) -> str:
        """How much of the batches of training is padding, for people; '' without buckets."""
        if not self.window:
            return ""
        buckets, records = self._buckets_of(split, batch_size), self.dataset.split(split)
        before = 1 - self._lengths(records).mean(axis=0) / self._whole(records)
        shares = [
            f"{after:.1%} of the {unit} ({full:.1%} without buckets)"
            for unit, after, full in zip(
                (self.examples.unit, "tokens"), buckets.padding, before, strict=True
            )
        ]
        return f"padding: {' and '.join(shares)}; {len(buckets.shapes)} shapes of batches"

    def _buckets_of(self, split: str, batch_size: int) -> Buckets:
        if (split, batch_size) not in self._buckets:
            records = self.dataset.split(split)
            mixture = Mixture(records.sizes, records.mixture, self.seed)
            lengths = self._lengths(records)
            buckets = Buckets(mixture, lengths, batch_size, self.window, self.seed)
            self._buckets[split, batch_size] = buckets
        return self._buckets[split, batch_size]

    def _whole(self, split: Split) -> np.ndarray:
        """Positions of sound and of text, (2,), in a batch that is not cut."""
        return np.array([self.examples.whole, split.token_ids.shape[1]])

    def _lengths(self, split: Split) -> np.ndarray:
        """Positions of sound and of text, (N, 2), that each record fills, or a few more."""
        contract, seconds = (
            self.dataset.contract,
            durations(split.records, self.reader, self.threads),
        )
        if self.examples.unit == "segments":
            sound = contract.segmenting.filled(seconds)
        else:
            # What is decoded may be longer than its header says by what rounding adds.
            grid = contract.spectrogram.hop_length if self.examples.unit == "samples" else 1
            sound = (np.ceil(seconds * self.reader.sample_rate / grid) + 1) * grid
            sound = np.minimum(sound, self.examples.whole).astype(np.int64)
        words = split.token_mask.sum(axis=1).astype(np.int64)
        return np.stack([sound, words], axis=1)

    def evaluation(
        self, split: str, batch_size: int, rows: np.ndarray | None = None
    ) -> Iterator[Batch]:
        """All chunks of all records of a split, once; the last batch is padded with `valid` 0.

        Args:
            split: 'train', 'val' or 'test'.
            batch_size: B, over all processes.
            rows: Which rows of every batch are made, (R,); None makes all.

        Raises:
            sources.ManifestError: if the split is empty.
        """
        rows = np.arange(batch_size) if rows is None else rows
        records, place = self.dataset.split(split), (split, batch_size, tuple(rows))
        if place not in self._evaluations:
            counts = self._chunk_counts(records)
            self._evaluations[place] = self._chunks(records, batch_size, counts, rows)
        return self._known(records, *self._evaluations[place])

    def chunks(self, split: Split, batch_size: int, counts: np.ndarray) -> Iterator[Batch]:
        """The first `counts` (N,) chunks of each record, in order; soft labels count for none."""
        return self._known(split, *self._chunks(split, batch_size, counts, np.arange(batch_size)))

    def _chunks(
        self, split: Split, batch_size: int, counts: np.ndarray, rows: np.ndarray
    ) -> tuple[tf.data.Dataset, np.ndarray]:
        """Some rows of the batches of chunks, and which of them are real, (K, R)."""
        record = np.repeat(np.arange(len(counts)), counts)
        chunk = np.arange(len(record)) - np.repeat(np.cumsum(counts) - counts, counts)
        # Whole batches, so that every process has as many; what is behind the end is padding.
        places = np.arange(-(-len(record) // batch_size) * batch_size)
        mine = places.reshape(-1, batch_size)[:, rows]
        real = mine < len(record)
        mine = np.minimum(mine, len(record) - 1).reshape(-1)
        # One length for all, so that nobody needs to know the order of the records.
        lengths = longest(self._lengths(split)) if self.window else self._whole(split)
        each = np.broadcast_to(lengths, (len(mine), 2))
        places = (record[mine], chunk[mine].astype(np.int64), each)
        stream = tf.data.Dataset.from_tensor_slices(places)
        return self._examples(stream, split, len(rows), augment=False), real

    def _known(self, split: Split, examples: tf.data.Dataset, real: np.ndarray) -> Iterator[Batch]:
        """The batches, of which padding is not valid, and what is only guessed has no labels."""
        masks = [labels.fields[1] for labels in self.dataset.contract.all_labels]
        for there, batch in zip(real, _batches(examples, self.examples, split), strict=True):
            there = there.astype(np.float32)
            known = there * ~split.soft[batch["record"]]
            batch |= {name: batch[name] * known for name in masks}
            yield batch | {"valid": batch["valid"] * there}

    def steps(self, split: str, batch_size: int) -> int:
        """Number of batches that `evaluation` gives."""
        return -(-int(self._chunk_counts(self.dataset.split(split)).sum()) // batch_size)

    def _chunk_counts(self, split: Split) -> np.ndarray:
        segmenting = self.dataset.contract.segmenting
        if segmenting.layout == "spaced":
            return np.ones(len(split.records), np.int64)

        def count(record: object) -> int:
            try:
                return segmenting.count(self.reader.duration(record), self.reader.sample_rate)
            except AudioError:
                return 1  # meets the reader once, which reports it

        return np.array([count(record) for record in split.records], np.int64)

    def _examples(
        self, places: tf.data.Dataset, split: Split, batch_size: int, *, augment: bool
    ) -> tf.data.Dataset:
        """Batches of what is read, of (record, epoch or chunk, lengths)."""

        @as_it_is
        def example(
            record: tf.Tensor, epoch_or_chunk: tf.Tensor, lengths: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            made = self.examples.make(split, record, epoch_or_chunk, lengths[0], augment=augment)
            return made | {"words": lengths[1]}

        examples = places.map(
            example,
            num_parallel_calls=self.threads,
            deterministic=True,
        )
        return examples.batch(batch_size).prefetch(2)


def _batches(stream: tf.data.Dataset, examples: Examples, split: Split) -> Iterator[Batch]:
    """What is read, with what the split knows of the records; holds what the stream needs."""
    for batch in _explained(stream.as_numpy_iterator()):
        yield _with_tables(batch | examples.reader.masks(batch.pop("real")), split)


def _with_tables(batch: Batch, split: Split) -> Batch:
    """Adds the rows of the split's own arrays; nobody labelled what is not readable."""
    words = batch.pop("words")[0]
    rows = {name: table[batch["record"]] for name, table in split.tables.items()}
    rows |= {name: rows[name][:, :words] for name in ("token_ids", "token_mask")}
    masks = [name for name in rows if name.startswith("label_mask")]
    return batch | rows | {name: rows[name] * batch["valid"] for name in masks}


def _explained(stream: Iterator[Batch]) -> Iterator[Batch]:
    """A stream whose errors are those of our own reader, without TensorFlow's wrapping."""
    try:
        yield from stream
    except tf.errors.OpError as error:
        lines = [line for line in error.message.splitlines() if "Error: " in line]
        raise ValueError(f"a data worker failed: {lines[0] if lines else error.message}") from error


def measure_normalization(config: ml_collections.ConfigDict, dataset: Dataset) -> Normalization:
    """Mean and deviation of each mel band over the training split.

    Taken over the frames of the first chunk of up to 2000 records, padded segments left out.
    """
    config = config.copy_and_resolve_references()
    # Each clip is read once.
    config.data.update({"input": LOG_MEL, "bucketing": 0, "memory_mb": 0})
    contract = dataclasses.replace(dataset.contract, normalization=Normalization("none"))
    bad = BadRecords(None)
    source = Batches(config, dataclasses.replace(dataset, contract=contract), bad)
    split = dataset.split("train")
    counts = np.zeros(len(split.records), np.int64)
    counts[:: -(-len(counts) // MEASURED_CLIPS)] = 1
    bands = dataset.contract.spectrogram.n_mels
    weight, total, squares = 0.0, np.zeros(bands), np.zeros(bands)
    for batch in source.chunks(split, 32, counts):
        mask = batch["segment_mask"] * batch["valid"][:, None]
        values = batch["log_mel"].astype(np.float64)
        weight += mask.sum() * values.shape[-1]
        total += np.einsum("bsft,bs->f", values, mask)
        squares += np.einsum("bsft,bs->f", values**2, mask)
    if not weight:
        raise AudioError(
            "not one file of the training split could be read as audio; the first of them:"
            f" {bad.first or 'has no sound'}"
        )
    return BandSums(int(weight), total, squares).normalization
