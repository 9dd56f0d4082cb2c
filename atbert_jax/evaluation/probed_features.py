"""What frozen models hear in clips, computed once and found again in a cache."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import ml_collections
import numpy as np
from rich.console import Console

from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.reader import Reader
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.contract import Contract
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import track
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.models import linear_probe
from atbert_jax.models.linear_probe import MFCC
from atbert_jax.training.state import abstract, split
from atbert_jax.training.trained import Trained

Parts = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Heard:
    """Features of the chunks of some clips.

    Attributes:
        parts: (N, D_i) by the name of what was heard with.
        targets: (N, C): labels, or vectors of captions.
        groups: (N,), the same number for clips of one group.
        clips: (N,), the number of the clip that each is of, ascending.
    """

    parts: Parts
    targets: np.ndarray
    groups: np.ndarray
    clips: np.ndarray

    def features(self, names: Sequence[str]) -> np.ndarray:
        """(N, D), float64: what was heard with some of the models, as a linear model takes it."""
        parts = {name: self.parts[name] for name in names}
        return np.asarray(linear_probe.joined(parts), np.float64)


def hear(
    config: ml_collections.ConfigDict,
    contract: Contract,
    arrays: tuple[dict, dict],
    models: Mapping[str, Trained],
    records: Sequence[Record],
    targets: np.ndarray,
    cache: Path,
    console: Console,
) -> Heard:
    """The features of all clips that can be read, chunk by chunk.

    Args:
        config: Of the probe, with its models in `probe.ears`.
        contract: Of clips.
        arrays: Parameters and statistics of the probe.
        models: By the names in `probe.ears`.
        records: R clips.
        targets: (R, C), what is known of them.
        cache: Folder that features are kept in, one below it for each model as it is now.
        console: Where to talk.

    Raises:
        ValueError: if more than `data.max_bad_share`, or all, cannot be read.
        OSError: if the cache cannot be written.
    """
    places = {name: cache / _digest(contract, models.get(name)) for name in _parts(config)}
    for folder in places.values():
        folder.mkdir(parents=True, exist_ok=True)
    bad, compute = BadRecords(None), _computing(config, contract, arrays)
    reader = Reader(contract.spectrogram.sample_rate, contract.segmenting)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in places}
    kept: list[int] = []
    shown = track(records, "features", len(records), "clips", console=console)
    for row, record in enumerate(shown):
        try:
            found = _of_record(record, reader, places, compute)
        except AudioError as error:
            bad.add(record, error)
            continue
        for name, values in found.items():
            parts[name].append(values)
        kept += [row] * len(next(iter(found.values())))
    if not kept or len(bad) > config.data.max_bad_share * len(records):
        raise ValueError(
            f"{len(bad)} of {len(records)} clips cannot be read, the first: {bad.first}; mend them,"
            " or raise config.data.max_bad_share"
        )
    # Where a caption is learned, clips that share it are of one group.
    named = [records[row].group or records[row].text or records[row].id for row in kept]
    return Heard(
        {name: np.concatenate(values) for name, values in parts.items()},
        targets[kept].astype(np.float64),
        np.unique(named, return_inverse=True)[1],
        np.array(kept),
    )


def _parts(config: ml_collections.ConfigDict) -> list[str]:
    return [*config.probe.ears, *([MFCC] if config.probe.mfcc else [])]


def _computing(
    config: ml_collections.ConfigDict, contract: Contract, arrays: tuple[dict, dict]
) -> Callable[[np.ndarray, np.ndarray], Parts]:
    """What gives the features of chunks (K, N), of which so many samples (K,) are real."""
    from flax import nnx

    definition = split(abstract(config, contract))[0]

    @jax.jit
    def step(params: dict, statistics: dict, waveform: jax.Array, samples: jax.Array) -> dict:
        learner = nnx.merge(definition, params, statistics)
        batch = {"waveform": waveform[:, None], "samples": samples[:, None]}
        return learner.model.features(batch | {"segment_mask": (samples > 0)[:, None] * 1.0})

    rate = contract.spectrogram.sample_rate

    def compute(waveform: np.ndarray, samples: np.ndarray) -> Parts:
        # Silence behind a clip counts for nothing, but takes time; 1, 2, 4, ... seconds are heard.
        seconds = 2 ** math.ceil(math.log2(max(samples.max() / rate, 1)))
        found = jax.device_get(step(*arrays, waveform[:, : seconds * rate], samples))
        return {name: np.asarray(values) for name, values in found.items()}

    return compute


def _of_record(
    record: Record,
    reader: Reader,
    places: Mapping[str, Path],
    compute: Callable[[np.ndarray, np.ndarray], Parts],
) -> Parts:
    """The features (K, D_i) of the chunks of a record, kept or computed.

    Raises:
        AudioError: if it cannot be read.
    """
    count = reader.segmenting.count(reader.duration(record), reader.sample_rate)
    file = _file_of(record, reader.segmenting.seconds if count > 1 else None)
    known = {name: folder / file for name, folder in places.items()}
    if all(path.is_file() for path in known.values()):
        return {name: np.load(path) for name, path in known.items()}
    chunks = [reader.segments(record, chunk) for chunk in range(count)]
    waveform = np.concatenate([sound for sound, _ in chunks])
    samples = np.concatenate([real for _, real in chunks])
    found = compute(waveform, samples)
    for name, path in known.items():
        with whole_file.writing(path) as opened:
            np.save(opened, found[name])
    return found


def _digest(contract: Contract, model: Trained | None) -> str:
    """A name for all that features depend on but the clip: the sample rate, and the model."""
    found = hashlib.blake2b(digest_size=12)
    found.update(f"1 {contract.spectrogram.sample_rate}".encode())
    if model is not None:
        model.add_to(found)
    return found.hexdigest()


def _file_of(record: Record, seconds: float | None) -> str:
    """A name for a clip, which changes with its file, and the length of chunks if it has several.

    Of one chunk the length makes no difference: what is padding counts for nothing.
    """
    there = record.path.stat() if record.path.is_file() else None
    what = (
        str(record.path),
        there and (there.st_size, there.st_mtime_ns),
        record.start,
        record.duration,
        record.place,
        seconds,
        *([str(record.perturbation)] if record.perturbation else []),
    )
    return f"{hashlib.blake2b(repr(what).encode(), digest_size=12).hexdigest()}.npy"
