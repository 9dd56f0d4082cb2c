"""The stages of reading a data set, each measured alone.

Reading is measured in one thread, batches in as many as training reads with. Each stage does what
the one above it does, and more; clips are the first ones of the training split.
"""

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ml_collections
from rich.table import Table

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio import decoding
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.batching.frames import make_reader
from atbert_jax.input_pipeline.contract import Normalization
from atbert_jax.input_pipeline.dataset import Dataset
from atbert_jax.input_pipeline.manifest.records import Record


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one stage takes.

    Attributes:
        name: Of the stage.
        clips: How many it read.
        seconds: How long that took.
        heard: Seconds of audio in the clips; 0 where none is read.
    """

    name: str
    clips: int
    seconds: float
    heard: float = 0.0

    @property
    def row(self) -> dict[str, float | str]:
        """Name and rates, for people and for JSON."""
        rates = {"clips_per_second": self.clips / self.seconds}
        return {"stage": self.name, **rates, "audio_per_second": self.heard / self.seconds}


def measure_stages(config: ml_collections.ConfigDict, clips: int) -> Iterator[Stage]:
    """Reads clips of the training split in every stage.

    Args:
        config: Of training.
        clips: How many; a whole number of batches of them is taken.

    Raises:
        ValueError: if the manifest or the config is not as it should be, or nothing can be read.
    """
    config = config.copy_and_resolve_references()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        data = dataset.load(config, Path(folder))
    count = sum(len(split.records) for split in data.splits.values())
    yield Stage("reading the manifest", count, time.perf_counter() - began)
    # Statistics change no time, and take some to be measured.
    plain = dataclasses.replace(data.contract, normalization=Normalization("none"))
    data = dataclasses.replace(data, contract=plain)
    config.train.batch_size = min(config.train.batch_size, len(data.split("train").records))
    data = _first(data, max(1, clips // config.train.batch_size) * config.train.batch_size)
    yield from _read(data)
    yield from _batches(config, data)


def _first(data: Dataset, count: int) -> Dataset:
    """The first records of the training split; none of them is read twice in an epoch."""
    split = data.split("train")
    count = min(count, len(split.records))
    tables = {name: table[:count] for name, table in split.tables.items()}
    named = {name: tables.pop(name) for name in ("token_ids", "token_mask", "labels", "label_mask")}
    part = dataclasses.replace(
        split, records=split.records[:count], sizes=(count,), mixture=(1.0,), tasks=tables, **named
    )
    return dataclasses.replace(data, splits=data.splits | {"train": part})


def _read(data: Dataset) -> Iterator[Stage]:
    """Reading, in this thread."""
    records, reader = data.split("train").records, make_reader(data.contract)
    if data.contract.features is None:
        rate = data.contract.spectrogram.sample_rate

        def decode(record: Record) -> float:
            own = decoding.file_sample_rate(record.path, record.place) or rate
            return len(decoding.read_clip(record, own)) / own

        def resample(record: Record) -> float:
            return len(decoding.read_clip(record, rate)) / rate

        yield _timed("opening and decoding", decode, records)
        yield _timed("+ resampling", resample, records)

    def cut(record: Record) -> float:
        _, real = reader.segments(record, position=0.5)
        return float(real.sum()) / reader.sample_rate

    yield _timed("cutting, headers read first", cut, records)
    yield _timed("cutting", cut, records)


def _timed(name: str, read: Callable[[Record], float], records: list[Record]) -> Stage:
    """A stage that reads record by record and says how long each is; bad ones are left out."""
    count, heard, began = 0, 0.0, time.perf_counter()
    for record in records:
        try:
            heard += read(record)
            count += 1
        except AudioError:
            continue
    if not count:
        raise AudioError(f"none of {len(records)} records can be read, {records[0].path} first")
    return Stage(name, count, time.perf_counter() - began, heard)


def _batches(config: ml_collections.ConfigDict, data: Dataset) -> Iterator[Stage]:
    """The pipeline, with one change after the other until it is the whole."""
    from atbert_jax.input_pipeline.batching.augmentation import Augmentation
    from atbert_jax.input_pipeline.batching.examples import LOG_MEL, OF_LOG_MELS, WAVEFORM

    def changed(**changes: object) -> ml_collections.ConfigDict:
        other = config.copy_and_resolve_references()
        other.update_from_flattened_dict(changes)
        return other

    if config.data.input == LOG_MEL:
        waves = {"data.input": WAVEFORM, "data.memory_mb": 0}
        plain = {f"augmentation.{k}": v for k, v in dataclasses.asdict(Augmentation()).items()}
        yield from _epochs(changed(**waves, **plain), data, "batches of waveforms")
        silent = {f"augmentation.{name}": 0 for name in OF_LOG_MELS}
        yield from _epochs(changed(**waves, **silent), data, "+ augmentation of waveforms")
    name = "whole pipeline"
    yield from _epochs(changed(**{"data.memory_mb": 0}), data, f"{name}, without memory")
    yield from _epochs(config, data, f"{name}, first epoch", f"{name}, later epochs")


def _epochs(config: ml_collections.ConfigDict, data: Dataset, *names: str) -> Iterator[Stage]:
    """Consecutive epochs of one pipeline."""
    from atbert_jax.input_pipeline.batching.bad_records import BadRecords
    from atbert_jax.input_pipeline.batching.batches import Batches

    source = Batches(config, data, BadRecords(None))
    size, rate = config.train.batch_size, source.reader.sample_rate
    stream = source.train("train", size)
    next(stream)  # what is built once
    done, steps = 1, len(data.split("train").records) // size
    for name in names:
        count, heard, began = 0, 0.0, time.perf_counter()
        for batch in itertools.islice(stream, max(1, steps - done)):
            real = batch["frame_mask"] if "frame_mask" in batch else batch["samples"]
            heard += float(real.sum()) / rate
            count += size
        yield Stage(name, count, time.perf_counter() - began, heard)
        done = 0


def table(rows: list[dict]) -> Table:
    """The stages for people."""
    shown = Table("stage", title="Reading")
    for column in ("clips per second", "ms per clip", "seconds of audio per second"):
        shown.add_column(column, justify="right")
    for row in rows:
        rate, sound = row["clips_per_second"], row["audio_per_second"]
        shown.add_row(
            row["stage"], f"{rate:,.0f}", f"{1000 / rate:.2f}", f"{sound:,.0f}" if sound else ""
        )
    return shown
