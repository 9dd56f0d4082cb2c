"""Sounds that a page plays, by number: what a browser asks for is never a name of a file."""

import itertools
import threading
from collections import OrderedDict
from pathlib import Path

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.library import excerpt

# The last sounds are kept: so many, and an hour of them, which is 350 MB at most.
MOST, SECONDS = 500, 3600.0


class Sounds:
    """Stretches of files that were shown, each decoded where it is first asked for.

    Safe to use from several threads.

    Args:
        folder: The server's own, for what is decoded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = itertools.count()
        self._records: OrderedDict[int, tuple[Record, float]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, record: Record, longest: float = excerpt.LONGEST) -> int:
        """The number of a stretch, up to `longest` seconds of it."""
        with self._lock:
            number = next(self._count)
            seconds = longest if record.duration is None else min(record.duration, longest)
            self._records[number] = record, seconds
            while len(self._records) > 1 and (
                len(self._records) > MOST
                or sum(seconds for _, seconds in self._records.values()) > SECONDS
            ):
                old, _ = self._records.popitem(last=False)
                self._place(old).unlink(missing_ok=True)
            return number

    def file(self, number: int) -> Path | None:
        """A WAV file; None where no sound of this number is kept.

        Raises:
            AudioError: if it cannot be decoded.
        """
        with self._lock:
            if number not in self._records:
                return None
            record, seconds = self._records[number]
            place = self._place(number)
            if not place.is_file():
                place.write_bytes(excerpt.wav(record, seconds))
            return place

    def _place(self, number: int) -> Path:
        return self.folder / f"{number}.wav"
