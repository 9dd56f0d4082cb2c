"""Tones as files of many kinds, and what is heard of them."""

import io
from pathlib import Path

import numpy as np
import soundfile

from atbert_jax.input_pipeline.audio import mpeg
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.manifest.records import Record

RATE = 16_000
KINDS = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "flac": {"format": "FLAC"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
}
PITCHES = (440, 1000, 2500)


def tone(seconds: float, pitch: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave] * channels, 1)


def encode(sound: np.ndarray, kind: str, rate: int = RATE, **settings) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, **KINDS[kind] | settings)
    return file.getvalue()


def frames_of(mp3: bytes) -> bytes:
    """An mp3 without the header that tells its length, as streams that were recorded."""
    (run,) = mpeg.runs(mp3)
    assert run.announced == run.frames
    return mp3[run.first : run.end]


def variable(quiet_first: bool) -> bytes:
    """An mp3 of 5 s and 5 s with other bit rates, and no header."""
    parts = [np.zeros((5 * RATE, 1)), np.random.default_rng(0).normal(0, 0.2, (5 * RATE, 1))]
    sound = np.concatenate(parts if quiet_first else parts[::-1])
    return frames_of(encode(sound, "mp3", bitrate_mode="VARIABLE", compression_level=0.3))


def pitch_at(waveform: np.ndarray, second: float) -> float:
    """The loudest frequency in the half second around a place, in Hz."""
    middle = round(second * RATE)
    part = waveform[middle - RATE // 4 : middle + RATE // 4]
    assert len(part) == RATE // 2
    return 2.0 * np.argmax(np.abs(np.fft.rfft(part)))


def segments(path: Path, position: float | None = None, chunk: int = 0) -> tuple:
    reader = Reader(RATE, Segmenting(segments=2, seconds=1.0))
    return reader.segments(Record("r", path), chunk, position)
