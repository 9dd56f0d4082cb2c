"""A window as sound to be heard by people."""

import io

import numpy as np
import soundfile

from atbert_jax.input_pipeline.audio.decoding import AudioError, file_sample_rate, read
from atbert_jax.input_pipeline.manifest.records import Record

# Of an excerpt, in seconds: a model can hear a recording of hours as one window.
LONGEST = 60.0
HIGHEST_RATE = 48_000


def wav(record: Record, longest: float = LONGEST) -> bytes:
    """A stretch of a file as a WAV file, mono.

    Args:
        record: With its file, start and duration.
        longest: Seconds that are given at most.

    Raises:
        AudioError: if the file cannot be read, or is a `.npy`, which does not say its rate and can
            hold features.
    """
    rate = file_sample_rate(record.path, record.place)
    if not rate:
        raise AudioError(f"{record.path}: a .npy does not say its rate, so it is not played")
    rate = min(rate, HIGHEST_RATE)
    seconds = longest if record.duration is None else min(record.duration, longest)
    samples = read(record.path, rate, record.start, seconds, record.place)
    file = io.BytesIO()
    # Louder than full scale would turn over.
    soundfile.write(file, np.clip(samples, -1, 1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
