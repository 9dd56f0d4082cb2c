"""Recordings -> an index: each is heard once, and what was heard before is found again.

A file of the size and times that it had is not read. Else its bytes are digested: one that was
moved, copied or touched sounds as it did, and has its vectors already. A kill loses what was heard
since the last shard; the same command goes on from there.
"""

import contextlib
import csv
import dataclasses
import io
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

from atbert_jax.evaluation.prediction import Answer, Predictor
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import Meter, Terminal
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.library import index_folder, vector_shards
from atbert_jax.library.index_folder import Files, Made
from atbert_jax.library.listing import Listing
from atbert_jax.library.vector_shards import TINY, Heard, Seen, Shard
from atbert_jax.objectives.views import AUDIO
from atbert_jax.training import lock
from atbert_jax.training.trained import Trained

# A shard is written when it has so many windows, or after so many seconds.
WINDOWS, SECONDS = 4096, 300


@dataclasses.dataclass(frozen=True)
class Counts:
    """What became of the recordings that are listed.

    Attributes:
        heard: That were embedded now.
        windows: Of these.
        unchanged: That were where they are.
        again: Found again by their bytes, where they were not: moved, copied or touched.
        removed: That were in the index and are not listed any more.
        left_out: That are not in it.
    """

    heard: int
    windows: int
    unchanged: int
    again: int
    removed: int
    left_out: int


class _Known:
    """What an index holds already."""

    def __init__(self, folder: Path, by: str) -> None:
        self.by = by
        self.keys: set[tuple] = set()
        self.seen: defaultdict[str, list[Seen]] = defaultdict(list)
        for path in vector_shards.paths(folder):
            for heard in vector_shards.read_heard(path):
                self.keys.add(heard.key)
                self.seen[heard.seen.path].append(heard.seen)
        self.listed: set[tuple] = set()
        # What it says of files is in the shards too, and it is written anew at the end.
        with contextlib.suppress(ValueError):
            files = index_folder.read_files(folder)
            for seen in files.seen:
                self.seen[seen.path].append(seen)
            self.listed = set(map(_place, files.records))

    def key(self, record: Record, seen: Seen) -> tuple:
        """As `Heard.key`, of what is to be in the index."""
        return vector_shards.key(self.by, seen, record.start, record.duration)

    def unread(self, record: Record) -> Seen | None:
        """The file of a record, where it is as it was and its vectors are there."""
        try:
            status = record.path.stat()
        except OSError:
            return None
        for seen in self.seen.get(str(record.path), ()):
            if seen.is_still(status) and self.key(record, seen) in self.keys:
                return seen
        return None


def update(
    model: Trained,
    folder: Path,
    listing: Listing,
    *,
    hop: float | None = None,
    console: Console | None = None,
    shard_windows: int = WINDOWS,
) -> Counts:
    """Makes an index of what is listed, or brings one up to date with it.

    What is not listed any more leaves the index; its vectors stay, in case it comes back.

    Args:
        model: That embeds, as it was loaded.
        folder: Of the index.
        listing: From `listing.read`.
        hop: Seconds from one window to the next, 0 the length of one; None is what the index has,
            or else the model.
        console: Where to talk.
        shard_windows: When a shard is written.

    Returns:
        What became of the recordings.

    Raises:
        ValueError: if the model hears nothing, the index is another one's or damaged, or no
            recording can be used.
        OSError: if the folder cannot be written.
    """
    console = console or Terminal()
    whole_file.claim(folder)
    with lock.held(folder, doing="written", flag="--output"):
        made = _made(model, folder, hop)
        predictor = Predictor(model.chunked(made.hop), with_fields=False)
        if refused := predictor.refusal((AUDIO,)):
            raise ValueError(f"an index is of sound: {refused}")
        made.save(folder)
        known = _Known(folder, made.mark)
        found: list[Seen | None] = [known.unread(record) for record in listing.records]
        unchanged = sum(seen is not None for seen in found)
        rest = [number for number, seen in enumerate(found) if seen is None]
        hearing = _Hearing(folder, predictor, known, shard_windows)
        hearing.run([listing.records[number] for number in rest], console)
        for number, seen in zip(rest, hearing.seen, strict=True):
            found[number] = seen
        return _finish(folder, listing, found, hearing, known, unchanged)


def _made(model: Trained, folder: Path, hop: float | None) -> Made:
    """What makes the index, which has to be what made it before."""
    if hop is not None and not 0 <= hop < math.inf:
        raise ValueError(f"--hop={hop}; give seconds, or 0 for the length of a window")
    if not (folder / index_folder.ABOUT).is_file():
        return Made.by(model, hop)
    made = Made.load(folder)
    made.require(model, folder)
    if hop is not None and hop != made.hop:
        raise ValueError(
            f"{folder}: has windows of another --hop ({made.hop}); leave --hop out, or make another"
            " index"
        )
    return made


class _Hearing:
    """Embeds records, and writes shards on the way.

    Attributes:
        seen: The file of each record, None of one that cannot be used; in order.
        errors: Why, by path.
        heard: How many were embedded.
        windows: Of these.
    """

    def __init__(self, folder: Path, predictor: Predictor, known: _Known, windows: int) -> None:
        self.folder, self.predictor, self.known, self.limit = folder, predictor, known, windows
        self.seen: list[Seen | None] = []
        self.errors: dict[str, str] = {}
        self.heard = self.windows = 0
        self._asked: deque[tuple[Record, Seen]] = deque()
        self._bad: dict[tuple, str] = {}
        self._waiting: list[tuple[Heard, np.ndarray, np.ndarray]] = []
        self._written = time.monotonic()

    def run(self, records: list[Record], console: Console) -> None:
        """Goes through the records."""
        if not records:
            return
        with Meter("indexing", len(records), "files", console=console) as meter:
            began, said = time.monotonic(), 0
            for answer in self.predictor.predict(self._unheard(records)):
                self._take(answer)
                rate = self.windows / (time.monotonic() - began)
                meter.advance(len(self.seen) - said, f"{self.windows} windows, {rate:.0f}/s")
                said = len(self.seen)
            self._flush()
            meter.advance(len(self.seen) - said)
        # Of files with the same bytes, one was tried.
        for number, record in enumerate(records):
            seen = self.seen[number]
            if seen and (why := self._bad.get(self.known.key(record, seen))):
                self.seen[number], self.errors[str(record.path)] = None, why

    def _unheard(self, records: list[Record]) -> Iterator[Record]:
        """The records whose bytes were not heard before."""
        for record in records:
            try:
                seen = vector_shards.see(record.path, self.known.seen.get(str(record.path), ()))
            except OSError as error:
                self.errors[str(record.path)] = f"{record.path}: {error.strerror}"
                self.seen.append(None)
                continue
            self.seen.append(seen)
            key = self.known.key(record, seen)
            if key not in self.known.keys:
                self.known.keys.add(key)
                self._asked.append((record, seen))
                yield record

    def _take(self, answer: Answer) -> None:
        """Keeps what was heard until there is enough of it for a shard."""
        record, seen = self._asked.popleft()
        if error := answer.error or _unsound(answer, seen):
            self._bad[self.known.key(record, seen)] = error
            return
        reader, segmenting = self.predictor.reader, self.predictor.model.contract.segmenting
        starts = record.start + segmenting.chunk_starts(answer.duration, reader.sample_rate)
        count = len(answer.chunk_embeddings)
        stretch = record.start, record.duration, answer.duration
        heard = Heard(seen, *stretch, count, self.known.by)
        self._waiting.append((heard, starts[:count], answer.chunk_embeddings))
        self.heard += 1
        self.windows += count
        enough = sum(each.windows for each, _, _ in self._waiting) >= self.limit
        if enough or time.monotonic() - self._written > SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            heard, starts, vectors = zip(*self._waiting, strict=True)
            shard = Shard(heard, np.concatenate(starts), np.concatenate(vectors))
            vector_shards.write(self.folder, shard)
        self._waiting.clear()
        self._written = time.monotonic()


def _unsound(answer: Answer, seen: Seen) -> str:
    """Why an answer is not to be kept, or ''."""
    path = answer.record.path
    try:
        if not seen.is_still(path.stat()):
            return f"{path}: changed while it was read; run the same command again"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not np.isfinite(answer.chunk_embeddings).all():
        return f"{path}: the model gives no finite numbers for it"
    if not (np.linalg.norm(answer.chunk_embeddings, axis=1) >= TINY).any():
        return f"{path}: the model gives 0 in every direction for it, which is near to nothing"
    return ""


def _finish(
    folder: Path,
    listing: Listing,
    found: list[Seen | None],
    hearing: _Hearing,
    known: _Known,
    unchanged: int,
) -> Counts:
    """Writes what is in the index now, and what is left out."""
    left_out = listing.left_out | hearing.errors
    _write_left_out(folder / index_folder.LEFT_OUT, left_out)
    good = [number for number, seen in enumerate(found) if seen is not None]
    if not good:
        _, why = next(iter(left_out.items()))
        raise ValueError(f"none of {len(found)} recordings can be used; the first: {why}")
    records = [listing.records[number] for number in good]
    seen = [dataclasses.replace(found[n], path=str(listing.records[n].path)) for n in good]
    columns = {name: [cells[n] for n in good] for name, cells in listing.columns.items()}
    index_folder.write_files(folder, Files(records, seen, columns))
    now = set(map(_place, records))
    return Counts(
        heard=hearing.heard,
        windows=hearing.windows,
        unchanged=unchanged,
        again=len(good) - unchanged - hearing.heard,
        removed=len(known.listed - now),
        left_out=len(left_out),
    )


def _write_left_out(path: Path, reasons: Mapping[str, str]) -> None:
    if not reasons:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("path", "reason"), *reasons.items()])
    whole_file.write(path, text.getvalue().encode(errors="backslashreplace"))


def _place(record: Record) -> tuple:
    """By which a recording is the one that it was."""
    return record.id, record.path, record.start, record.duration
