"""Shards: files of many records, each an example of a TFDS data set with an encoded audio file.

A shard is an ArrayRecord file, so any record is read by its number without reading others. A record
is a serialized `tf.train.Example`, as TFDS writes it; its field `audio` is a whole WAV or FLAC
file. Here it is read without TensorFlow; `preparing.shard_plan` writes it.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader

# Of file names, between the split and the number of the shard.
EXTENSION = ".array_record"
AUDIO = "audio"

# Shards that stay open, whatever their number. A reader holds a file and an index, 8 bytes a
# record.
OPEN = 256


class ShardError(ValueError):
    """A record that cannot be had; the message gives the reason alone."""


def is_shard(path: str | Path) -> bool:
    """Whether a file is a shard, by its name."""
    return EXTENSION in str(path).rpartition("/")[2]


def where(path: Path, place: int | None) -> str:
    """A file, or a record of a shard, as errors name it."""
    return str(path) if place is None else f"{path}, record {place}"


@functools.lru_cache(maxsize=OPEN)
def _open(path: Path) -> ArrayRecordReader:
    """A reader that all threads share; one that is forgotten closes when its last read is done."""
    reader = ArrayRecordReader(
        str(path), "readahead_buffer_size:0,max_parallelism:0", file_reader_buffer_size=2**15
    )
    if not reader.ok():
        try:
            reader.read([0])  # says what is wrong
        except RuntimeError as error:
            reason = "no such file" if not path.exists() else _first(error)
            raise ShardError(f"not a readable shard ({reason})") from None
    return reader


def read_audio(path: Path, place: int) -> memoryview:
    """The audio file of a record.

    Safe to call from several threads.

    Args:
        path: The shard.
        place: Number of the record, from 0.

    Raises:
        ShardError: if the shard cannot be read, is shorter, or the record is damaged.
    """
    reader = _open(path)
    if not 0 <= place < reader.num_records():
        raise ShardError(f"the shard has {reader.num_records()} records")
    try:
        (example,) = reader.read([place])
    except RuntimeError as error:
        raise ShardError(f"not readable ({_first(error)})") from None
    try:
        return _value(memoryview(example), AUDIO.encode())
    except (IndexError, ValueError):
        raise ShardError(f"no example with a field '{AUDIO}'") from None


def _first(error: Exception) -> str:
    return str(error).partition(";")[0] or type(error).__name__


def _value(example: memoryview, name: bytes) -> memoryview:
    """The only value of a field of bytes of a serialized `tf.train.Example`.

    As messages, it is Example.features.feature[name].bytes_list.value[0]. TensorFlow's parser would
    take seconds to import and copy the sound twice; this one takes microseconds.

    Raises:
        ValueError, IndexError: if there is no such field, or the example is damaged.
    """
    (features,) = _parts(example)
    for entry in _parts(features):
        key, feature = _parts(entry)
        if key == name:
            (values,) = _parts(feature)
            (value,) = _parts(values)
            return value
    raise ValueError(name)


def _parts(message: memoryview) -> Iterator[memoryview]:
    """The fields of a message of Protocol Buffers that has none but messages, texts and bytes."""
    position = 0
    while position < len(message):
        length = shift = 0
        byte = 128
        while byte >= 128:  # seven bits of the length in each, behind the byte of the field's tag
            position += 1
            byte = message[position]
            length |= (byte & 127) << shift
            shift += 7
        begin = position + 1
        position = begin + length
        if position > len(message):
            raise ValueError("cut off")
        yield message[begin:position]
