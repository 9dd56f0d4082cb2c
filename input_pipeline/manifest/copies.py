"""The same audio in two splits: what a model has heard in training is no test of it.

Copies are exact: the bytes of the files are the same. Files of different size are none, which costs
a look at each file; of those of one size a few places are read, and only where these agree all.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from atbert_jax.input_pipeline.manifest.records import Record

# Bytes that are read at the beginning, in the middle and at the end of files of one size.
SAMPLE = 4096
# Of which most wait for a disk; each looks at so many files at a time.
THREADS, CHUNK = 8, 256


def find(splits: Mapping[str, Sequence[Record]]) -> dict[str, list[tuple[Record, list[Record]]]]:
    """The records of val and test whose audio is in train, too.

    Records of shards are not looked at: `prepare --shards --deduplicate` compares their sound.

    Args:
        splits: Records of "train", "val" and "test".

    Returns:
        For "val" and "test" each such record with those of train that have the same bytes, at times
        that overlap with its own.
    """
    files = {
        name: {record.path for record in records if record.place is None}
        for name, records in splits.items()
    }
    same = _same(files.get("train", set()), files.get("val", set()) | files.get("test", set()))
    heard = defaultdict(list)
    for record in splits.get("train", ()):
        if record.place is None and record.path in same:
            heard[same[record.path]].append(record)
    found: dict[str, list[tuple[Record, list[Record]]]] = {"val": [], "test": []}
    for name, pairs in found.items():
        for record in splits.get(name, ()):
            if record.place is None and record.path in same:
                again = [r for r in heard[same[record.path]] if _overlap(r, record)]
                pairs += [(record, again)] if again else []
    return found


def _same(one: set[Path], other: set[Path]) -> dict[Path, Hashable]:
    """What is the same for files of both sets that are the same, by file."""
    with ThreadPoolExecutor(THREADS) as threads:
        groups = [(one, other)]
        for key in (_size, _sampled, _digest):
            groups = [pair for group in groups for pair in _by(key, *group, threads.map)]
    return {file: number for number, pair in enumerate(groups) for file in pair[0] | pair[1]}


def _by(
    key: Callable[[Path], Hashable],
    one: set[Path],
    other: set[Path],
    each: Callable[[Callable, Iterable], Iterable],
) -> Iterable[tuple[set[Path], set[Path]]]:
    """Parts of two sets in which the files have the same key, where both have any."""
    files = sorted(one | other)
    if len(files) < 2:
        return [(one, other)]
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    parts = defaultdict(set)
    for chunk, keys in zip(chunks, each(lambda c: [key(f) for f in c], chunks), strict=True):
        for file, found in zip(chunk, keys, strict=True):
            if found is not None:
                parts[found].add(file)
    pairs = ((part & one, part & other) for part in parts.values())
    return [pair for pair in pairs if all(pair)]


def _size(file: Path) -> int | None:
    try:
        return os.stat(file).st_size or None  # noqa: PTH116  (a Path is slower)
    except OSError:  # not there: training says so
        return None


def _sampled(file: Path) -> bytes | None:
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            parts = []
            for place in (0, size // 2, max(0, size - SAMPLE)):
                opened.seek(place)
                parts.append(opened.read(SAMPLE))
        return hashlib.blake2b(b"".join(parts), digest_size=16).digest()
    except OSError:
        return None


def _digest(file: Path) -> bytes | None:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError:
        return None


def _overlap(one: Record, other: Record) -> bool:
    """Whether two records of the same audio have a time in common."""
    ends = [r.start + (r.duration or float("inf")) for r in (one, other)]
    return max(one.start, other.start) < min(ends)
