"""Record -> waveform: decode the needed part, mix to mono, resample."""

import contextlib
import hashlib
import io
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from atbert_jax.input_pipeline.audio import foreign, levels, remarks
from atbert_jax.input_pipeline.audio.errors import AudioError, mend
from atbert_jax.input_pipeline.audio.inspection import inspect, npy_scale
from atbert_jax.input_pipeline.audio.joined import Joined, count, in_memory
from atbert_jax.input_pipeline.audio.pcm import Pcm16
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.manifest.shards import ShardError, read_audio, where

# Decoded before and behind a part and cut off again: resampling then has no edge in sight.
MARGIN_SECONDS = 0.2
# Before a part of an mp3, whose frames lean on up to 511 bytes of earlier ones (255 at low rates):
# at the lowest bit rates that is as long. Without them a decoder gives silence.
MP3_MARGIN_SECONDS, LOW_RATE_MARGIN_SECONDS = 0.3, 0.7
LOW_RATE = 32_000

# Headers lie where files are damaged. Outside of these bounds a number is no property of sound, and
# resampling to and from such rates, or a spectrum of such samples, would not end well.
LOWEST_RATE, HIGHEST_RATE = 100, 10_000_000
MOST_CHANNELS = 1024

# No more than so many values are decoded at a time.
BLOCK = 2**22

# Codecs seldom put more frames into a byte. Where a header announces more, the frames are counted:
# silence is that small, but damaged files exaggerate, and an evaluation would ask for each chunk.
FRAMES_PER_BYTE = 64

# What encoders add to an mp3, and decoders leave out.
MOST_PADDING_SECONDS = 0.25
# A file that says it is empty and has more bytes than these is not.
EMPTY_BYTES = 4096

File = soundfile.SoundFile | Joined | Pcm16


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
def _open(path: Path, place: int | None) -> Iterator[File]:
    """Opens an audio file; what libsndfile says of it, now or later, becomes an AudioError."""
    try:
        with _opened(path, place) as file:
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


def _opened(path: Path, place: int | None) -> contextlib.AbstractContextManager[File]:
    if place is not None:
        sound = read_audio(path, place)
        pcm = Pcm16.of(sound)
        return contextlib.nullcontext(pcm) if pcm else soundfile.SoundFile(io.BytesIO(sound))
    found = inspect(path)
    if found.foreign:
        return in_memory(foreign.decode(path, *found.foreign))
    if found.streams:
        return Joined(path, found.streams)
    # As bytes, so that a file whose name is not UTF-8 is found.
    return soundfile.SoundFile(os.fsencode(path))


def _blocks(file: File, frames: int) -> Iterator[np.ndarray]:
    """Decodes the next `frames`, or what there is of them, as (T, C) float32.

    Memory is taken for what is decoded and not for what the header announces.
    """
    while frames > 0:
        wanted = min(frames, BLOCK // file.channels)
        block = file.read(wanted, dtype="float32", always_2d=True)
        if len(block):
            yield block
        frames = frames - len(block) if len(block) == wanted else 0


def _go_to(file: File, frame: int) -> None:
    """Goes to a frame; in codecs as GSM, which have no other way, by decoding what is before.

    Raises:
        OSError: if damage is in the way.
    """
    if file.seekable():
        if file.seek(frame) != frame:
            raise OSError(f"nothing can be decoded from {frame / file.samplerate:g} s on")
    else:
        for _ in _blocks(file, frame):
            pass


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
        if isinstance(file, soundfile.SoundFile):
            size = path.stat().st_size if place is None else len(file.name.getbuffer())
            if frames > size * FRAMES_PER_BYTE:
                frames = _count(where(path, place), file)
        if exact and file.format == "MP3" and not _is_counted(file):
            frames = _count(where(path, place), file)
            if file.frames - frames > MOST_PADDING_SECONDS * file.samplerate:
                raise AudioError(
                    f"{where(path, place)}: only {frames / file.samplerate:.1f} of its"
                    f" {file.frames / file.samplerate:.1f} s can be decoded; {mend(path)}"
                )
        if frames <= 0:
            raise AudioError(f"{where(path, place)}: holds no samples{_hint(path, place)}")
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


def sound_length(path: Path) -> tuple[int, int]:
    """Sample rate and number of frames, as the header says it; of a `.npy` the rate is 0.

    Raises:
        AudioError: if the file is missing or not audio.
    """
    if path.suffix.lower() == ".npy":
        return 0, len(open_npy(path))
    with _open(path, None) as file:
        return file.samplerate, file.frames


def sound_digest(path: Path, frames: int = sys.maxsize) -> bytes:
    """A number of the samples of a file, or of its first frames: the same for the same sound.

    What is stored in another lossless format has the same one, and an mp3 with other tags.

    Raises:
        AudioError: if the file is missing or not audio.
    """
    digest = hashlib.blake2b(digest_size=16)
    if path.suffix.lower() == ".npy":
        digest.update(np.ascontiguousarray(open_npy(path)[:frames]))
        return digest.digest()
    with _open(path, None) as file:
        for block in _blocks(file, frames):
            digest.update(block)
    return digest.digest()


def _count(source: str, file: soundfile.SoundFile | Joined) -> int:
    try:
        return count(file)
    except soundfile.LibsndfileError:
        raise AudioError(
            f"{source}: its header does not say how long it is, or announces more than there is;"
            " encode it again"
        ) from None


def _is_counted(file: File) -> bool:
    return isinstance(file, Joined) and file.is_counted


def _hint(path: Path, place: int | None) -> str:
    """What to do about a file that is large and says that it is empty."""
    if place is not None or path.stat().st_size < EMPTY_BYTES:
        return ""
    return f" by its header, which was written before them, it seems; {mend(path)}"


def _reason(path: Path, error: Exception) -> str:
    # A Path would raise an error of its own for a name that no file can have.
    if not os.path.exists(path):  # noqa: PTH110
        return "no such file"
    reason = str(error).split(": ")[-1].rstrip(".") or type(error).__name__
    # libsndfile's words of a .mp3 in which it finds no frame.
    if reason.startswith("File does not exist or is not a regular file"):
        reason = "there is no frame of sound in it, whatever its name says"
    elif "malformed" in reason or "unimplemented" in reason.lower():
        reason = f"{reason}; {mend(path)}"
    return reason


def _mono(source: str, samples: np.ndarray, scale: float) -> np.ndarray:
    """One channel of (T, C), at its level, if they are sound."""
    loudest = max(-float(samples.min()), float(samples.max()))
    if not math.isfinite(loudest):
        raise AudioError(f"{source}: holds samples that are not finite numbers")
    if loudest > levels.LOUDEST * scale:
        raise AudioError(f"{source}: holds samples of {loudest:.0e}, which is too much for sound")
    waveform, channel = levels.mono(samples if scale == 1 else samples / scale)
    if channel is not None:
        remarks.add(
            source,
            "has channels of opposite phase, which cancel each other; where they do, channel"
            f" {channel + 1} alone is heard",
        )
    return waveform


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
        scale = npy_scale(path, samples)
        begin, length = _part(len(samples), start * rate, duration * rate)
        offset = start * rate
        samples = np.array(samples[begin : begin + length])
        parts = [_mono(source, samples, scale)] if len(samples) else []
    else:
        with _open(path, place) as file:
            rate, scale = file.samplerate, 1.0 if place is not None else inspect(path).scale
            margin = round(MARGIN_SECONDS * rate)
            begin, length = _part(file.frames, start * rate, duration * rate)
            grid = rate // math.gcd(rate, sample_rate)
            first = max(0, begin - round(_margin_before(file) * rate)) // grid * grid
            _go_to(file, first)
            skip = begin - first
            blocks = _blocks(file, skip + length + margin)
            parts = [_mono(source, block, scale) for block in blocks]
            offset = first * sample_rate // rate
    waveform = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.zeros(0, np.float32)])
    if len(waveform) <= skip:
        raise _nothing(source, start)
    if rate != sample_rate:
        waveform = soxr.resample(waveform, rate, sample_rate, quality="HQ")
    begin, length = _part(len(waveform), start * sample_rate - offset, duration * sample_rate)
    if not length:
        raise _nothing(source, start)
    part = waveform[begin : begin + length]
    # A copy of a part, so that the rest of it is not kept.
    return part.astype(np.float32, copy=len(part) < len(waveform))


def _margin_before(file: File) -> float:
    """Seconds to decode before a part."""
    if file.format != "MP3":
        return MARGIN_SECONDS
    return LOW_RATE_MARGIN_SECONDS if file.samplerate < LOW_RATE else MP3_MARGIN_SECONDS


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
