"""Files that cannot be read, or are odd: each is reported once, counted, and survived."""

import json
import logging
import threading
from pathlib import Path

from atbert_jax.input_pipeline.audio import remarks
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.manifest.shards import where
from atbert_jax.input_pipeline.text.visible import visible

FILE = "bad_records.jsonl"
ODD_FILE = "odd_records.jsonl"
# More of them say nothing new.
SAID = 20


class BadRecords:
    """Collects the records whose audio cannot be read, and those where something is odd about it.

    Args:
        folder: Where `bad_records.jsonl` and `odd_records.jsonl` are written, one object a record;
            None writes nothing.

    Attributes:
        first: Why the first one cannot be read; '' as long as there is none.
    """

    first: str = ""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: set[tuple[str, Path]] = set()
        self._odd: set[tuple[str, Path]] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of distinct records that cannot be read."""
        return len(self._seen)

    def __contains__(self, record: Record) -> bool:
        return (record.id, record.path) in self._seen

    @property
    def odd(self) -> int:
        """Number of distinct records that are heard, though not as they are written."""
        return len(self._odd)

    def add(self, record: Record, error: Exception) -> None:
        """Reports a record, the first time it is met."""
        with self._lock:
            # Ids are unique within one manifest only.
            if (record.id, record.path) in self._seen:
                return
            self._seen.add((record.id, record.path))
            self.first = self.first or str(error)
            log, count = logging.getLogger(__name__), len(self._seen)
            if count <= SAID:
                log.warning("left out: %s", visible(str(error)))
            if count == SAID:
                log.warning("left out: further ones are not said here, but counted")
            self._write(FILE, record, str(error))

    def note(self, record: Record) -> None:
        """Counts a record that was read, if anything was remarked of its file (see `remarks`)."""
        remark = remarks.of(where(record.path, record.place))
        if not remark or (record.id, record.path) in self._odd:
            return
        with self._lock:
            if (record.id, record.path) not in self._odd:
                self._odd.add((record.id, record.path))
                self._write(ODD_FILE, record, remark)

    def _write(self, name: str, record: Record, reason: str) -> None:
        if self._folder:
            row = {"id": record.id, "path": str(record.path), "reason": reason}
            with (self._folder / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
