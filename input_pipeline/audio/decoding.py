"""Record -> waveform: decode the needed part, mix to mono, resample."""

import contextlib
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from atbert_jax.input_pipeline.audio.pcm import Pcm16
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.manifest.shards import ShardError, read_audio, where

EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".npy")

# Decoded before and behind a part and cut off again: resampling then has no edge in sight, and the
# decoder of an mp3, whose frames lean on earlier ones, has found its state.
MARGIN_SECONDS = 0.2

# Headers lie where files are damaged. Outside of these bounds a number is no property of sound, and
# resampling to and from such rates, or a spectrum of such samples, would not end well.
LOWEST_RATE, HIGHEST_RATE = 100, 10_000_000
MOST_CHANNELS = 1024
# Unscaled 32-bit integers are that large.
LOUDEST = 2.0**31

# No more than so many values are decoded at a time.
BLOCK = 2**22

# Codecs seldom put more frames into a byte. Where a header announces more, the frames are counted:
# silence is that small, but damaged files exaggerate, and an evaluation would ask for each chunk.
FRAMES_PER_BYTE = 64


class AudioError(ValueError):
    """A file that cannot be read as audio; the message names the file and the reason."""


def open_npy(path: Path) -> np.ndarray:
    """A `.npy` waveform (N, C), of which nothing is read yet.

    Raises:
        AudioError: if the file holds no array of numbers (N,) or (N, C), or nothing.
    """
    try:
        waveform = np.lib.format.open_memmap(path, mode="r")
    # numpy reads the header as Python source, and passes on whatever the tokenizer, the parser and
    # the dtype make of a damaged one: TokenError, SyntaxError, MemoryError, TypeError, ...
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise AudioError(f"{path}: not a readable .npy waveform ({reason})") from None
    if waveform.ndim == 1:
        waveform = waveform[:, None]
    if waveform.ndim != 2 or waveform.dtype.kind not in "fi" or waveform.shape[1] > MOST_CHANNELS:
        raise AudioError(
            f"{path}: a .npy waveform is a float or integer array (samples,) or (samples,"
            f" channels), not {waveform.dtype} {waveform.shape}"
        )
    if not waveform.size:
        raise AudioError(f"{path}: holds no samples")
    return waveform


@contextlib.contextmanager
def _open(path: Path, place: int | None) -> Iterator[soundfile.SoundFile | Pcm16]:
    """Opens an audio file; what libsndfile says of it, now or later, becomes an AudioError."""
    try:
        if place is None:
            # As bytes, so that a file whose name is not UTF-8 is found.
            opened = soundfile.SoundFile(os.fsencode(path))
        else:
            sound = read_audio(path, place)
            pcm = Pcm16.of(sound)
            opened = contextlib.nullcontext(pcm) if pcm else soundfile.SoundFile(io.BytesIO(sound))
        with opened as file:
            if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
                raise AudioError(
                    f"{where(path, place)}: its header says {file.samplerate} Hz, which is no"
                    " sample rate"
                )
            yield file
    except ShardError as error:
        raise AudioError(f"{where(path, place)}: {error}") from None
    except (soundfile.LibsndfileError, OSError, TypeError, UnicodeEncodeError) as error:
        reason = _reason(path, error)
        raise AudioError(f"{where(path, place)}: not readable as audio ({reason})") from None


def _blocks(file: soundfile.SoundFile | Pcm16, frames: int) -> Iterator[np.ndarray]:
    """Decodes the next `frames`, or what there is of them, as (T, C) float32.

    Memory is taken for what is decoded and not for what the header announces.
    """
    while frames > 0:
        wanted = min(frames, BLOCK // file.channels)
        block = file.read(wanted, dtype="float32", always_2d=True)
        if len(block):
            yield block
        frames = frames - len(block) if len(block) == wanted else 0


def file_duration(
    path: Path, sample_rate: int, *, exact: bool = True, place: int | None = None
) -> float:
    """Length of a file in seconds, from its header, or counted where that is hard to believe.

    Args:
        path: An audio file, or a `.npy` waveform at `sample_rate`.
        sample_rate: Rate of `.npy` waveforms, in Hz; audio files know their own.
        exact: Count the frames of an mp3 as well, which takes decoding all of it: its header
            counts up to 0.2 seconds that the encoder added, and that decoding leaves out.
        place: Number of the record, where the file is a shard.

    Raises:
        AudioError: if the file is missing, not audio, or empty, or its length cannot be known.
    """
    if path.suffix.lower() == ".npy":
        return len(open_npy(path)) / sample_rate
    with _open(path, place) as file:
        frames = file.frames
        if not isinstance(file, Pcm16):
            size = path.stat().st_size if place is None else len(file.name.getbuffer())
            if frames > size * FRAMES_PER_BYTE or (exact and file.format == "MP3"):
                frames = _count(where(path, place), file)
        if frames <= 0:
            raise AudioError(f"{where(path, place)}: holds no samples")
        return frames / file.samplerate


def file_sample_rate(path: Path, place: int | None = None) -> int | None:
    """The rate in an audio file's header, in Hz; None of a `.npy`, which does not say.

    Raises:
        AudioError: if the file is missing or not audio.
    """
    if path.suffix.lower() == ".npy":
        return None
    with _open(path, place) as file:
        return file.samplerate


def _count(source: str, file: soundfile.SoundFile) -> int:
    try:
        return sum(map(len, _blocks(file, file.frames)))
    except soundfile.LibsndfileError:
        raise AudioError(
            f"{source}: its header does not say how long it is, or announces more than there is;"
            " encode it again"
        ) from None


def _reason(path: Path, error: Exception) -> str:
    # A Path would raise an error of its own for a name that no file can have.
    if not os.path.exists(path):  # noqa: PTH110
        return "no such file"
    return str(error).split(": ")[-1].rstrip(".") or type(error).__name__


def _mono(source: str, samples: np.ndarray) -> np.ndarray:
    """The mean of the channels of (T, C), if they are sound."""
    loudest = max(-float(samples.min()), float(samples.max()))
    if not math.isfinite(loudest):
        raise AudioError(f"{source}: holds samples that are not finite numbers")
    if loudest > LOUDEST:
        raise AudioError(f"{source}: holds samples of {loudest:.0e}, which is too much for sound")
    if samples.shape[1] == 1 and samples.dtype == np.float32:
        return samples[:, 0]  # the same, ten times as fast
    return samples.mean(axis=1, dtype=np.float32)


def read(
    path: Path,
    sample_rate: int,
    start: float = 0.0,
    duration: float | None = None,
    place: int | None = None,
) -> np.ndarray:
    """Part of a file as a mono waveform; little outside of the part is decoded.

    The samples are those that the whole file has at `sample_rate`, from `round(start *
    sample_rate)` on: a part is resampled from a frame on that falls on one of them.

    Args:
        path: Audio file that libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), or a `.npy`
            array (samples,) or (samples, channels) that is at `sample_rate` already; integers are
            scaled to [-1, 1).
        sample_rate: Rate to resample to (soxr, high quality), in Hz.
        start: Where to begin, in seconds.
        duration: How much to read, in seconds; None reads to the end.
        place: Number of the record, where the file is a shard.

    Returns:
        Waveform (T,), float32, the mean of the channels; shorter than `duration` at the file's end.

    Raises:
        AudioError: if the file cannot be read, or holds nothing there, or samples that are not
            finite or too large for sound.
    """
    duration, source = math.inf if duration is None else duration, where(path, place)
    if path.suffix.lower() == ".npy":
        rate, samples, skip = sample_rate, open_npy(path), 0
        begin, count = _part(len(samples), start * rate, duration * rate)
        offset = start * rate
        samples = np.array(samples[begin : begin + count])
        if samples.dtype.kind == "i":
            samples = samples / -float(np.iinfo(samples.dtype).min)
        parts = [_mono(source, samples)] if len(samples) else []
    else:
        with _open(path, place) as file:
            rate = file.samplerate
            margin = round(MARGIN_SECONDS * rate)
            begin, count = _part(file.frames, start * rate, duration * rate)
            grid = rate // math.gcd(rate, sample_rate)
            first = max(0, begin - margin) // grid * grid
            file.seek(first)
            skip = begin - first
            parts = [_mono(source, block) for block in _blocks(file, skip + count + margin)]
            offset = first * sample_rate // rate
    waveform = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.zeros(0, np.float32)])
    if len(waveform) <= skip:
        raise _nothing(source, start)
    if rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate, quality="HQ")
    begin, count = _part(len(waveform), start * sample_rate - offset, duration * sample_rate)
    if not count:
        raise _nothing(source, start)
    part = waveform[begin : begin + count]
    # A copy of a part, so that the rest of it is not kept.
    return part.astype(np.float32, copy=len(part) < len(waveform))


def _nothing(source: str, start: float) -> AudioError:
    return AudioError(f"{source}: holds no samples after {start:g} s")


def _part(length: int, start: float, duration: float) -> tuple[int, int]:
    """The first and the number of those of `length` samples that are in a part, however large."""
    begin = round(min(start, length))
    return begin, round(min(duration, length - begin))


def read_clip(record: Record, sample_rate: int, longest: float = math.inf) -> np.ndarray:
    """A record's whole waveform (N,), perturbed as the record says; at most `longest` seconds."""
    duration = min(math.inf if record.duration is None else record.duration, longest)
    waveform = read(record.path, sample_rate, record.start, duration, record.place)
    if record.perturbation:
        # By its name and place, so that noise is the same where the folder is another.
        key = f"{record.name} {record.start}"
        waveform = record.perturbation(waveform, sample_rate, key)
    return waveform
