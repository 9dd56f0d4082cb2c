"""Records -> shards: sound encoded as WAV or FLAC, examples serialized by TFDS, ArrayRecord files.

TFDS does this without TensorFlow, which is never loaded here.
"""

import io
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import soundfile
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from input_pipeline.shards import AUDIO

FORMATS = ("wav", "flac")
# Each record by itself, for random access; sound hardly gets smaller, and is read in a third of the
# time uncompressed.
OPTIONS = "group_size:1,uncompressed"


def features(audio_format: str, sample_rate: int) -> tfds.features.FeaturesDict:
    """What an example holds, for TFDS: id, text, labels, group and a whole audio file in bytes."""
    kind = f"A {audio_format.upper()} file, mono, 16 bits, {sample_rate} Hz"
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


def encode(samples: np.ndarray, sample_rate: int, audio_format: str) -> bytes:
    """Samples (T,), int16, as a WAV or FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, subtype="PCM_16", format=audio_format.upper())
    return file.getvalue()


class ShardWriter:
    """Writes a shard, whole or not at all: it gets its name at the end of a `with` block.

    The same examples give the same bytes, in any process.

    Args:
        path: Of the shard.
        audio_format: 'wav' or 'flac'.
        sample_rate: In Hz.
    """

    def __init__(self, path: Path, audio_format: str, sample_rate: int) -> None:
        self._path, self._format, self._rate = path, audio_format, sample_rate
        self._features = features(audio_format, sample_rate)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())

    def __enter__(self) -> Self:
        # One that is killed leaves its part behind, which the next one overwrites or which nobody
        # reads; a name of its own keeps two that write the same shard from mixing their bytes.
        self._part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        self._file = ArrayRecordWriter(str(self._part), OPTIONS)
        return self

    def write(self, samples: np.ndarray, **about: Any) -> None:
        """Adds a record: samples (T,), int16, and its other features."""
        sound = encode(samples, self._rate, self._format)
        example = self._features.encode_example({**about, AUDIO: sound})
        # Fields in the order of their names, not in that of a table of hashes.
        message = self._serializer.get_tf_example(example)
        self._file.write(message.SerializeToString(deterministic=True))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind:
            self._part.unlink(missing_ok=True)
        else:
            self._part.replace(self._path)
