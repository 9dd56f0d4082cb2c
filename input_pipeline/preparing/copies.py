"""The same audio in two splits: what a model has heard in training is no test of it.

Copies have the same bytes, or the same samples, as a WAV that is a FLAC elsewhere, or an mp3 with
other tags; of what takes ffmpeg to read the bytes alone are compared. Files of different size, or
length, are none, which costs a look at each file and its header; of those of one size a few places
are read, and only where these agree all.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_collections

from atbert_jax.input_pipeline.audio import decoding, formats
from atbert_jax.input_pipeline.audio.errors import AudioError
from atbert_jax.input_pipeline.manifest.config_splits import merged
from atbert_jax.input_pipeline.manifest.records import ManifestError, Record
from atbert_jax.input_pipeline.text.visible import visible

# What becomes of records of train whose audio is in val or test.
KEEP, DROP = "keep", "drop"
# Bytes that are read at the beginning, in the middle and at the end of files of one size.
SAMPLE = 4096
# Of which most wait for a disk; each looks at so many files at a time.
THREADS, CHUNK = 8, 32
# Frames that are decoded at the beginning of files of one length.
BEGINNING = 8192


def find(splits: Mapping[str, Sequence[Record]]) -> dict[str, list[tuple[Record, list[Record]]]]:
    """The records of val and test whose audio is in train, too.

    Of records in shards the sound is compared with that of others in shards, as it was digested
    when these were written.

    Args:
        splits: Records of "train", "val" and "test".

    Returns:
        For "val" and "test" each such record with those of train that have the same bytes or
        samples, at times that overlap with its own.
    """
    files = {
        name: {record.path for record in records if record.place is None}
        for name, records in splits.items()
    }
    same = _same(files.get("train", set()), files.get("val", set()) | files.get("test", set()))
    shards = functools.cache(_digests)

    def sounds(record: Record) -> Sequence[Hashable]:
        if record.place is None:
            return same.get(record.path, ())
        return shards(record.path)[record.place : record.place + 1]

    heard = defaultdict(list)
    for record in splits.get("train", ()):
        for sound in sounds(record):
            heard[sound].append(record)
    found: dict[str, list[tuple[Record, list[Record]]]] = {"val": [], "test": []}
    for name, pairs in found.items():
        for record in splits.get(name, ()):
            known = {id(r): r for sound in sounds(record) for r in heard.get(sound, ())}
            again = [r for r in known.values() if _overlap(r, record)]
            pairs += [(record, again)] if again else []
    return found


def without(
    parts: dict[str, list[list[Record]]], data: ml_collections.ConfigDict
) -> dict[str, list[list[Record]]]:
    """The records of each split and manifest; what is heard in train and measured on is said.

    Raises:
        ManifestError: if the config says neither to keep nor to drop copies.
    """
    wish = data.get("copies", KEEP)
    if wish not in (KEEP, DROP):
        raise ManifestError(f"config.data.copies={wish!r}; use '{KEEP}' or '{DROP}'")
    dropped: set[int] = set()
    for name, pairs in find(merged(parts)).items():
        again = {id(record) for _, train in pairs for record in train}
        if again:
            record, (first, *_) = pairs[0]
            done = "they are left out of train"
            if wish == KEEP:
                done = (
                    "what is measured there is too good; drop them with --config.data.copies=drop"
                )
            logging.getLogger(__name__).warning(
                "the audio of %d records of %s is in train, too, in %d records, as that of %s is"
                " that of %s: %s",
                len(pairs),
                name,
                len(again),
                visible(record.id),
                visible(first.id),
                done,
            )
        dropped |= again
    if wish == KEEP or not dropped:
        return parts
    train = [[record for record in part if id(record) not in dropped] for part in parts["train"]]
    return parts | {"train": train}


def _same(one: set[Path], other: set[Path]) -> dict[Path, list[int]]:
    """Numbers that files have in common with those of the other set that are the same, by file."""
    found = []
    with ThreadPoolExecutor(THREADS) as threads:
        for keys in ((_size, _sampled, _digest), (_length, _beginning, _sound)):
            groups = [(one, other)]
            for key in keys:
                groups = [pair for group in groups for pair in _by(key, *group, threads.map)]
            found += groups
    numbers = defaultdict(list)
    for number, (ours, theirs) in enumerate(found):
        for file in ours | theirs:
            numbers[file].append(number)
    return numbers


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


def _digests(shard: Path) -> list[str]:
    """Of the sound of each record of a shard; none where nothing is known of it."""
    try:
        about = json.loads(Path(f"{shard}.json").read_text(encoding="utf-8"))
        copies = set(about["copies"])
        pairs = zip(about["rows"], about["digests"], strict=True)
        return [digest for row, digest in pairs if row not in copies]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _length(file: Path) -> tuple[int, int] | None:
    try:
        # What takes ffmpeg would be decoded whole to be measured.
        return None if formats.foreign(file) else decoding.sound_length(file)
    except (AudioError, OSError):  # training says so
        return None


def _beginning(file: Path) -> bytes | None:
    return _sound(file, BEGINNING)


def _sound(file: Path, frames: int = sys.maxsize) -> bytes | None:
    try:
        return decoding.sound_digest(file, frames)
    except AudioError:
        return None


def _overlap(one: Record, other: Record) -> bool:
    """Whether two records of the same audio have a time in common."""
    ends = [r.start + (r.duration or float("inf")) for r in (one, other)]
    return max(one.start, other.start) < min(ends)
