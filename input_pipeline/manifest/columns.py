"""The columns of a manifest: paths, ids, times, labels and held-out rows, each checked."""

from __future__ import annotations

import ast
import json
import logging
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atbert_jax.input_pipeline.manifest.places import Root, misread
from atbert_jax.input_pipeline.manifest.shards import is_shard
from atbert_jax.input_pipeline.manifest.table_file import ManifestError, Table
from atbert_jax.input_pipeline.text.visible import tidy

PROBABILITIES = "probabilities"
# A duration and an end that differ by no more say the same.
SAME_SECONDS = 0.01
# What other tables call the times of a clip.
OTHER_TIMES = ("start_time", "end_time", "start_s", "end_s", "begin", "stop", "onset", "offset")

# Of paths that may be meant for a shell, for another system or for the web.
_ODD = re.compile(r"[\\$~:]")
_BRACKETS = re.compile(r"\[.*\]|\(.*\)|\{.*\}", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_NUMBER = re.compile(r"[-+]?[0-9.]+(?:e[-+]?[0-9]+)?", re.IGNORECASE)


def starts(table: Table) -> list[float]:
    """Return the start of every row in seconds, 0 where the cell is empty."""
    starts = [
        0.0 if math.isnan(start) else start for start in table.numbers("start", required=False)
    ]
    for index, start in enumerate(starts):
        if start < 0:
            table.fail(index, "start", f"{start} s is before the file begins; give 0 or more")
    return starts


def durations(table: Table, starts: Sequence[float]) -> list[float | None]:
    """Return the duration of every row in seconds, None where neither it nor an end is given.

    Args:
        table: the manifest, with a column `duration`, or `end` in seconds from the file's begin.
        starts: of every row.
    """
    durations = table.numbers("duration", required=False)
    for index, duration in enumerate(durations):
        if duration <= 0:
            table.fail(
                index, "duration", f"{duration} s is no length; give more than 0, or leave it empty"
            )
    for index, end in enumerate(table.numbers("end", required=False)):
        if math.isnan(end):
            continue
        length = round(end - starts[index], 9)
        if length <= 0:
            table.fail(index, "end", f"{end} s is not behind the start, {starts[index]} s")
        if abs(length - durations[index]) > SAME_SECONDS:
            table.fail(
                index,
                "end",
                f"{end} s is {length} s behind the start, but field 'duration' says"
                f" {durations[index]} s; leave one of the two empty",
            )
        durations[index] = length
    return [None if math.isnan(duration) else duration for duration in durations]


def warn_of_times(table: Table) -> None:
    """Name the columns that others' tables have for what is `start` and `end` here."""
    if any(map(table.has, ("start", "end", "duration"))):
        return
    if found := [name for name in OTHER_TIMES if table.has(name)]:
        logging.getLogger(__name__).warning(
            "%s: column %s is not read, and whole files are heard; call the begin of a clip in"
            " seconds `start`, and its end `end` (or its length `duration`)",
            table.file,
            ", ".join(found),
        )


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
    """Return absolute paths, which lead out of the root only where that is allowed.

    Only folders are asked for the links in them; a call a row would take minutes on a network disk.
    """
    inside = Root(root)
    base = inside.path
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
        if _ODD.search(path) and (reason := misread(path, full)):
            table.fail(index, "path", f"{path}: {reason}")
        if not allow_outside and not inside.holds(full):
            link = " by a link" if full.is_relative_to(base) else ""
            table.fail(
                index,
                "path",
                f"'{path}' is outside the folder {base}{link}; move the file there, give another "
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
            parts = [tidy(table.string(part, index, column)) for part in cell]
            labels.append(tuple(dict.fromkeys(filter(None, parts))))
            continue
        text = table.string(cell, index, column)
        if text not in known:
            parts = _listed(text)
            if parts is None:
                table.fail(
                    index,
                    column,
                    f"{text} looks like a list and is none; write the labels as"
                    f" rock{separator}pop, or as ['rock', 'pop']",
                )
            parts = map(tidy, parts or text.split(separator))
            known[text] = tuple(dict.fromkeys(filter(None, parts)))
        labels.append(known[text])
    return labels


def _listed(text: str) -> list[str] | None:
    """The items of a list as Python or NumPy writes it; [] of other text, None of half a list.

    Brackets around what has no quotation marks are part of a name, as in `[live]`.
    """
    if not _BRACKETS.fullmatch(text):
        return []
    inner = text[1:-1].strip()
    if text[0] == "[":
        parts = re.split(r"[\s,]+", inner.strip(", "))
        if not inner or all(map(_NUMBER.fullmatch, parts)):
            return parts
    if not inner.startswith(("'", '"')):
        return []
    items = [] if _QUOTED.sub("", inner).strip(", \n") else _QUOTED.findall(inner)
    try:
        found = [str(ast.literal_eval(item)) for item in items]
    except (ValueError, SyntaxError):
        found = []
    return found or (None if text[0] == "[" else [])


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
        names = tuple(map(tidy, values))
        if len(set(names)) < len(names):
            table.fail(index, PROBABILITIES, "names a label twice; leave out one of them")
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
    values, value = list(map(tidy, table.strings(column))), tidy(value)
    if value not in values:
        present = sorted(set(values))
        more = f", ... ({len(present)} in all)" if len(present) > 8 else ""
        raise ManifestError(
            f"{table.file}, field '{column}': no row has the held-out value '{value}'; choose one "
            f"of {', '.join(present[:8])}{more}"
        )
    return [own == value for own in values]
