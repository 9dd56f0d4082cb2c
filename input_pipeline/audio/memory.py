"""What was read of records, remembered within a budget."""

import functools
import mmap
import threading
from collections.abc import Callable

import numpy as np

from atbert_jax.input_pipeline.manifest.records import Record

# The last few clips are kept in any case, until all of their chunks are cut.
RECENT = 4

# Bytes that are asked of the system at a time for what is remembered.
SHELF = 2**26


class Memory:
    """Reads each clip once, however many threads ask for it at the same time.

    Args:
        read: Of a record to an array.
        megabytes: Budget of what is remembered; 0 remembers nothing but the last few clips.
    """

    def __init__(self, read: Callable[[Record], np.ndarray], megabytes: float) -> None:
        self._budget = megabytes * 2**20
        self._arrays: dict[tuple, np.ndarray] = {}
        self._shelves = _Shelves()
        self._lock = threading.Lock()
        self._recent = functools.lru_cache(maxsize=RECENT)(functools.partial(_Clip, read))

    def get(self, record: Record) -> np.ndarray:
        """The array of a record."""
        key = (record.path, record.place, record.start, record.duration, record.perturbation)
        array = self._arrays.get(key)
        if array is None:
            with self._lock:
                clip = self._recent(record)
            array = clip.read()
            with self._lock:
                if array.nbytes <= self._budget and key not in self._arrays:
                    self._budget -= array.nbytes
                    self._arrays[key] = array = self._shelves.keep(array)
        return array


class _Shelves:
    """Copies of arrays in memory of their own, which the system has back when they are gone.

    Among what each step allocates and frees they would leave holes that are too small for it.
    """

    def __init__(self) -> None:
        self._shelf = np.empty(0, np.uint8)

    def keep(self, array: np.ndarray) -> np.ndarray:
        """A copy that cannot be written to."""
        size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if size > len(self._shelf):
            # What is not touched takes no memory.
            self._shelf = np.frombuffer(mmap.mmap(-1, max(size, SHELF)), np.uint8)
        place, self._shelf = self._shelf[: array.nbytes], self._shelf[size:]
        copy = place.view(array.dtype).reshape(array.shape)
        copy[...] = array
        copy.flags.writeable = False
        return copy


class _Clip:
    """A clip that is read once."""

    def __init__(self, read: Callable[[Record], np.ndarray], record: Record) -> None:
        self._read, self._record, self._array = read, record, None
        self._lock = threading.Lock()

    def read(self) -> np.ndarray:
        with self._lock:
            if self._array is None:
                self._array = self._read(self._record)
            return self._array
