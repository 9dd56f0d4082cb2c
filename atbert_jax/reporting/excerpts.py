"""Short excerpts of clips, that a page holds itself and plays wherever it is moved to."""

import base64
import io

import soundfile

from atbert_jax.input_pipeline.audio import decoding
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.reporting.tables import Sound

# Of the beginning of each clip: enough to know it by, and some 30 kB.
SECONDS, SAMPLE_RATE = 6.0, 16_000


def excerpt(record: Record) -> Sound:
    """The first seconds of a record as MP3 within the page; its name alone if it is not readable.

    Unlike files, records of a shard can be played, too.
    """
    try:
        waveform = decoding.read_clip(record, SAMPLE_RATE, SECONDS)
    except decoding.AudioError:
        return Sound(record.name, "")
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE, format="MP3")
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return Sound(record.name, f"data:audio/mpeg;base64,{encoded}")
