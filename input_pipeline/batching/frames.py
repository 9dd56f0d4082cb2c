"""Record -> frames of musical features: computed from its audio, or prepared in a `.npy` file."""

import numpy as np

from atbert_jax.input_pipeline.audio import decoding
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.memory import Memory
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures, extract
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.manifest.records import Record

# A `.npy` array with more columns is no waveform.
MOST_CHANNELS = 2


class FrameReader:
    """Reads chunks of frames, as `Reader` reads segments of samples.

    A record's features are those of all that is heard of it, of which chunks are cut. A `.npy` file
    with as many columns as there are features holds frames (see `extract`) that are
    taken as they are; one with a column or two is a waveform, as ever.

    Safe to use from several threads.

    Args:
        features: Settings.
        segmenting: How a clip is cut; one segment is a chunk.
        memory_mb: Budget of remembered features, in megabytes (see `Memory`).
    """

    # Names of what `segments` returns: the sound, and what of it is real.
    carries, tells = "frames", "real"

    def __init__(
        self, features: MusicFeatures, segmenting: Segmenting, memory_mb: float = 0
    ) -> None:
        self.features, self.segmenting = features, segmenting
        self.sample_rate = features.frame_rate  # what is cut are frames
        self._audio = Reader(features.sample_rate, segmenting)
        self._memory = Memory(self._extract, memory_mb)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of what `segments` returns: (T, D) and (T,)."""
        count = self.segmenting.samples(self.sample_rate)
        return (count, self.features.size), (count,)

    @staticmethod
    def masks(real: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of a batch that tell what is real, of (..., T) that `segments` returns."""
        mask = real.astype(np.float32)
        return {"frame_mask": mask, "segment_mask": mask[..., :1]}

    def duration(self, record: Record, position: float | None = None) -> float:
        """Length of a record's frames, in seconds.

        Raises:
            AudioError: if the file is not readable or ends before the record starts.
        """
        if self._is_prepared(record):
            return len(self._prepared(record)) / self.sample_rate
        duration = self._audio.duration(record, position)
        return self.features.frame_count(duration) / self.sample_rate

    def segments(
        self, record: Record, chunk: int = 0, position: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """A chunk of the record's frames, padded with 0, as `Reader.segments` is asked for it.

        Returns:
            Frames (T, D), float32, and (T,), int32, 1 where there is one.

        Raises:
            AudioError: if the file is not readable, or holds what is no finite number.
        """
        is_prepared = self._is_prepared(record)
        frames = self._prepared(record) if is_prepared else self._memory.get(record)
        duration = len(frames) / self.sample_rate
        starts, _ = self.segmenting.starts(duration, self.sample_rate, chunk, position)
        (count, _), _ = self.shapes
        begin = round(float(starts[0]) * self.sample_rate)
        part = np.asarray(frames[begin : begin + count], np.float32)
        if not np.isfinite(part).all():
            raise AudioError(f"{record.path}: holds features that are not finite numbers")
        out, real = nothing(self)
        out[: len(part)], real[: len(part)] = part, 1
        return out, real

    def _extract(self, record: Record) -> np.ndarray:
        return extract(decoding.read_clip(record, self.features.sample_rate), self.features)

    def _is_prepared(self, record: Record) -> bool:
        if record.path.suffix.lower() != ".npy":
            return False
        columns = decoding.open_npy(record.path).shape[1]
        if MOST_CHANNELS < columns != self.features.size:
            raise AudioError(
                f"{record.path}: has {columns} columns, but config.features makes"
                f" {self.features.size}; prepare it again with atbert extract"
            )
        return columns == self.features.size

    def _prepared(self, record: Record) -> np.ndarray:
        """The frames (T, D) in a record's file, of which nothing is read yet."""
        if record.perturbation:
            raise ValueError(
                f"{record.path} holds features, and only audio can be perturbed; give the manifest"
                " of the audio files"
            )
        frames = decoding.open_npy(record.path)
        begin = round(record.start * self.sample_rate)
        end = None
        if record.duration is not None:
            end = begin + max(1, round(record.duration * self.sample_rate))
        if begin >= len(frames):
            raise AudioError(
                f"{record.path}: starts at {record.start:g} s but ends at"
                f" {len(frames) / self.sample_rate:g} s"
            )
        return frames[begin:end]


def make_reader(contract: Contract, memory_mb: float = 0) -> Reader | FrameReader:
    """What reads records as a contract wants them: frames of features, or samples."""
    if contract.features:
        return FrameReader(contract.features, contract.segmenting, memory_mb)
    return Reader(contract.spectrogram.sample_rate, contract.segmenting, memory_mb)


def nothing(reader: Reader | FrameReader) -> tuple[np.ndarray, np.ndarray]:
    """What a reader's `segments` would return of a record without any sound."""
    sound, real = reader.shapes
    return np.zeros(sound, np.float32), np.zeros(real, np.int32)
