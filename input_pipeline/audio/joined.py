"""Streams that follow each other in a file, read as one."""

import bisect
import dataclasses
import io
import os
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import soundfile

# Frames that are counted at a time.
BLOCK = 2**16


@dataclasses.dataclass(frozen=True)
class Stream:
    """A part of a file that a decoder reads from end to end.

    Attributes:
        begin: Its first byte in the file.
        end: The byte behind its last one.
        head: What comes before those.
        frames: How many there are; None goes by what the decoder says.
    """

    begin: int
    end: int
    head: bytes = b""
    frames: int | None = None


def count(file: "soundfile.SoundFile | Joined") -> int:
    """Number of frames that can be decoded from here on."""
    frames = 0
    while block := len(file.read(BLOCK, dtype="float32", always_2d=True)):
        frames += block
    return frames


def data_of(file: BinaryIO, stream: Stream) -> bytes:
    """The bytes of a stream as those of a file of its own."""
    file.seek(stream.begin)
    return stream.head + file.read(stream.end - stream.begin)


def in_memory(data: bytes) -> soundfile.SoundFile:
    """Opens the contents of a file.

    Raises:
        soundfile.LibsndfileError: if they are no audio.
    """
    if not hasattr(os, "memfd_create"):  # Linux alone has it
        return soundfile.SoundFile(io.BytesIO(data))
    # Decoders ask for a few bytes at a time; for those of a Python object they would call back.
    descriptor = os.memfd_create("audio")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return soundfile.SoundFile(descriptor, closefd=True)


class Joined:
    """What a `soundfile.SoundFile` is to other files.

    Args:
        path: The file.
        streams: In it (see `streams.find`).
    """

    def __init__(self, path: Path, streams: tuple[Stream, ...]) -> None:
        self.name, self._streams = path, streams
        self._current: soundfile.SoundFile | None = None
        self._number = self._place = 0
        first = self._open(0)
        self.samplerate, self.channels, self.format = first.samplerate, first.channels, first.format
        self.is_counted = None not in (lengths := [stream.frames for stream in streams])
        if not self.is_counted:
            lengths = [first.frames]
        self._begins = [0, *np.cumsum(lengths).tolist()]
        self.frames = self._begins[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._current.close()

    def seekable(self) -> bool:
        """Whether `seek` is possible."""
        return True

    def seek(self, frame: int) -> int:
        """Goes to a frame, and says to which."""
        self._place = frame
        if frame < self.frames:
            number = bisect.bisect_right(self._begins, frame) - 1
            begin = self._begins[number]
            self._place = begin + self._open(number).seek(frame - begin)
        return self._place

    def read(self, frames: int, **_: object) -> np.ndarray:
        """The next frames, or what there is of them, (T, C), float32."""
        parts = [np.zeros((0, self.channels), np.float32)]
        frames = min(frames, self.frames - self._place)
        while frames > 0:
            wanted = min(frames, self._begins[self._number + 1] - self._place)
            block = self._current.read(wanted, dtype="float32", always_2d=True)
            parts.append(block)
            self._place, frames = self._place + len(block), frames - len(block)
            if frames and len(block) == wanted:
                self._open(self._number + 1)
            elif frames:
                break
        return np.concatenate(parts)

    def _open(self, number: int) -> soundfile.SoundFile:
        if self._current is None or number != self._number:
            if self._current:
                self._current.close()
            with self.name.open("rb") as file:
                self._current = in_memory(data_of(file, self._streams[number]))
            self._number = number
        return self._current
