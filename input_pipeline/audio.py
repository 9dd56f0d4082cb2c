"""Record -> waveform: decode the needed part, mix to mono, resample, cut into segments."""

import functools
import threading
from pathlib import Path

import numpy as np
import soundfile
import soxr

from input_pipeline.segmenting import Segmenting
from input_pipeline.sources import Record

EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".npy")

# Files up to this length are decoded whole, so that decoding can be remembered from epoch to epoch;
# from longer ones only the part that is needed is read. The rule looks at the file alone, never at
# the state of the memory, so a batch stays a pure function of (config, seed, step).
WHOLE_SECONDS = 12.0

# Decoded before and behind a part and cut off again: resampling then has no edge in sight, and the
# decoder of an mp3, whose frames lean on earlier ones, has found its state.
MARGIN_SECONDS = 0.2


class AudioError(ValueError):
    """A file that cannot be read as audio; the message names the file and the reason."""


def _open_npy(path: Path) -> np.ndarray:
    try:
        waveform = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise AudioError(f"{path}: not a readable .npy waveform ({error})") from None
    if waveform.ndim not in (1, 2) or waveform.dtype.kind not in "fi":
        raise AudioError(
            f"{path}: a .npy waveform is a float or integer array (samples,) or (samples,"
            f" channels), not {waveform.dtype} {waveform.shape}"
        )
    return waveform if waveform.ndim == 2 else waveform[:, None]


def file_duration(path: Path, sample_rate: int) -> float:
    """Length of a file in seconds, from its header.

    Args:
        path: An audio file, or a `.npy` waveform at `sample_rate`.
        sample_rate: Rate of `.npy` waveforms, in Hz; audio files know their own.

    Raises:
        AudioError: if the file is missing, not audio, or empty.
    """
    if path.suffix.lower() == ".npy":
        frames, rate = len(_open_npy(path)), sample_rate
    else:
        try:
            info = soundfile.info(path)
        except (soundfile.LibsndfileError, OSError, TypeError) as error:
            raise AudioError(f"{path}: not readable as audio ({_reason(path, error)})") from None
        frames, rate = info.frames, info.samplerate
    if frames <= 0:
        raise AudioError(f"{path}: holds no samples")
    return frames / rate


def _reason(path: Path, error: Exception) -> str:
    if not path.exists():
        return "no such file"
    return str(error).split(": ")[-1].rstrip(".") or type(error).__name__


def read(
    path: Path, sample_rate: int, start: float = 0.0, duration: float | None = None
) -> np.ndarray:
    """Part of a file as a mono waveform; little outside of the part is decoded.

    Args:
        path: Audio file that libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), or a `.npy`
            array (samples,) or (samples, channels) that is at `sample_rate` already; integers are
            scaled to [-1, 1).
        sample_rate: Rate to resample to (soxr, high quality), in Hz.
        start: Where to begin, in seconds.
        duration: How much to read, in seconds; None reads to the end.

    Returns:
        Waveform (T,), float32, the mean of the channels; shorter than `duration` at the file's end.

    Raises:
        AudioError: if the file cannot be read, or holds nothing there, or non-finite samples.
    """
    if path.suffix.lower() == ".npy":
        rate, samples, skip = sample_rate, _open_npy(path), 0
        stop = None if duration is None else round((start + duration) * rate)
        samples = np.array(samples[round(start * rate) : stop])
        if samples.dtype.kind == "i":
            samples = samples / -float(np.iinfo(samples.dtype).min)
    else:
        try:
            with soundfile.SoundFile(path) as file:
                rate = file.samplerate
                margin = round(MARGIN_SECONDS * rate)
                begin = min(round(start * rate), file.frames)
                skip = min(begin, margin)
                file.seek(begin - skip)
                frames = -1 if duration is None else skip + round(duration * rate) + margin
                samples = file.read(frames, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError, TypeError) as error:
            raise AudioError(f"{path}: not readable as audio ({_reason(path, error)})") from None
    if len(samples) <= skip:
        raise AudioError(f"{path}: holds no samples after {start:g} s")
    waveform = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path}: holds samples that are not finite numbers")
    if rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate, quality="HQ")
    begin = round(skip * sample_rate / rate)
    end = None if duration is None else begin + round(duration * sample_rate)
    return waveform[begin:end].astype(np.float32)


class Reader:
    """Reads segments of records; remembers decoded short files within a memory budget.

    Safe to use from several threads.

    Args:
        sample_rate: Rate of all waveforms, in Hz.
        segmenting: How a clip is cut.
        memory_mb: Budget of remembered waveforms, in megabytes; 0 remembers nothing.
    """

    def __init__(self, sample_rate: int, segmenting: Segmenting, memory_mb: float = 0) -> None:
        self.sample_rate = sample_rate
        self.segmenting = segmenting
        self._budget = memory_mb * 2**20
        self._waveforms: dict[tuple, np.ndarray] = {}
        self._lock = threading.Lock()
        self._file_duration = functools.lru_cache(maxsize=None)(file_duration)

    def duration(self, record: Record) -> float:
        """Length of the record's clip, in seconds (its own `duration`, or from the file's header).

        Raises:
            AudioError: if the file is not readable or ends before the record starts.
        """
        end = self._file_duration(record.path, self.sample_rate)
        if record.start >= end:
            raise AudioError(f"{record.path}: starts at {record.start:g} s but ends at {end:g} s")
        rest = end - record.start
        return rest if record.duration is None else min(record.duration, rest)

    def _whole(self, record: Record) -> np.ndarray:
        key = (record.path, record.start, record.duration)
        waveform = self._waveforms.get(key)
        if waveform is None:
            waveform = read(record.path, self.sample_rate, record.start, record.duration)
            with self._lock:
                if waveform.nbytes <= self._budget and key not in self._waveforms:
                    self._budget -= waveform.nbytes
                    self._waveforms[key] = waveform
        return waveform

    def segments(
        self, record: Record, chunk: int = 0, position: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The record's segments, padded with silence.

        Args:
            record: What to read.
            chunk: Which chunk of a long clip (see `Segmenting.starts`).
            position: Random crop in [0, 1), or None.

        Returns:
            Waveform (S, N), float32, and segment mask (S,), 1 = real.

        Raises:
            AudioError: if the file is not readable.
        """
        duration = self.duration(record)
        starts, mask = self.segmenting.starts(duration, chunk, position)
        length = self.segmenting.samples(self.sample_rate)
        out = np.zeros((self.segmenting.segments, length), np.float32)
        real = [index for index in range(len(mask)) if mask[index]]
        if duration <= WHOLE_SECONDS:
            waveform, origin = self._whole(record), 0.0
        elif self.segmenting.layout == "windows":
            seconds = min(len(real) * self.segmenting.seconds, duration - starts[0])
            origin = float(starts[0])
            waveform = read(record.path, self.sample_rate, record.start + origin, seconds)
        else:
            for index in real:
                begin = record.start + float(starts[index])
                seconds = min(self.segmenting.seconds, duration - float(starts[index]))
                part = read(record.path, self.sample_rate, begin, seconds)
                out[index, : len(part)] = part[:length]
            return out, mask
        for index in real:
            begin = round((float(starts[index]) - origin) * self.sample_rate)
            part = waveform[begin : begin + length]
            out[index, : len(part)] = part
        return out, mask
