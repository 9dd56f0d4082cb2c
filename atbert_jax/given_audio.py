"""Files and waveforms that are given in Python, as records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from atbert_jax.input_pipeline.manifest.records import Record

# A file, or a waveform: (samples,), (channels, samples) or (samples, channels).
Audio = str | Path | np.ndarray


def several(given: Any) -> list:
    """One file, waveform or text as a list of it.

    Raises:
        ValueError: if the list is empty.
    """
    is_one = isinstance(given, str | Path) or (isinstance(given, np.ndarray) and given.dtype != "O")
    found = [given] if is_one else list(given)
    if not found:
        raise ValueError("nothing is given: the list is empty")
    return found


def as_record(audio: Audio, text: str, sample_rate: int | None, place: Path) -> Record:
    """A file as a record; a waveform is written to `place`, so that it is read as files are.

    Args:
        audio: A file or a waveform.
        text: That goes with it.
        sample_rate: Of a waveform, in Hz.
        place: The file that a waveform becomes.

    Raises:
        ValueError: if a waveform has no rate, another shape, or numbers that are no sound.
    """
    import soundfile

    from atbert_jax.input_pipeline.manifest.records import Record

    if isinstance(audio, str | Path):
        return Record(id=str(audio), path=Path(audio).expanduser(), text=text)
    waveform = np.asarray(audio)
    if not sample_rate or sample_rate < 1:
        raise ValueError("a waveform says nothing of its rate; give sample_rate, in Hz")
    if waveform.ndim not in (1, 2) or not waveform.size:
        raise ValueError(
            f"a waveform is (samples,), (channels, samples) or (samples, channels), not of shape"
            f" {waveform.shape}; give several as a list"
        )
    if waveform.dtype.kind not in "fi" or not np.isfinite(waveform).all():
        raise ValueError(f"a waveform holds finite numbers, not such as these: {waveform.dtype}")
    if waveform.dtype.kind == "i":
        waveform = waveform / -float(np.iinfo(waveform.dtype).min)
    if waveform.ndim == 2 and waveform.shape[0] < waveform.shape[1]:
        waveform = waveform.T
    soundfile.write(place, waveform.astype(np.float32), int(sample_rate), subtype="FLOAT")
    return Record(id=f"waveform {place.stem}", path=place, text=text)
