"""Records -> shards: sound encoded as WAV or FLAC, examples serialized by TFDS, ArrayRecord files.

This is what a worker does. TFDS serializes without TensorFlow, which workers never load.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from atbert_jax import choices
from atbert_jax.input_pipeline.audio import decoding, remarks
from atbert_jax.input_pipeline.audio.decoding import AudioError
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.manifest.shards import AUDIO, where
from atbert_jax.input_pipeline.preparing.band_statistics import BandSums
from atbert_jax.input_pipeline.preparing.storage import Storage

FORMATS = ("wav", "flac")
# Each record by itself, for random access; sound hardly gets smaller, and is read in a third of the
# time uncompressed.
OPTIONS = "group_size:1,uncompressed"
# Within the folder: the records of each shard, while there is work to do.
WORK = ".work"


@dataclasses.dataclass(frozen=True)
class ShardSettings:
    """What the bytes of a shard depend on, besides its records.

    Attributes:
        sample_rate: In Hz.
        audio_format: 'wav' or 'flac'; both are mono, of 16 bits.
        spectrogram: Whose bands are summed, of `sample_rate`.

    Raises:
        ValueError: if a value is out of its range.
    """

    sample_rate: int
    audio_format: str
    spectrogram: Spectrogram

    def __post_init__(self) -> None:
        choices.require("format", self.audio_format, FORMATS)
        if not decoding.LOWEST_RATE <= self.sample_rate <= decoding.HIGHEST_RATE:
            raise ValueError(f"{self.sample_rate} Hz is no sample rate")


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is known of a finished shard; it lies beside it as JSON.

    Attributes:
        rows: Of the corpus, that were readable, in order.
        samples: Length of each.
        digests: Of the samples of each, so that copies are known.
        copies: Those of `rows` that are left out as copies of others.
        bad: Why a row was not readable.
        odd: What is odd about a row that was read all the same.
        sums: Over all but the copies.
        size: Of the shard, in bytes.
        checksum: SHA-256 of the shard.
    """

    rows: list[int]
    samples: list[int]
    digests: list[str]
    copies: list[int]
    bad: dict[int, str]
    sums: BandSums
    size: int
    checksum: str
    odd: dict[int, str] = dataclasses.field(default_factory=dict)

    @property
    def kept(self) -> list[tuple[int, int]]:
        """Row and number of samples of each record of the shard, in its order."""
        copies = set(self.copies)
        pairs = zip(self.rows, self.samples, strict=True)
        return [(row, count) for row, count in pairs if row not in copies]

    def save(self, shard: Path, storage: Storage) -> None:
        """Writes it beside its shard."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["sums"] = self.sums.as_json()
        with storage.created(summary_of(shard)) as file:
            file.write_text(json.dumps(values) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, shard: Path, storage: Storage) -> Self | None:
        """That of a shard, None if the shard is not finished."""
        try:
            with storage.fetched(summary_of(shard)) as file:
                values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        bad, odd = (
            {int(row): text for row, text in values.pop(name, {}).items()}
            for name in ("bad", "odd")
        )
        return cls(sums=BandSums.from_json(values.pop("sums")), bad=bad, odd=odd, **values)


def summary_of(shard: Path) -> Path:
    """The file of a shard's summary."""
    return shard.with_name(f"{shard.name}.json")


def features(settings: ShardSettings) -> tfds.features.FeaturesDict:
    """What an example holds, for TFDS: id, text, labels, group and a whole audio file in bytes."""
    kind = f"{settings.audio_format.upper()} file, mono, 16 bits, {settings.sample_rate} Hz"
    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "id": text(),
            "text": text(),
            "labels": tfds.features.Sequence(text()),
            "group": text(),
            AUDIO: tfds.features.Tensor(shape=(), dtype=np.object_, doc=kind),
        }
    )


def pcm16(waveform: np.ndarray) -> np.ndarray:
    """A waveform in [-1, 1) as int16; what was PCM16 before is the same again, louder is cut."""
    return np.clip(np.rint(waveform * np.float32(2**15)), -(2**15), 2**15 - 1).astype(np.int16)


def encode(samples: np.ndarray, settings: ShardSettings) -> bytes:
    """Samples (T,), int16, as a WAV or FLAC file."""
    file = io.BytesIO()
    kind = settings.audio_format.upper()
    soundfile.write(file, samples, settings.sample_rate, subtype="PCM_16", format=kind)
    return file.getvalue()


class ShardWriter:
    """Writes a shard; the same examples give the same bytes, in any process.

    Args:
        path: Of the shard.
        settings: Of its sound.
    """

    def __init__(self, path: Path, settings: ShardSettings) -> None:
        self._settings = settings
        self._features = features(settings)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())
        self._file = ArrayRecordWriter(str(path), OPTIONS)

    def __enter__(self) -> Self:
        return self

    def write(self, samples: np.ndarray, **about: Any) -> None:
        """Adds a record: samples (T,), int16, and its other features."""
        sound = encode(samples, self._settings)
        example = self._features.encode_example({**about, AUDIO: sound})
        # Fields in the order of their names, not in that of a table of hashes.
        message = self._serializer.get_tf_example(example)
        self._file.write(message.SerializeToString(deterministic=True))

    def __exit__(self, *_: object) -> None:
        self._file.close()


def write_shard(
    name: str, copies: Sequence[int], folder: Path, settings: ShardSettings, storage: Storage
) -> str:
    """Decodes and writes the records of a shard, unless it is there.

    Args:
        name: Of the shard.
        copies: Rows to leave out.
        folder: Of the shards; in `.work/` there, a line of JSON describes each record.
        settings: Of the sound.
        storage: Where this worker finds the folder and the sound.

    Returns:
        The name.

    Raises:
        OSError: if the shard cannot be written.
    """
    shard, copies = folder / name, list(copies)
    finished = Summary.load(shard, storage)
    if finished and finished.copies == copies:
        return name
    rows, samples, digests, bad, odd, sums = [], [], [], {}, {}, BandSums.sum(())
    with storage.created(shard) as part:
        with (
            storage.fetched(folder / WORK / f"{name}.jsonl") as work,
            work.open(encoding="utf-8") as lines,
            ShardWriter(part, settings) as writer,
        ):
            for about in map(json.loads, lines):
                row = about.pop("row")
                try:
                    sound, remark = _read(storage, settings.sample_rate, **about.pop("part"))
                except AudioError as error:
                    bad[row] = str(error)
                    continue
                sound = pcm16(sound)
                if remark:
                    odd[row] = remark
                rows.append(row)
                samples.append(len(sound))
                digests.append(hashlib.blake2b(sound.tobytes(), digest_size=16).hexdigest())
                if row not in copies:
                    writer.write(sound, **about)
                    of_this = BandSums.of(sound / np.float32(2**15), settings.spectrogram)
                    sums = BandSums.sum((sums, of_this))
        with part.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        size = part.stat().st_size
    Summary(rows, samples, digests, copies, bad, sums, size, checksum, odd).save(shard, storage)
    return name


def _read(storage: Storage, sample_rate: int, path: str, **part: Any) -> tuple[np.ndarray, str]:
    """A record's waveform, and what is odd about its file."""
    try:
        with storage.fetched(Path(path)) as file:
            waveform = decoding.read(file, sample_rate, **part)
            return waveform, remarks.of(where(file, part.get("place")))
    except AudioError as error:
        raise AudioError(str(error).replace(str(file), path)) from None  # a copy, it may be
    except Exception as error:  # of libraries, on sound as they have not met it
        raise AudioError(f"{path}: {type(error).__name__}: {error}") from error
