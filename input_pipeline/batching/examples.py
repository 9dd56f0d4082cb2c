"""One record -> one example: read, augmented and transformed, as stateless TensorFlow ops."""

import weakref
from collections.abc import Callable

import ml_collections
import numpy as np
import tensorflow as tf

from atbert_jax import choices
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.batching import effects, transposition
from atbert_jax.input_pipeline.batching.augmentation import Augmentation
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.batching.frames import make_reader, nothing
from atbert_jax.input_pipeline.batching.log_mel import (
    augment_waveform,
    log_mel,
    normalize,
    random_mel_matrix,
    spec_augment,
)
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.dataset import Split

# What a batch carries of the audio.
LOG_MEL, WAVEFORM, FRAMES = "log_mel", "waveform", "frames"
# Fields of the augmentation that change log-mels.
OF_LOG_MELS = ("frequency_masks", "time_masks")


class Examples:
    """Makes the examples that batches are made of.

    Args:
        config: The whole config; `data`, `augmentation` and `seed` matter here.
        contract: Of the preprocessing.
        bad_records: Collects files that cannot be read.
        any_length: Whether the model hears one segment of any number of samples, so that it may be
            cut to a length.

    Attributes:
        input: What is carried of the audio.
        reader: Reads records.
        unit: What is counted along the sound: 'segments', 'frames' or 'samples'.
        whole: How many of them are in a chunk.

    Raises:
        ValueError: if what is asked for cannot be done to what is carried.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        contract: Contract,
        bad_records: BadRecords,
        *,
        any_length: bool,
    ) -> None:
        self.contract, self.bad_records, self.seed = contract, bad_records, config.seed
        self.augmentation = Augmentation(**config.augmentation)
        self.input = _input(config)
        if (self.input == FRAMES) != bool(contract.features):
            raise ValueError(
                f"config.data.input={self.input!r}, but the checkpoint's model hears"
                f" {'frames' if contract.features else 'samples'}; give the input it was trained"
                " with"
            )
        self.reader = make_reader(contract, config.data.memory_mb)
        (self.whole, self._size), _ = self.reader.shapes
        self.unit = "frames" if self.input == FRAMES else "segments"
        if any_length and self.input == WAVEFORM and self.whole == 1:
            self.unit, self.whole = "samples", self._size

    def make(
        self,
        split: Split,
        record: tf.Tensor,
        epoch_or_chunk: tf.Tensor,
        length: tf.Tensor,
        *,
        augment: bool,
    ) -> dict[str, tf.Tensor]:
        """One example, from where it stands in the data set to what a batch carries.

        Whoever reads it must hold the split and these examples.

        Args:
            split: With the record.
            record: Its row, scalar int64.
            epoch_or_chunk: The epoch where examples are augmented, else the chunk of the record.
            length: To be cut to, scalar int64, in `unit`.
            augment: Whether to; what is drawn follows from seed, epoch and record.

        Returns:
            What is carried, under its own name; `real`, what the reader says of that; `record` and
            `valid`.
        """
        parts = tf.constant(1, tf.int64) if self.unit == "samples" else length
        seed = tf.stack([tf.constant(self.seed, tf.int64), epoch_or_chunk])
        seeds = tf.unstack(
            tf.random.split(tf.random.experimental.stateless_fold_in(seed, record), 5)
        )
        position = tf.constant(-1.0)
        if augment:
            draw = tf.random.stateless_uniform([], seeds[0])
            position = draw if self.augmentation.random_crop else tf.constant(0.0)
        sound, real, readable = tf.numpy_function(
            self._loader(split),
            [record, epoch_or_chunk, position, parts],
            (tf.float32, tf.int32, tf.float32),
            stateful=False,
        )
        sound, real = tf.ensure_shape(sound, [None, self._size]), tf.ensure_shape(real, [None])
        if self.input == FRAMES:
            sound = _padded(sound, tf.size(real))
        else:
            is_soft = tf.gather(split.soft, record)
            sound = self._prepared(sound, real, is_soft, seeds[1:] if augment else None)
        if self.unit == "samples":
            sound, real = sound[:, :length], tf.minimum(real, tf.cast(length, tf.int32))
        return {
            self.input: sound,
            "real": real,
            "record": tf.cast(record, tf.int32),
            "valid": tf.ensure_shape(readable, []),
        }

    def _loader(self, split: Split) -> Callable[..., tuple]:
        """`_load` of a split, by weak references to both.

        TensorFlow never lets go of a function that it was given, and with it would keep all clips
        that the reader remembers, of each run in a process.
        """
        these, records = weakref.ref(self), weakref.ref(split)

        def load(*place: np.ndarray) -> tuple:
            examples, split = these(), records()
            if examples is None or split is None:
                raise RuntimeError("whoever made these batches is gone")
            return examples._load(split, *place)

        return load

    def _load(
        self, split: Split, record: int, epoch_or_chunk: int, position: float, count: int
    ) -> tuple:
        """The real segments (R, N) or frames (R, D), what of a batch's is real, and whether any is.

        What is behind them is not carried through the pipeline; a batch has `count` of them.
        """
        entry = split.records[record]
        try:
            if position < 0:
                sound, real = self.reader.segments(entry, int(epoch_or_chunk))
            else:
                sound, real = self.reader.segments(entry, position=float(position))
            self.bad_records.note(entry)
            return sound[: np.count_nonzero(real)], real[:count], np.float32(1)
        except AudioError as error:
            self.bad_records.add(entry, error)
        except Exception as error:
            where = f"record {entry.id!r} ({entry.path})"
            raise RuntimeError(f"{where}: {type(error).__name__}: {error}") from error
        sound, real = nothing(self.reader)
        return sound[:0], real[:count], np.float32(0)

    def _prepared(
        self,
        waveform: tf.Tensor,
        samples: tf.Tensor,
        is_soft: tf.Tensor,
        seeds: list[tf.Tensor] | None,
    ) -> tf.Tensor:
        """What `_sound` makes of segments, without seeds where only soft labels have any."""
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
        """The real segments (R, N) as what batches carry of all S, augmented where there are seeds.

        `samples` (S,) are real.
        """
        contract, settings, mel_matrix = self.contract, self.augmentation, None
        if seeds:
            rate, real = contract.spectrogram.sample_rate, samples[: tf.shape(waveform)[0]]
            waveform = augment_waveform(waveform, real, settings, seeds[0])
            if self.input == WAVEFORM:
                waveform = transposition.randomly_transpose(waveform, real, settings, seeds[2])
            waveform = effects.apply(waveform, real, settings, rate, seeds[3])
        if self.input == WAVEFORM:
            return _padded(waveform, tf.size(samples))
        if seeds:
            mel_matrix = random_mel_matrix(contract.spectrogram, settings, seeds[2])
        values = log_mel(waveform, contract.spectrogram, mel_matrix)
        values = _padded(values, tf.size(samples), contract.spectrogram.silence)
        mean, std = contract.normalization.arrays(contract.spectrogram.n_mels)
        values = normalize(values, tf.cast(samples > 0, tf.float32), mean, std)
        return spec_augment(values, settings, seeds[1]) if seeds else values


def _padded(values: tf.Tensor, length: int | tf.Tensor, value: float = 0.0) -> tf.Tensor:
    """(R, ...) to (length, ...), with a value behind them."""
    behind = [[0, length - tf.shape(values)[0]]] + [[0, 0]] * (values.shape.rank - 1)
    return tf.pad(values, behind, constant_values=value)


def _input(config: ml_collections.ConfigDict) -> str:
    """What batches carry of the audio, if the augmentation that is asked for can be done to it."""
    given = choices.require("config.data.input", config.data.input, (LOG_MEL, WAVEFORM, FRAMES))
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
