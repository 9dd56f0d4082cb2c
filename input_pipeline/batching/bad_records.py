"""Files that cannot be read: each is reported once, counted, and survived."""

import json
import logging
import threading
from pathlib import Path

from atbert_jax.input_pipeline.manifest.records import Record

FILE = "bad_records.jsonl"


class BadRecords:
    """Collects the records whose audio cannot be read.

    Args:
        folder: Where `bad_records.jsonl` is written, one object a record; None writes nothing.
    """

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
            logging.getLogger(__name__).warning("left out: %s", error)
            if self._path:
                row = {"id": record.id, "path": str(record.path), "reason": str(error)}
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
