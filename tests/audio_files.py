"""Valid audio files of every kind, made for tests to damage."""

import io

import numpy as np
import soundfile

RATE = 8000


def encoded(kind: str, subtype: str | None = None, seconds: float = 0.6, channels: int = 1):
    rng = np.random.default_rng(5)
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 440 * time) + rng.uniform(-0.1, 0.1, len(time))
    tone[RATE:] = 0  # what is long is mostly silence, so that it is small
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone] * channels, 1), RATE, subtype, format=kind)
    return buffer.getvalue()


def array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def originals() -> dict[str, bytes]:
    """Valid files by name, one of each kind; the long ones are not decoded whole."""
    samples = np.sin(np.arange(4000) / 10).astype(np.float32)
    return {
        "pcm16.wav": encoded("WAV", "PCM_16"),
        "pcm24.wav": encoded("WAV", "PCM_24", channels=2),
        "float.wav": encoded("WAV", "FLOAT"),
        "short.flac": encoded("FLAC"),
        "long.flac": encoded("FLAC", seconds=20, channels=2),
        "short.ogg": encoded("OGG", "VORBIS"),
        "long.ogg": encoded("OGG", "VORBIS", seconds=20),
        "short.opus": encoded("OGG", "OPUS"),
        "short.mp3": encoded("MP3"),
        "long.mp3": encoded("MP3", seconds=20),
        "pcm16.aiff": encoded("AIFF", "PCM_16"),
        "pcm16.au": encoded("AU", "PCM_16"),
        "float.npy": array(samples),
        "int.npy": array((samples * 1000).astype(np.int16).reshape(-1, 2)),
    }
