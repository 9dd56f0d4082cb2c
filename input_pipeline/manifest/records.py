"""Manifest tables to records: reading, checking and splitting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

from atbert_jax.input_pipeline.manifest import columns, drawing
from atbert_jax.input_pipeline.manifest.perturbation import Perturbation
from atbert_jax.input_pipeline.manifest.split_names import split_of
from atbert_jax.input_pipeline.manifest.table_file import ManifestError, Table
from atbert_jax.input_pipeline.manifest.tasks import Task
from atbert_jax.input_pipeline.text.visible import tidy


@dataclass(frozen=True, slots=True)
class Record:
    """One example: a stretch of an audio file with what is known about it.

    Attributes:
        id: unique within its manifest.
        path: absolute path of the audio file, which need not exist.
        text: caption, empty if there is none.
        labels: label names, empty if unknown.
        split: the split as the table writes it, empty if it has none.
        group: records of one group never go to different splits when splits are drawn.
        start: seconds into the file.
        duration: seconds, None for the rest of the file.
        targets: regression targets in the order of the target columns, NaN where missing.
        shares: probability of each of the labels, as a teacher gives them; empty where they hold.
        perturbation: what is done to the audio once it is read; None leaves it as it is.
        tasks: where there are several tasks, the labels or targets of each (see `tasks`).
        place: number of the record in its file, where that is a shard (see `shards`).
    """

    id: str
    path: Path
    text: str = ""
    labels: tuple[str, ...] = ()
    split: str = ""
    group: str = ""
    start: float = 0.0
    duration: float | None = None
    targets: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    perturbation: Perturbation | None = None
    tasks: tuple[tuple, ...] = ()
    place: int | None = None

    @property
    def name(self) -> str:
        """The name of the file; in a shard that of the id, which is by default the file's path."""
        return (self.path if self.place is None else Path(self.id)).name


def read_manifest(
    path: str | Path,
    *,
    root: str | Path | None = None,
    text_column: str = "text",
    label_column: str = "",
    label_separator: str = "|",
    target_columns: Sequence[str] = (),
    tasks: Sequence[Task] = (),
    split_column: str = "split",
    group_column: str = "group",
    hold_out: str = "",
    allow_outside: bool = False,
) -> list[Record]:
    """Read a CSV, TSV, JSON, JSON Lines or Parquet table of audio files, or of records of shards.

    A column `probabilities` holds soft labels, JSON objects as {"rock": 0.9, "piano": 0.2}; where
    it is not empty it stands instead of the row's other labels.

    Args:
        path: the table, or the folder of a data set (see `tables`); its column `path` (or
            `file_path`) is required, every other one optional.
        root: folder that relative audio paths start from; the table's own by default.
        text_column: column with captions.
        label_column: column with labels (or lists); `labels` or `label` if empty.
        label_separator: what stands between the labels of a cell.
        target_columns: columns with numbers; an empty cell is a missing target.
        tasks: several tasks, whose columns are read instead of the label column.
        split_column: column with split names.
        group_column: column with groups.
        hold_out: `column=value`: records whose column has this value become split "test", and
            records that were "test" without it are dropped.
        allow_outside: accept audio paths outside `root`.

    Returns:
        N records in the order of the table.

    Raises:
        ManifestError: the table, a row or a field cannot be used.
    """
    table = Table(Path(path))
    table.rename("file_path", "path")
    columns.warn_of_times(table)
    paths, starts = table.strings("path"), columns.starts(table)
    targets = [table.numbers(column) for column in target_columns]
    of_tasks = [task.read(table, label_separator) for task in tasks]
    labels, shares = [[()] * len(table)] * 2
    if not tasks:
        labels = columns.labels(table, label_column, label_separator)
        labels, shares = columns.soft_labels(table, labels)
    records = map(
        Record,
        columns.ids(table, paths, starts),
        columns.audio_paths(table, paths, Path(root) if root else table.root, allow_outside),
        table.strings(text_column, required=text_column not in ("", "text")),
        labels,
        map(tidy, table.strings(split_column, required=split_column not in ("", "split"))),
        map(tidy, table.strings(group_column, required=group_column not in ("", "group"))),
        starts,
        columns.durations(table, starts),
        zip(*targets, strict=True) if targets else repeat(()),
        shares,
        repeat(None),
        zip(*of_tasks, strict=True) if tasks else repeat(()),
        columns.places(table, paths),
    )
    if not hold_out:
        return list(records)
    held = columns.held_out(table, hold_out)
    return [
        replace(record, split="test") if is_held else record
        for record, is_held in zip(records, held, strict=True)
        if is_held or record.split != "test"
    ]


def read_manifests(paths: Sequence[str | Path], **options: Any) -> list[list[Record]]:
    """Read several manifests with the same options (see `read_manifest`)."""
    return [read_manifest(path, **options) for path in paths]


def split_records(
    records: Sequence[Record],
    *,
    train: str = "train",
    val: str = "val",
    test: str = "test",
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    stratify: bool = True,
) -> dict[str, list[Record]]:
    """Divide records into train, val and test.

    Splits that the records name are used as they are, and records without one among them are
    train. A missing val is drawn from train; where no record has a split all three are drawn (see
    `drawing`), by the group of a record or, if it has none, its id.

    Args:
        records: N records.
        train: the records' own name for train.
        val: the records' own name for val.
        test: the records' own name for test.
        val_fraction: share of the groups to draw for val, 0 to draw none.
        test_fraction: share of the groups to draw for test where no record has a split.
        stratify: whether what is drawn has its share of each label.

    Returns:
        Records under the keys "train", "val" and "test"; val and test can be empty (`require`).
        Those of other splits are in none (`others`).

    Raises:
        ManifestError: train or val is missing while the records have splits with other names.
        ValueError: the fractions are not shares that leave room for train.
    """
    if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        raise ValueError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} must be at least 0 "
            "and leave some of the records for train"
        )
    sizes = Counter(record.split for record in records)
    names = [record.split or train for record in records]

    def draw(fractions: Mapping[str, float]) -> None:
        """Takes records out of train."""
        ours = [record for record, name in zip(records, names, strict=True) if name == train]
        groups = drawing.labels_of(map(_key, ours), map(_labels, ours))
        drawn = drawing.draw(groups, fractions, stratify=stratify)
        names[:] = [
            drawn.get(_key(record), train) if name == train else name
            for record, name in zip(records, names, strict=True)
        ]

    if set(sizes) <= {""}:
        draw({test: test_fraction, val: val_fraction})
    else:
        _refuse_other_names(sizes, {"train": train, "val": val, "test": test}, val_fraction)
        if val not in sizes:
            draw({val: val_fraction})
    return {
        key: [record for record, name in zip(records, names, strict=True) if name == wanted]
        for key, wanted in (("train", train), ("val", val), ("test", test))
    }


def others(records: Iterable[Record], wanted: Collection[str]) -> Counter[str]:
    """Count the records of splits that are none of those wanted, by the splits' names."""
    return Counter(
        record.split for record in records if record.split and record.split not in wanted
    )


def require(splits: Mapping[str, list[Record]], name: str) -> list[Record]:
    """Return the records of a split that must not be empty.

    Args:
        splits: what `split_records` returned.
        name: "train", "val" or "test".

    Raises:
        ManifestError: the split has no records; names those that have, with the way out.
    """
    if splits.get(name):
        return splits[name]
    sizes = ", ".join(f"{key} {len(members)}" for key, members in splits.items())
    # What is tested can be val's; but no model must learn, or be chosen by, what it is tested on.
    other = "val" if name == "test" and splits.get("val") else "NAME"
    raise ManifestError(
        f"split '{name}' has no records (records per split: {sizes}); add rows with this split "
        f"to the manifest or name another with --config.data.{name}_split={other}"
    )


def _key(record: Record) -> str:
    """Return what decides a drawn split."""
    return record.group or record.id


def _labels(record: Record) -> Iterator[str]:
    """Return what decides whether a split is stratified: labels, of each task where several are."""
    yield from record.labels
    for number, own in enumerate(record.tasks):
        yield from (f"{number}/{label}" for label in own if isinstance(label, str))


def _refuse_other_names(
    sizes: Mapping[str, int], wanted: Mapping[str, str], val_fraction: float
) -> None:
    """Refuse to leave out records of an unknown split while a split that we need is missing."""
    strangers = sorted(set(sizes) - set(wanted.values()) - {""})
    for key in ("train", "val"):
        missing = wanted[key] not in sizes and not (key == "train" and "" in sizes)
        if strangers and missing and (key == "train" or val_fraction > 0):
            present = ", ".join(f"{name or '(none)'} {size}" for name, size in sizes.items())
            known = {split: name for name in strangers if (split := split_of(name)) in wanted}
            known = {split: name for split, name in known.items() if wanted[split] not in sizes}
            hint = " ".join(f"--config.data.{s}_split={known[s]}" for s in wanted if s in known)
            if key not in known:
                hint = f"--config.data.{key}_split=NAME"
            raise ManifestError(
                f"no record has the split '{wanted[key]}' (records per split: {present}); "
                f"name yours with {hint}, or drop those rows"
            )
