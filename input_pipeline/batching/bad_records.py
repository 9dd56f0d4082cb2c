"""Files that cannot be read: each is reported once, counted, and survived."""

import json
import logging
import threading
from pathlib import Path

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.text.visible import visible

FILE = "bad_records.jsonl"
# More of them say nothing new.
SAID = 20


class BadRecords:
    """Collects the records whose audio cannot be read.

    Args:
        folder: Where `bad_records.jsonl` is written, one object a record; None writes nothing.

    Attributes:
        first: Why the first one cannot be read; '' as long as there is none.
    """

    first: str = ""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / FILE if folder else None
        self._seen: set[tuple[str, Path]] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of distinct records."""
        return len(self._seen)

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
            if self._path:
                row = {"id": record.id, "path": str(record.path), "reason": str(error)}
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
