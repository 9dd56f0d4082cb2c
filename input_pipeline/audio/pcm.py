"""WAV files of mono PCM16 in memory, as shards have them: there is nothing to decode.

libsndfile would call back into Python for every few kilobytes, and threads that read would wait for
each other at every call.
"""

import struct
from typing import Self

import numpy as np

# Of a file without any other chunks: RIFF, its format, and the size of the data.
HEADER = struct.Struct("<4sI8sIHHIIHH4sI")
SCALE = np.float32(2**-15)


class Pcm16:
    """What a `soundfile.SoundFile` is to other files.

    Args:
        samples: (T,), int16.
        sample_rate: In Hz.
    """

    channels, format = 1, "WAV"

    def __init__(self, samples: np.ndarray, sample_rate: int) -> None:
        self.samplerate, self.frames = sample_rate, len(samples)
        self._samples, self._place = samples, 0

    @classmethod
    def of(cls, sound: memoryview) -> Self | None:
        """A file; None of any other kind, or one that is cut off."""
        if len(sound) < HEADER.size:
            return None
        riff, _, kind, _, code, channels, rate, _, _, bits, data, size = HEADER.unpack_from(sound)
        if (riff, kind, code, channels, bits, data) != (b"RIFF", b"WAVEfmt ", 1, 1, 16, b"data"):
            return None
        if size > len(sound) - HEADER.size:
            return None
        return cls(np.frombuffer(sound, "<i2", size // 2, HEADER.size), rate)

    def seekable(self) -> bool:
        """Whether `seek` is possible."""
        return True

    def seek(self, frame: int) -> int:
        """Goes to a frame, and says to which."""
        self._place = frame
        return frame

    def read(self, frames: int, **_: object) -> np.ndarray:
        """The next frames, or what there is of them, (T, 1), float32 in [-1, 1)."""
        begin = self._place
        self._place = min(self.frames, begin + frames)
        return (self._samples[begin : self._place] * SCALE)[:, None]
