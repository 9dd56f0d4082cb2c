"""Mean and deviation of each mel band: summed shard by shard, kept beside the manifest."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import scipy.fft

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.contract import Normalization
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.text import whole_file

FILE = "statistics.json"
# Longer clips are summed in parts of so many samples, so that memory does not grow with them.
BLOCK = 2**19
# Bands that never change, as those of silence do not, are divided by this.
SMALLEST_VARIANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class BandSums:
    """Sums over the frames of log-mels.

    Attributes:
        frames: Their number.
        total: (F,) sum of each band, float64.
        squares: (F,) sum of each band's squares.
    """

    frames: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, waveform: np.ndarray, spectrogram: Spectrogram) -> "BandSums":
        """The sums of a clip (N,), float32."""
        parts = range(0, len(waveform), BLOCK)
        return cls.sum(_of_part(waveform[at : at + BLOCK], spectrogram) for at in parts)

    @classmethod
    def sum(cls, parts: Iterable["BandSums"]) -> "BandSums":
        """All of some sums, added in their order; of nothing, nothing."""
        frames, total, squares = 0, np.zeros(1), np.zeros(1)
        for part in parts:
            frames += part.frames
            total, squares = total + part.total, squares + part.squares
        return cls(frames, total, squares)

    @property
    def normalization(self) -> Normalization:
        """By the mean and the deviation of each band."""
        mean = self.total / self.frames
        std = np.sqrt(np.maximum(self.squares / self.frames - mean**2, SMALLEST_VARIANCE))
        return Normalization("dataset", tuple(mean.tolist()), tuple(std.tolist()))

    def as_json(self) -> dict:
        """As JSON holds it."""
        sums = {"total": self.total.tolist(), "squares": self.squares.tolist()}
        return {"frames": self.frames, **sums}

    @classmethod
    def from_json(cls, values: dict) -> "BandSums":
        """What `as_json` gave."""
        return cls(values["frames"], np.array(values["total"]), np.array(values["squares"]))


def _of_part(waveform: np.ndarray, spectrogram: Spectrogram) -> BandSums:
    values = log_mel(waveform, spectrogram).astype(np.float64)
    return BandSums(values.shape[-1], values.sum(axis=1), (values**2).sum(axis=1))


def log_mel(waveform: np.ndarray, spectrogram: Spectrogram) -> np.ndarray:
    """The log-mel (F, T) of (N,), float32; as `features.log_mel`, for processes that never load it.

    There are the N // hop_length + 1 frames of centred framing, whatever `spectrogram.frames` is.
    """
    size, hop = spectrogram.n_fft, spectrogram.hop_length
    padded = np.pad(waveform, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = spectrogram.window.astype(np.float32)
    magnitude = np.abs(scipy.fft.rfft(frames * window))
    mel = magnitude**spectrogram.power @ spectrogram.mel_matrix
    return np.log(mel + np.float32(spectrogram.log_floor)).T


def save(folder: Path, sums: BandSums, spectrogram: Spectrogram, ids: Iterable[str]) -> None:
    """Writes `statistics.json`.

    Args:
        folder: Of the manifest.
        sums: Over the training records.
        spectrogram: Of the log-mels.
        ids: Of the training records.
    """
    values = {
        "spectrogram": dataclasses.asdict(spectrogram),
        "records": _digest(ids),
        "sums": sums.as_json(),
        "mean": list(sums.normalization.mean),
        "std": list(sums.normalization.std),
    }
    whole_file.write(folder / FILE, json.dumps(values, indent=1) + "\n")


def find(
    manifests: Sequence[str | Path], train: Sequence[Sequence[Record]], spectrogram: Spectrogram
) -> Normalization | None:
    """What was measured when the data was prepared, if it is of this spectrogram and these records.

    Args:
        manifests: Paths of all manifests.
        train: The training records of each.
        spectrogram: That a model hears.

    Returns:
        The statistics over all frames, or None where they must be measured.
    """
    found = []
    for manifest, records in zip(map(Path, manifests), train, strict=True):
        file = manifest.parent / FILE
        values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if values.get("spectrogram") != dataclasses.asdict(spectrogram):
            return None
        if values["records"] != _digest(record.id for record in records):
            return None
        found.append(BandSums.from_json(values["sums"]))
    return BandSums.sum(found).normalization


def _digest(ids: Iterable[str]) -> str:
    return hashlib.blake2b("\0".join(sorted(ids)).encode(), digest_size=16).hexdigest()
