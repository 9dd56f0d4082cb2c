"""Records -> batches of numpy arrays through tf.data; a batch is a pure function of its step."""

import dataclasses
import os
from collections.abc import Iterator

import ml_collections
import numpy as np
import tensorflow as tf

from input_pipeline import effects
from input_pipeline.audio import AudioError
from input_pipeline.bad_records import BadRecords
from input_pipeline.band_statistics import BandSums
from input_pipeline.bucketing import Buckets, durations, longest
from input_pipeline.contract import Normalization
from input_pipeline.dataset import Dataset, Split
from input_pipeline.features import (
    Augmentation,
    augment_waveform,
    log_mel,
    normalize,
    random_mel_matrix,
    spec_augment,
)
from input_pipeline.frames import make_reader, nothing
from input_pipeline.mixture import Mixture

Batch = dict[str, np.ndarray]

# What a batch carries of the audio.
LOG_MEL, WAVEFORM, FRAMES = "log_mel", "waveform", "frames"
# Fields of the augmentation that change log-mels.
OF_LOG_MELS = ("pitch_semitones", "frequency_masks", "time_masks")

# Clips that the statistics of a data set are measured on, evenly taken from the training split.
MEASURED_CLIPS = 2000


class Batches:
    """Makes the batches of a data set.

    Args:
        config: The whole config; `data`, `augmentation` and `seed` matter here.
        dataset: The records and the contract.
        bad_records: Collects files that cannot be read.
        any_length: Whether the model hears one segment of any number of samples, so that buckets
            may cut it.
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
        self.dataset = dataset
        self.bad_records = bad_records
        self.augmentation = Augmentation(**config.augmentation)
        self.input = _input(config)
        self.seed = config.seed
        self.threads = config.data.threads or os.cpu_count() or 1
        contract = dataset.contract
        if (self.input == FRAMES) != bool(contract.features):
            raise ValueError(
                f"config.data.input={self.input!r}, but the checkpoint's model hears"
                f" {'frames' if contract.features else 'samples'}; give the input it was trained"
                " with"
            )
        self.reader = make_reader(contract, config.data.memory_mb)
        self.window = config.data.get("bucketing", 0)  # not in configs of before there was any
        if self.window < 0:
            raise ValueError(
                f"config.data.bucketing={self.window} must be a number of batches, or 0 for none"
            )
        one = contract.segmenting.segments == 1
        self.cuts_samples = any_length and one and self.input == WAVEFORM
        self._buckets: dict[tuple[str, int], Buckets] = {}

    def train(
        self, split: str, batch_size: int, start_step: int = 0, *, process: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Endless augmented batches, from `start_step` on.

        The record at each place of the stream follows from (seed, place) by a stateless shuffle,
        and its crop and augmentation from (seed, epoch, record), so starting at a step costs
        nothing, and gives what a run that never stopped would get.

        Args:
            split: 'train', 'val' or 'test'.
            batch_size: B, over all processes.
            start_step: Number of batches to leave out.
            process: Index and number of processes; each gets its own rows of every batch.

        Raises:
            sources.ManifestError: if the split is empty.
            ValueError: if the processes cannot have equal shares of a batch.
        """
        records = self.dataset.split(split)
        mixture = Mixture(records.sizes, records.mixture, self.seed)
        index, count = process
        rows = _share(batch_size, count)
        whole = self._whole(records)

        def place(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            step, row = number // rows, number % rows
            return *mixture.locate(step * batch_size + index * rows + row), whole

        def share(record: tf.Tensor, epoch: tf.Tensor, lengths: tf.Tensor) -> tf.data.Dataset:
            mine = slice(index * rows, (index + 1) * rows)
            places = tf.data.Dataset.from_tensor_slices((record[mine], epoch[mine]))
            return places.map(lambda *place: (*place, lengths))

        if self.window:
            places = self._buckets_of(split, batch_size).batches(start_step).flat_map(share)
        else:
            places = tf.data.Dataset.range(start_step * rows, np.iinfo(np.int64).max).map(place)
        return self._batches(places, records, rows, augment=True)

    def padding(self, split: str, batch_size: int) -> str:
        """How much of the batches of training is padding, for people; '' without buckets."""
        if not self.window:
            return ""
        buckets, records = self._buckets_of(split, batch_size), self.dataset.split(split)
        before = 1 - self._lengths(records).mean(axis=0) / self._whole(records)
        name = {FRAMES: "frames"}.get(self.input, "samples" if self.cuts_samples else "segments")
        shares = [
            f"{after:.1%} of the {unit} ({full:.1%} without buckets)"
            for unit, after, full in zip((name, "tokens"), buckets.padding, before, strict=True)
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
        (positions, *_), _ = self.reader.shapes
        if self.cuts_samples:
            (_, positions), _ = self.reader.shapes
        return np.array([positions, split.token_ids.shape[1]])

    def _lengths(self, split: Split) -> np.ndarray:
        """Positions of sound and of text, (N, 2), that each record fills, or a few more."""
        most, _ = self._whole(split)
        seconds = durations(split.records, self.reader, self.threads)
        if self.input == FRAMES or self.cuts_samples:
            # What is decoded may be longer than its header says by what rounding adds.
            unit = self.dataset.contract.spectrogram.hop_length if self.cuts_samples else 1
            sound = (np.ceil(seconds * self.reader.sample_rate / unit) + 1) * unit
            sound = np.minimum(sound, most).astype(np.int64)
        else:
            sound = self.dataset.contract.segmenting.filled(seconds)
        words = split.token_mask.sum(axis=1).astype(np.int64)
        return np.stack([sound, words], axis=1)

    def evaluation(
        self, split: str, batch_size: int, process: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """All chunks of all records of a split, once; the last batch is padded with `valid` 0.

        Args:
            split: 'train', 'val' or 'test'.
            batch_size: B, over all processes.
            process: Index and number of processes; each gets its own rows of every batch.

        Raises:
            sources.ManifestError: if the split is empty.
            ValueError: if the processes cannot have equal shares of a batch.
        """
        records = self.dataset.split(split)
        return self.chunks(records, batch_size, self._chunk_counts(records), process)

    def chunks(
        self, split: Split, batch_size: int, counts: np.ndarray, process: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """The first `counts` (N,) chunks of each record, in order; soft labels count for none."""
        hard = ~split.soft
        record = np.repeat(np.arange(len(counts)), counts)
        chunk = np.arange(len(record)) - np.repeat(np.cumsum(counts) - counts, counts)
        index, count = process
        rows = _share(batch_size, count)
        # Whole batches, so that every process has as many; what is behind the end is padding.
        places = np.arange(-(-len(record) // batch_size) * batch_size)
        mine = places.reshape(-1, count, rows)[:, index].reshape(-1)
        real = mine < len(record)
        mine = np.minimum(mine, len(record) - 1)
        # One length for all, so that nobody needs to know the order of the records.
        lengths = longest(self._lengths(split)) if self.window else self._whole(split)
        stream = tf.data.Dataset.from_tensor_slices((record[mine], chunk[mine].astype(np.int64)))
        stream = stream.map(lambda *place: (*place, lengths))
        for number, batch in enumerate(self._batches(stream, split, rows, augment=False)):
            there = real[number * rows : (number + 1) * rows].astype(np.float32)
            known = there * hard[batch["record"]]
            masks = [labels.fields[1] for labels in self.dataset.contract.all_labels]
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

    def _load(
        self, split: Split, record: int, epoch_or_chunk: int, position: float, length: int
    ) -> tuple:
        """Segments (S, N) or frames (T, D), what of them is real, and whether it was readable.

        They are cut to a length S or T.
        """
        entry = split.records[record]
        try:
            if position < 0:
                sound, real = self.reader.segments(entry, int(epoch_or_chunk))
            else:
                sound, real = self.reader.segments(entry, position=float(position))
            return sound[:length], real[:length], np.float32(1)
        except AudioError as error:
            self.bad_records.add(entry, error)
        except Exception as error:
            where = f"record {entry.id!r} ({entry.path})"
            raise RuntimeError(f"{where}: {type(error).__name__}: {error}") from error
        sound, real = nothing(self.reader)
        return sound[:length], real[:length], np.float32(0)

    def _example(
        self,
        split: Split,
        record: tf.Tensor,
        epoch_or_chunk: tf.Tensor,
        lengths: tf.Tensor,
        augment: bool,
    ) -> dict[str, tf.Tensor]:
        """One example, from where it stands in the data set to what a batch carries."""
        (most, *rest), _ = shapes = self.reader.shapes
        length = most if self.cuts_samples else lengths[0]
        seed = tf.stack([tf.constant(self.seed, tf.int64), epoch_or_chunk])
        seeds = tf.unstack(
            tf.random.split(tf.random.experimental.stateless_fold_in(seed, record), 5)
        )
        position = tf.constant(-1.0)
        if augment:
            draw = tf.random.stateless_uniform([], seeds[0])
            position = draw if self.augmentation.random_crop else tf.constant(0.0)
        sound, real, readable = tf.numpy_function(
            lambda *place: self._load(split, *place),
            [record, epoch_or_chunk, position, length],
            (tf.float32, tf.int32, tf.float32),
            stateful=False,
        )
        if self.window and not self.cuts_samples:
            shapes = (None, *rest), (None,)
        sound, real = map(tf.ensure_shape, (sound, real), shapes)
        if self.input != FRAMES:
            is_soft = tf.gather(split.soft, record)
            sound = self._prepared(sound, real, is_soft, seeds[1:] if augment else None)
        if self.cuts_samples:
            sound, real = sound[:, : lengths[0]], tf.minimum(real, tf.cast(lengths[0], tf.int32))
        return {
            self.input: sound,
            "real": real,
            "words": lengths[1],
            "record": tf.cast(record, tf.int32),
            "valid": tf.ensure_shape(readable, []),
        }

    def _prepared(
        self,
        waveform: tf.Tensor,
        samples: tf.Tensor,
        is_soft: tf.Tensor,
        seeds: list[tf.Tensor] | None,
    ) -> tf.Tensor:
        """What `_sound` makes of segments (S, N), without seeds where only soft labels have any."""
        if seeds is None or not self.augmentation.soft_only:
            return self._sound(waveform, samples, seeds)
        return tf.cond(
            is_soft,
            lambda: self._sound(waveform, samples, seeds),
            lambda: self._sound(waveform, samples, None),
        )

    def _sound(
        self, waveform: tf.Tensor, samples: tf.Tensor, seeds: list[tf.Tensor] | None
    ) -> tf.Tensor:
        """Segments (S, N) as what batches carry, augmented where there are seeds."""
        contract, settings, mel_matrix = self.dataset.contract, self.augmentation, None
        if seeds:
            waveform = augment_waveform(waveform, samples, settings, seeds[0])
            rate = contract.spectrogram.sample_rate
            waveform = effects.apply(waveform, samples, settings, rate, seeds[3])
        if self.input == WAVEFORM:
            return waveform
        if seeds:
            mel_matrix = random_mel_matrix(contract.spectrogram, settings, seeds[2])
        values = log_mel(waveform, contract.spectrogram, mel_matrix)
        mean, std = contract.normalization.arrays(contract.spectrogram.n_mels)
        values = normalize(values, tf.cast(samples > 0, tf.float32), mean, std)
        return spec_augment(values, settings, seeds[1]) if seeds else values

    def _batches(
        self, places: tf.data.Dataset, split: Split, batch_size: int, *, augment: bool
    ) -> Iterator[Batch]:
        examples = places.map(
            lambda record, other, lengths: self._example(split, record, other, lengths, augment),
            num_parallel_calls=self.threads,
            deterministic=True,
        )
        stream = examples.batch(batch_size).prefetch(2)
        for batch in _explained(stream.as_numpy_iterator()):
            yield _with_tables(batch | self.reader.masks(batch.pop("real")), split)


def _with_tables(batch: Batch, split: Split) -> Batch:
    """Adds the rows of the split's own arrays; nobody labelled what is not readable."""
    words = batch.pop("words")[0]
    rows = {name: table[batch["record"]] for name, table in split.tables.items()}
    rows |= {name: rows[name][:, :words] for name in ("token_ids", "token_mask")}
    masks = [name for name in rows if name.startswith("label_mask")]
    return batch | rows | {name: rows[name] * batch["valid"] for name in masks}


def _input(config: ml_collections.ConfigDict) -> str:
    """What batches carry of the audio, if the augmentation that is asked for can be done to it."""
    given = config.data.input
    if given not in (LOG_MEL, WAVEFORM, FRAMES):
        raise ValueError(
            f"config.data.input={given!r}; use {LOG_MEL!r}, {WAVEFORM!r} or {FRAMES!r}"
        )
    if given == FRAMES and (lost := _sounding(config.augmentation)):
        raise ValueError(
            f"config.augmentation.{lost} changes sound, but config.data.input={given!r} are"
            " features, which may be prepared already: set it to 0"
        )
    lost = [name for name in OF_LOG_MELS if config.augmentation[name]]
    if given == WAVEFORM and lost:
        raise ValueError(
            f"config.augmentation.{lost[0]} changes log-mels, but config.data.input={given!r}: set"
            f" it to 0 (taggers have masks of their own in config.tagger), or the input to"
            f" {LOG_MEL!r}"
        )
    return given


def _sounding(augmentation: ml_collections.ConfigDict) -> str:
    """The first setting, if any, that changes what is heard."""
    still = Augmentation(random_crop=augmentation.random_crop)
    amounts = [name for name in augmentation if not name.endswith(("_size", "_snr_db"))]
    changed = (name for name in amounts if augmentation[name] != getattr(still, name))
    return next(changed, "")


def _share(batch_size: int, count: int) -> int:
    """Rows of a batch for each of `count` processes."""
    if batch_size % count:
        raise ValueError(f"a batch of {batch_size} cannot be shared by {count} processes")
    return batch_size // count


def _explained(stream: Iterator[Batch]) -> Iterator[Batch]:
    """A stream whose errors are those of our own reader, without TensorFlow's wrapping."""
    try:
        yield from stream
    except tf.errors.OpError as error:
        lines = [line for line in error.message.splitlines() if "Error: " in line]
        raise ValueError(f"a data worker failed: {lines[0] if lines else error.message}") from error


def measure(config: ml_collections.ConfigDict, dataset: Dataset) -> Normalization:
    """Mean and deviation of each mel band over the training split.

    Taken over the frames of the first chunk of up to 2000 records, padded segments left out.
    """
    plain = dataclasses.replace(
        dataset, contract=dataclasses.replace(dataset.contract, normalization=Normalization("none"))
    )
    source = Batches(config, plain, BadRecords(None))
    source.input, source.window, source.cuts_samples = LOG_MEL, 0, False
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
        raise AudioError("not one file of the training split could be read as audio")
    return BandSums(int(weight), total, squares).normalization
