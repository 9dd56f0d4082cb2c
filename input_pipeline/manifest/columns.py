"""The columns of a manifest: paths, ids, times, labels and held-out rows, each checked."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atbert_jax.input_pipeline.manifest.shards import is_shard
from atbert_jax.input_pipeline.manifest.table_file import ManifestError, Table

PROBABILITIES = "probabilities"


def starts(table: Table) -> list[float]:
    """Return the start of every row in seconds, 0 where the cell is empty."""
    starts = [
        0.0 if math.isnan(start) else start for start in table.numbers("start", required=False)
    ]
    for index, start in enumerate(starts):
        if start < 0:
            table.fail(index, "start", f"{start} s is before the file begins; give 0 or more")
    return starts


def durations(table: Table) -> list[float | None]:
    """Return the duration of every row in seconds, None where the cell is empty."""
    durations = table.numbers("duration", required=False)
    for index, duration in enumerate(durations):
        if duration <= 0:
            table.fail(
                index, "duration", f"{duration} s is no length; give more than 0, or leave it empty"
            )
    return [None if math.isnan(duration) else duration for duration in durations]


def ids(table: Table, paths: Sequence[str], starts: Sequence[float]) -> list[str]:
    """Return unique ids: the column's, else the path, else `path@start` for repeated paths."""
    if table.has("id"):
        field = "id"
        ids = [own or path for own, path in zip(table.strings("id"), paths, strict=True)]
    else:
        field = "path"
        first: dict[str, float] = {}
        pairs = list(zip(paths, starts, strict=True))
        cut = {path for path, start in pairs if first.setdefault(path, start) != start}
        ids = [f"{path}@{start:.12g}" if path in cut else path for path, start in pairs]
    if len(set(ids)) < len(ids):
        seen: dict[str, int] = {}
        for index, own in enumerate(ids):
            if own in seen:
                table.fail(
                    index,
                    field,
                    f"'{own}' is the id of row {table.row(seen[own])} too; give the rows different "
                    "values in a column 'id', or different starts of one path",
                )
            seen[own] = index
    return ids


def audio_paths(table: Table, paths: Sequence[str], root: Path, allow_outside: bool) -> list[Path]:
    """Return absolute paths.

    Only the root asks the file system; a call per row would take minutes on a network disk.
    """
    base = Path(os.path.realpath(root))
    resolved, shards = [], {}
    for index, path in enumerate(paths):
        if not path:
            table.fail(index, "path", "empty; name an audio file, or delete the row")
        if "\0" in path:  # the name would end there for the system, and be another file's
            table.fail(index, "path", f"{path!r} is no file name; take the NUL out")
        if path in shards:  # which a thousand rows name
            resolved.append(shards[path])
            continue
        full = base / path
        if ".." in path or os.path.isabs(path):  # noqa: PTH117  (a Path is slower)
            full = Path(os.path.normpath(full))
            if not allow_outside and not full.is_relative_to(base):
                table.fail(
                    index,
                    "path",
                    f"'{path}' is outside the folder {base}; move the file there, give another "
                    "root, or allow it with --allow_outside (--config.data.allow_outside=True in "
                    "training)",
                )
        resolved.append(full)
        if is_shard(path):
            shards[path] = full
    return resolved


def places(table: Table, paths: Sequence[str]) -> list[int | None]:
    """Return the number of every record in its shard, None where the path is no shard's."""
    in_shards = [index for index, path in enumerate(paths) if is_shard(path)]
    places: list[int | None] = [None] * len(table)
    if not in_shards:
        return places
    cells = table.strings("place")
    for index in in_shards:
        if not cells[index].isdecimal():
            table.fail(
                index,
                "place",
                f"'{cells[index]}' is no number of a record in {paths[index]}; count from 0",
            )
        places[index] = int(cells[index])
    return places


def labels(table: Table, column: str, separator: str = "|") -> list[tuple[str, ...]]:
    """Return the labels of every row without repetitions, from text or from lists.

    A table of soft labels can do without the column.

    Args:
        table: the manifest.
        column: its name; `labels` or `label` if empty.
        separator: what stands between labels in text.
    """
    if column and not table.has(column) and table.has(PROBABILITIES):
        return [()] * len(table)
    if not column:
        present = [name for name in ("labels", "label") if table.has(name)]
        if not present:
            return [()] * len(table)
        if len(present) > 1:
            raise ManifestError(
                f"{table.file}: columns 'labels' and 'label' are both there; name the one to use "
                "with --config.data.label_column"
            )
        column = present[0]
    known: dict[str, tuple[str, ...]] = {}
    labels = []
    for index, cell in enumerate(table.cells(column)):
        if isinstance(cell, (list, tuple, np.ndarray)):
            parts = [table.string(part, index, column) for part in cell]
            labels.append(tuple(dict.fromkeys(filter(None, parts))))
            continue
        text = table.string(cell, index, column)
        if text not in known:
            parts = [part.strip() for part in text.split(separator)]
            known[text] = tuple(dict.fromkeys(filter(None, parts)))
        labels.append(known[text])
    return labels


def soft_labels(
    table: Table, labels: list[tuple[str, ...]]
) -> tuple[list[tuple[str, ...]], list[tuple[float, ...]]]:
    """Return the labels and their probabilities, which are empty where the labels hold.

    Args:
        table: its column `probabilities`, if any, has JSON objects, or objects themselves.
        labels: of every row, that those with probabilities have instead.

    Raises:
        ManifestError: a cell is no object of numbers from 0 to 1 by label.
    """
    shares: list[tuple[float, ...]] = [()] * len(table)
    if not table.has(PROBABILITIES):
        return labels, shares
    labels, known = list(labels), {}
    for index, cell in enumerate(table.cells(PROBABILITIES)):
        values = cell if isinstance(cell, dict) else table.string(cell, index, PROBABILITIES)
        if not values:
            continue
        if isinstance(values, str):
            try:
                values = json.loads(values)
            except json.JSONDecodeError as error:
                table.fail(index, PROBABILITIES, f"no JSON ({error.msg}); see pseudo_label")
        if not isinstance(values, dict) or not all(map(_is_share, values.values())):
            table.fail(
                index, PROBABILITIES, 'not of the form {"label": probability}, each from 0 to 1'
            )
        names = tuple(values)
        # One tuple for all rows: there can be half a million.
        labels[index] = known.setdefault(names, names)
        shares[index] = tuple(map(float, values.values()))
    return labels, shares


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def held_out(table: Table, hold_out: str) -> list[bool]:
    """Say which rows have the held-out value."""
    column, _, value = (part.strip() for part in hold_out.partition("="))
    if not column or not value:
        raise ManifestError(f"{table.file}: hold_out '{hold_out}' is not of the form column=value")
    values = table.strings(column)
    if value not in values:
        present = sorted(set(values))
        more = f", ... ({len(present)} in all)" if len(present) > 8 else ""
        raise ManifestError(
            f"{table.file}, field '{column}': no row has the held-out value '{value}'; choose one "
            f"of {', '.join(present[:8])}{more}"
        )
    return [own == value for own in values]
