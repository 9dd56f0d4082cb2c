"""A corpus -> a folder of shards that is a TFDS data set and a manifest at once.

The work is done shard by shard. Which records are in which follows from the order of the corpus
alone; a shard gets its name when it is whole, with a summary beside it, and is never written again.
So what is interrupted goes on, and the bytes are the same whoever writes them.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from atbert_jax.input_pipeline.manifest.records import Record, split_records
from atbert_jax.input_pipeline.manifest.shards import EXTENSION
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from atbert_jax.input_pipeline.preparing import beam_pipeline
from atbert_jax.input_pipeline.preparing.shard_writer import (
    WORK,
    ShardSettings,
    Summary,
    summary_of,
    write_shard,
)
from atbert_jax.input_pipeline.preparing.storage import Storage
from atbert_jax.input_pipeline.progress import Meter

SETTINGS = "preparation.json"
HERE = Storage()
SECONDS_BETWEEN_LOOKS = 2.0

# Rows of the corpus in each shard, by its file's name.
Plan = Mapping[str, Sequence[int]]


@dataclasses.dataclass(frozen=True)
class Sharding:
    """How a corpus is divided.

    Attributes:
        name: Of the data set.
        records_per_shard: At most; bad ones and copies leave a shard smaller.
        deduplicate: Leave out records that sound the same, sample for sample, as an earlier one.
        shards: What the bytes of a shard depend on.

    Raises:
        ValueError: if a value is out of its range.
    """

    name: str
    records_per_shard: int
    deduplicate: bool
    shards: ShardSettings

    def __post_init__(self) -> None:
        if self.records_per_shard < 1:
            raise ValueError(f"{self.records_per_shard} records per shard; use 1 or more")


def splits_of(records: Sequence[Record]) -> dict[str, list[int]]:
    """The rows of each split: of those that training draws by default, else the records' own."""
    try:
        drawn = split_records(records)
    except ManifestError:  # for there are other names, which training must be told
        drawn = {}
    names = {record.id: split for split, members in drawn.items() for record in members}
    splits: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        own = re.sub(r"[^A-Za-z0-9]+", "_", record.split).strip("_") or "other"
        splits.setdefault(names.get(record.id, own), []).append(row)
    return splits


def make_plan(records: Sequence[Record], sharding: Sharding) -> dict[str, Plan]:
    """The shards of each split."""
    plan, size = {}, sharding.records_per_shard
    for split, rows in splits_of(records).items():
        starts = range(0, len(rows), size)
        begin, end = f"{sharding.name}-{split}{EXTENSION}", f"of-{len(starts):05d}"
        plan[split] = {
            f"{begin}-{number:05d}-{end}": rows[start : start + size]
            for number, start in enumerate(starts)
        }
    return plan


def begin(folder: Path, records: Sequence[Record], plan: Plan, sharding: Sharding) -> None:
    """Writes the settings, and what each unfinished shard is made of.

    Raises:
        ManifestError: if something else stands in the folder, or a part of it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for rows in plan.values():
        digest.update(_lines(records, rows).encode())
    given = dataclasses.asdict(sharding)
    given |= given.pop("shards")
    given |= given.pop("spectrogram") | {"records": digest.hexdigest()}
    file = folder / SETTINGS
    folder.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        if stranger := next(folder.glob(f"*{EXTENSION}*"), None):
            raise ManifestError(f"{stranger}: is of another data set; give another --output")
        with HERE.created(file) as part:
            part.write_text(json.dumps(given, indent=1) + "\n", encoding="utf-8")
    there = json.loads(file.read_text(encoding="utf-8"))
    for field, value in given.items():
        if there.get(field) != value:
            held = f"{field}={json.dumps(there.get(field))}, not {json.dumps(value)}"
            raise ManifestError(
                f"{folder}: holds shards of {'other records' if field == 'records' else held}; give"
                " another --output, or delete the folder"
            )
    (folder / WORK).mkdir(exist_ok=True)
    for name, rows in plan.items():
        (folder / WORK / f"{name}.jsonl").write_text(_lines(records, rows), encoding="utf-8")


def _lines(records: Sequence[Record], rows: Sequence[int]) -> str:
    return "".join(_line(row, records[row]) + "\n" for row in rows)


def _line(row: int, record: Record) -> str:
    """What `shard_writer.write_shard` needs to know of a record."""
    part = {"path": str(record.path), "start": record.start, "duration": record.duration}
    about = {"id": record.id, "text": record.text, "labels": record.labels, "group": record.group}
    given = {"row": row, "part": part | {"place": record.place}, **about}
    return json.dumps(given, ensure_ascii=False)


def write(
    folder: Path,
    records: Sequence[Record],
    plan: Plan,
    sharding: Sharding,
    *,
    processes: int | None = None,
    flags: Sequence[str] = (),
    storage: Storage = HERE,
    console: Console | None = None,
) -> dict[str, Summary]:
    """Writes all shards that are not there yet.

    Args:
        folder: Where to.
        records: Of the corpus.
        plan: Which of them are in which shard.
        sharding: How.
        processes: How many, on this machine; by default one for each core.
        flags: For Beam, with `--runner` among them, to work on others.
        storage: Where those find the files.
        console: Where to talk.

    Returns:
        The summary of each shard.

    Raises:
        ManifestError: if something else stands in the folder.
        RuntimeError: if the work stopped; the same call goes on.
    """
    begin(folder, records, plan, sharding)
    processes = processes or os.cpu_count() or 1
    options = {"processes": processes, "flags": flags, "log": folder / WORK / "beam.log"}

    def do(todo: Sequence[tuple], what: str) -> None:
        items = [(*item, folder.absolute(), sharding.shards, storage) for item in todo]
        with _shown(folder, plan, [name for name, _ in todo], what, console):
            beam_pipeline.run(write_shard, items, **options)

    if todo := [(name, ()) for name in plan if not summary_of(folder / name).exists()]:
        do(todo, "shards")
    summaries = {name: Summary.load(folder / name, HERE) for name in plan}
    if sharding.deduplicate:
        copies = find_copies(summaries.values(), records)
        wanted = {
            name: [row for row in summary.rows if row in copies]
            for name, summary in summaries.items()
        }
        todo = [(name, rows) for name, rows in wanted.items() if rows != summaries[name].copies]
        if todo:
            do(todo, "shards without copies")
            summaries |= {name: Summary.load(folder / name, HERE) for name, _ in todo}
    return summaries


def find_copies(summaries: Sequence[Summary], records: Sequence[Record]) -> dict[int, int]:
    """The rows that sound as an earlier one does, each with that.

    Rows that name the same part of the same file, as those with several captions do, mean what they
    say: they are no copies of each other.
    """
    heard = sorted(
        pair for summary in summaries for pair in zip(summary.rows, summary.digests, strict=True)
    )
    first, copies = {}, {}
    for row, digest in heard:
        original = first.setdefault(digest, row)
        if _part_of(records[row]) != _part_of(records[original]):
            copies[row] = original
    return copies


def _part_of(record: Record) -> tuple:
    return record.path, record.place, record.start, record.duration


@contextlib.contextmanager
def _shown(
    folder: Path, plan: Plan, todo: Sequence[str], what: str, console: Console | None
) -> Iterator[None]:
    """Counts the clips of finished shards, whoever finishes them, while the block runs."""
    waiting = {summary_of(folder / name).name: len(plan[name]) for name in todo}
    since = {name: _changed(folder / name) for name in waiting}
    total = sum(map(len, plan.values()))
    meter = Meter(what, total, "clips", done=total - sum(waiting.values()), console=console)
    stop = threading.Event()

    def look() -> None:
        for name in [n for n in waiting if _changed(folder / n) != since[n]]:
            meter.advance(waiting.pop(name))

    def watch() -> None:
        while not stop.wait(SECONDS_BETWEEN_LOOKS):
            look()

    with meter, concurrent.futures.ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield
        finally:
            stop.set()
            watching.result()
            look()


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def end(folder: Path) -> None:
    """Removes what only the work needed."""
    shutil.rmtree(folder / WORK, ignore_errors=True)
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)
