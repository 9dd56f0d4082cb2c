"""Record -> segments: a waveform is read, remembered, and cut."""

import functools

import numpy as np

from atbert_jax.input_pipeline.audio.decoding import AudioError, file_duration, read, read_clip
from atbert_jax.input_pipeline.audio.errors import mend
from atbert_jax.input_pipeline.audio.memory import Memory
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.manifest.shards import where

# Files up to this length are decoded whole, so that decoding can be remembered from epoch to epoch;
# from longer ones only the part that is needed is read. The rule looks at the file alone, never at
# the state of the memory, so a batch stays a pure function of (config, seed, step).
WHOLE_SECONDS = 12.0

# Where chunks overlap, clips up to this length are decoded whole, too.
OVERLAPPED_SECONDS = 60.0

# Less than this may be missing: encoders add it to an mp3, and decoders leave it out.
MISSING_SECONDS = 0.25


class Reader:
    """Reads segments of records; remembers decoded short files within a memory budget.

    Safe to use from several threads.

    Args:
        sample_rate: Rate of all waveforms, in Hz.
        segmenting: How a clip is cut.
        memory_mb: Budget of remembered waveforms, in megabytes (see `Memory`).
    """

    # Names of what `segments` returns: the sound, and what of it is real.
    carries, tells = "waveform", "samples"

    def __init__(self, sample_rate: int, segmenting: Segmenting, memory_mb: float = 0) -> None:
        self.sample_rate = sample_rate
        self.segmenting = segmenting
        self._file_duration = functools.lru_cache(maxsize=None)(file_duration)
        read_whole = functools.partial(read_clip, sample_rate=sample_rate)
        self._memory = Memory(read_whole, memory_mb)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of what `segments` returns: (S, N) and (S,)."""
        segments = self.segmenting.segments
        return (segments, self.segmenting.samples(self.sample_rate)), (segments,)

    @staticmethod
    def masks(real: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of a batch that tell what is real, of (..., S) that `segments` returns."""
        return {"samples": real, "segment_mask": (real > 0).astype(np.float32)}

    def duration(self, record: Record, position: float | None = None) -> float:
        """Length of what is heard of a record, in seconds.

        It is the record's own `duration`, or what its file has of it, at the tempo that the
        record's perturbation gives it. For windows in evaluation, the length of an mp3 is counted;
        else its header is trusted.

        Raises:
            AudioError: if the file is not readable or ends before the record starts.
        """
        exact = position is None and self.segmenting.layout == "windows"
        path, place = record.path, record.place
        end = self._file_duration(path, self.sample_rate, exact=exact, place=place)
        if record.start >= end:
            raise AudioError(
                f"{where(path, place)}: starts at {record.start:g} s but ends at {end:g} s"
            )
        rest = end - record.start
        duration = rest if record.duration is None else min(record.duration, rest)
        return duration / record.perturbation.tempo if record.perturbation else duration

    def _is_read_whole(self, record: Record, duration: float, position: float | None) -> bool:
        if duration <= WHOLE_SECONDS or record.perturbation:
            return True
        overlapping = position is None and self.segmenting.overlapping
        return overlapping and duration <= OVERLAPPED_SECONDS

    def segments(
        self, record: Record, chunk: int = 0, position: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The record's segments, padded with silence.

        Args:
            record: What to read.
            chunk: Which chunk of a long clip (see `Segmenting.starts`).
            position: Random crop in [0, 1), or None.

        Returns:
            Waveform (S, N), float32, and how many samples of each segment are real (S,), int32;
            what is behind them is silence. Of a segment that is padding altogether none are.

        Raises:
            AudioError: if the file is not readable, or not as far as it should be.
        """
        duration = self.duration(record, position)
        out, samples, missing = self._cut(record, chunk, position, duration)
        if missing > MISSING_SECONDS or not samples.any():
            # Silence must not stand for sound that is announced and cannot be had.
            raise AudioError(
                f"{where(record.path, record.place)}: {missing:.1f} s that it should have cannot be"
                f" decoded; {mend(record.path)}"
            )
        return out, samples

    def _cut(
        self, record: Record, chunk: int, position: float | None, duration: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """What `segments` returns of a clip of so many seconds, and how many are missing."""
        starts, mask = self.segmenting.starts(duration, self.sample_rate, chunk, position)
        length = self.segmenting.samples(self.sample_rate)
        out = np.zeros((self.segmenting.segments, length), np.float32)
        samples = np.zeros(self.segmenting.segments, np.int32)
        real = [index for index in range(len(mask)) if mask[index]]
        if self._is_read_whole(record, duration, position):
            waveform, origin = self._memory.get(record), 0.0
        elif self.segmenting.layout == "windows":
            origin = float(starts[0])
            seconds = min(len(real) * self.segmenting.seconds, duration - origin)
            begin = record.start + origin
            waveform = read(record.path, self.sample_rate, begin, seconds, record.place)
        else:
            waveform = None
        for index in real:
            begin = float(starts[index])
            if waveform is None:
                seconds = min(self.segmenting.seconds, duration - begin)
                at = record.start + begin
                part = read(record.path, self.sample_rate, at, seconds, record.place)[:length]
            else:
                begin = round((begin - origin) * self.sample_rate)
                part = waveform[begin : begin + length]
            out[index, : len(part)], samples[index] = part, len(part)
        expected = np.clip(duration - starts[real], 0, self.segmenting.seconds).sum()
        return out, samples, float(expected - samples.sum() / self.sample_rate)
