"""What has to be known of a file before any part of it is read; found out once."""

import dataclasses
import functools
import os
import stat
from pathlib import Path

import numpy as np
import soundfile

from atbert_jax.input_pipeline.audio import foreign, formats, levels, remarks, streams
from atbert_jax.input_pipeline.audio.errors import AudioError
from atbert_jax.input_pipeline.audio.joined import Stream


@dataclasses.dataclass(frozen=True)
class Inspection:
    """How a file is to be read.

    Attributes:
        streams: Its streams, where it is not read as it stands (see `streams.find`).
        foreign: What it is, where libsndfile does not read it (see `formats.foreign`).
        scale: What its samples are divided by.
    """

    streams: tuple[Stream, ...] = ()
    foreign: tuple[str, str] | None = None
    scale: float = 1.0


def inspect(path: Path) -> Inspection:
    """Looks into an audio file, unless it is as it was the last time.

    Raises:
        AudioError: if its parts do not fit together.
        OSError: if it cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would never end
        raise AudioError(f"{path}: not readable as audio (is no file)")
    return _inspect(path, status.st_size, status.st_mtime_ns)


@functools.cache
def _inspect(path: Path, size: int, changed: int) -> Inspection:
    if kind := formats.foreign(path):
        return Inspection(foreign=kind)
    found = streams.find(path)
    if found:
        return Inspection(streams=found)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            return Inspection(scale=_scale(path, file))
    except soundfile.LibsndfileError:
        return Inspection(foreign=_by_ffmpeg(path))


def _by_ffmpeg(path: Path) -> tuple[str, str] | None:
    """What a file is that libsndfile refuses and ffmpeg decodes; None leaves the refusal to be."""
    kind = formats.container(path)
    if not kind or not foreign.is_there():
        return None
    try:
        foreign.decode(path, *kind)
    except AudioError:
        return None
    return kind


def _scale(path: Path, file: soundfile.SoundFile) -> float:
    """Of floats, which nothing keeps within bounds."""
    if file.subtype not in ("FLOAT", "DOUBLE") or not file.seekable() or file.frames <= 0:
        return 1.0
    found = []
    for begin, count in levels.parts(file.frames):
        file.seek(begin)
        found.append(file.read(count, dtype="float32", always_2d=True))
    return _remarked(path, np.concatenate(found), 1.0)


def npy_scale(path: Path, samples: np.ndarray) -> float:
    """What the samples (N, C) of a `.npy` file are divided by.

    Raises:
        OSError: if the file is gone.
    """
    status = path.stat()
    known = _npy_scales.get(path)
    if known and known[:2] == (status.st_size, status.st_mtime_ns):
        return known[2]
    some = np.concatenate([samples[begin : begin + n] for begin, n in levels.parts(len(samples))])
    usual = -float(np.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else 1.0
    scale = _remarked(path, some, usual)
    _npy_scales[path] = status.st_size, status.st_mtime_ns, scale
    return scale


_npy_scales: dict[Path, tuple[int, int, float]] = {}


def _remarked(path: Path, samples: np.ndarray, usual: float) -> float:
    scale = levels.full_scale(samples)
    if scale != usual:
        bits = round(np.log2(scale)) + 1
        remarks.add(
            str(path),
            f"holds numbers as of integers of {bits} bits, up to {np.abs(samples).max():g}; they"
            f" are divided by {scale:g}",
        )
    return scale
