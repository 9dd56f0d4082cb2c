"""Files of tables -> data frames, with the number of each row: CSV, TSV, JSON and Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lazy_loader as lazy
import numpy as np
import pyarrow
from pyarrow import compute, parquet

from atbert_jax.input_pipeline.text.visible import visible

pd = lazy.load("pandas")  # takes a second to import, and predicting seldom reads a table

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
# Of the folder of a data set: its files by split, and our names of their columns.
_SPLIT_FILES = {split: f"dataset_{split}.json" for split in ("train", "val", "test")}
_COLUMNS = {"audio_id": "id", "caption": "text", "audio_path": "path"}

# What a table can be, unpacked: a file of a few MB can ask for all memory there is.
MOST_COLUMNS, LARGEST = 10_000, 2 << 30
# Rows that are unpacked at once.
BATCH = 256

# Characters; the file is named at the beginning, and the way out at the end.
_LONGEST_ERROR = 1000


class ManifestError(ValueError):
    """A table that cannot be used: one line with the file, the row, the field and the way out."""

    def __init__(self, message: str) -> None:
        """Keep to one line that can be read, whatever a cell or a name of a column holds."""
        line = visible(" ".join(message.splitlines()))
        long = len(line) > _LONGEST_ERROR
        super().__init__(f"{line[: _LONGEST_ERROR - 300]} ... {line[-300:]}" if long else line)


def whole(number: Any) -> Any:
    """A float that is a whole number as that, others as they are.

    Tables have floats where a column of whole numbers lacks some: a label 1 is no label 1.0.
    """
    is_whole = isinstance(number, float | np.floating) and abs(number) < 2**53
    return int(number) if is_whole and number == int(number) else number


def read(file: Path) -> pd.DataFrame:
    """Read a table file; the index holds row numbers."""
    if file.is_dir():
        return _read_folder(file)
    kind = file.suffix.lower()
    if not (kind in _SEPARATORS or kind in _JSON_LINES or kind in (".json", ".parquet")):
        raise ManifestError(
            f"{file}: unknown table extension '{file.suffix}'; "
            "use .csv, .tsv, .json, .jsonl, .ndjson or .parquet"
        )
    if not file.is_file():
        raise ManifestError(f"{file}: no such file; check the path of the manifest")
    try:
        if kind in _SEPARATORS:
            return _read_delimited(file, _SEPARATORS[kind])
        if kind == ".parquet":
            return _read_parquet(file)
        return _read_json(file, lines=kind in _JSON_LINES)
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{file}, row {_undecodable_row(file)}: not UTF-8 text ({error.reason}); "
            "save the table again with encoding UTF-8"
        ) from error


def _read_delimited(file: Path, separator: str) -> pd.DataFrame:
    """Read CSV or TSV; the header is read as a row, so that no row can be wider than it."""
    text = file.read_bytes().decode("utf-8-sig")  # with the line ends that it has
    _require_size(file, text.partition("\n")[0].count(separator) + 1, 0)
    quoting = csv.QUOTE_MINIMAL
    if '"' in text and not _has_sound_quotes(file, text, separator):
        quoting = csv.QUOTE_NONE
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=None,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            skip_blank_lines=False,
            quoting=quoting,
        )
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        reason = reason.replace("EOF", "end of file")
        hint = separator_hint(text.partition("\n")[0]) if separator == "," else ""
        hint = hint or "put quotes around fields that contain the separator, and close every quote"
        raise ManifestError(
            f"{file}{_parser_row(reason)}: {reason[0].lower()}{reason[1:]}; {hint}"
        ) from error
    if quoting == csv.QUOTE_NONE:
        frame = frame.map(_unquoted)
    header = [name.strip() for name in frame.iloc[0]]
    _refuse_twice(header, f"{file}, row 1")
    frame = frame.iloc[1:].set_axis(header, axis=1)
    frame.index = pd.RangeIndex(2, 2 + len(frame))
    blank = frame[header[0]] == ""
    blank[blank] = (frame[blank] == "").all(axis=1)
    return frame[~blank]


def separator_hint(header: str) -> str:
    """What to do about a header with other separators than commas; '' if it has none."""
    if "," in header or not (";" in header or "\t" in header):
        return ""
    if "\t" in header:
        return "its fields are separated by tabs: call it .tsv"
    return "its fields are separated by semicolons: save it with commas, and with points in numbers"


def _has_sound_quotes(file: Path, text: str, separator: str) -> bool:
    """Whether quotes enclose whole fields; False where they are letters as any other.

    A quote that somebody forgot to close runs on to the next one, and swallows rows on its way.
    TSV is written without quoting as well, and then each line is a row.

    Raises:
        ManifestError: a quote does not close where a field ends, or has swallowed rows.
    """
    csv.field_size_limit(2**31 - 1)
    lines = re.split(r"\r\n|\r|\n", text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header, before, problem = [], 0, ""
    try:
        for row in reader:
            header = header or [name.strip() for name in row]
            if _are_rows(lines[before : reader.line_num], separator, header):
                problem = f"a quote opens here that closes in row {reader.line_num} only"
                break
            before = reader.line_num
    except csv.Error as error:
        reason = str(error).replace("'", "")
        problem = f"a quote opens a field and does not close at its end ({reason})"
    if not problem:
        return True
    if separator == "\t" and len({line.count(separator) for line in filter(None, lines)}) == 1:
        return False
    raise ManifestError(
        f"{file}, row {before + 1}: {problem}; close it, or write a quote that is a letter as two,"
        " in a field that quotes enclose"
    )


def _are_rows(lines: Sequence[str], separator: str, header: Sequence[str]) -> bool:
    """Whether each of several lines is a row by itself: as wide as all, with a file of one kind."""
    if len(lines) < 2 or any(line.count(separator) != len(header) - 1 for line in lines):
        return False
    place = next((n for n, name in enumerate(header) if name in ("path", "file_path")), 0)
    kinds = {Path(line.split(separator)[place].strip('" ')).suffix.lower() for line in lines}
    return len(kinds) == 1 and kinds != {""}


def _unquoted(cell: str) -> str:
    """A cell without the quotes that enclose all of it."""
    inner = cell[1:-1]
    enclosed = len(cell) > 1 and cell[0] == cell[-1] == '"'
    if not enclosed or '"' in inner.replace('""', ""):
        return cell
    return inner.replace('""', '"')


def _refuse_twice(names: list[str], where: str) -> None:
    """Refuse columns of the same name."""
    name, count = max(Counter(names).items(), key=lambda pair: pair[1], default=("", 0))
    if count > 1:
        raise ManifestError(f"{where}: several columns '{name}'; rename all but one")


def _read_json(file: Path, *, lines: bool) -> pd.DataFrame:
    """Read a list of objects, or an object per line; values keep their JSON types."""
    text = file.read_text(encoding="utf-8-sig")
    if lines:
        numbered = [(row, line) for row, line in enumerate(text.split("\n"), 1) if line.strip()]
        rows = [row for row, _ in numbered]
        items = [_parse(file, line, row) for row, line in numbered]
    else:
        items = _parse(file, text, None) if text.strip() else []
        if not isinstance(items, list):
            raise ManifestError(f"{file}: not a list of objects; write [{{...}}, {{...}}]")
        rows = list(range(1, len(items) + 1))
    for row, item in zip(rows, items, strict=True):
        if not isinstance(item, dict):
            raise ManifestError(f'{file}, row {row}: not an object; write {{"path": ..., ...}}')
        try:
            "".join(item).encode()
        except UnicodeEncodeError as error:
            raise ManifestError(
                f"{file}, row {row}: a field's name is no text ({error.reason}); write it as UTF-8"
            ) from error
    return pd.DataFrame(items, index=rows, dtype=object)


def _read_folder(folder: Path) -> pd.DataFrame:
    """Read the folder of a data set; ids that occur again get a number."""
    files = {split: folder / name for split, name in _SPLIT_FILES.items()}
    if not files["train"].is_file():
        raise ManifestError(
            f"{folder}: a folder without {files['train'].name}; give a table, or a folder with"
            f" {', '.join(_SPLIT_FILES.values())} and a folder 'audio'"
        )
    frames = []
    for split, file in files.items():
        if file.is_file():
            frame = read(file).rename(columns=_COLUMNS).assign(split=split)
            frames.append(frame.set_axis([f"{row} of {file.name}" for row in frame.index]))
    frame = pd.concat(frames)
    if "id" in frame:
        seen: Counter[str] = Counter()
        ids = []
        for given in frame["id"].astype(str):
            seen[given] += 1
            ids.append(given if seen[given] == 1 else f"{given}#{seen[given]}")
        frame["id"] = ids
    return frame


def _parse(file: Path, text: str, row: int | None) -> Any:
    """Parse JSON text; `row` is its line in a JSON Lines file."""
    try:
        return json.loads(text, parse_float=lambda number: whole(float(number)))
    except json.JSONDecodeError as error:
        where = f"row {row}" if row else f"line {error.lineno}"
        raise ManifestError(
            f"{file}, {where}: not JSON ({error.msg} at column {error.colno}); correct it"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, deep nesting
        where = f", row {row}" if row else ""
        reason = str(error).partition(";")[0]
        raise ManifestError(f"{file}{where}: not usable as JSON ({reason}); correct it") from error


def _read_parquet(file: Path) -> pd.DataFrame:
    """Read Parquet; Arrow types keep whole numbers whole where cells are missing.

    What pandas wrote about itself is left alone: the columns are there without it, be it damaged,
    and an index is a column as any other.
    """
    try:
        opened = parquet.ParquetFile(file)
        about = opened.metadata
        parts = (about.row_group(part).total_byte_size for part in range(about.num_row_groups))
        _require_size(file, about.num_columns, sum(parts))
        batches, size = [], 0
        for batch in opened.iter_batches(BATCH):
            batch.validate(full=True)
            batches.append(batch)
            size += _unpacked(batch)
            _require_size(file, 0, size)
        schema = opened.schema_arrow.remove_metadata()
        batches = [batch.replace_schema_metadata(None) for batch in batches]
        table = pyarrow.Table.from_batches(batches, schema)
    except ManifestError:
        raise
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ManifestError(f"{file}: not a Parquet table ({reason}); write it again") from error
    _refuse_twice(table.column_names, str(file))
    for index, column in enumerate(table.columns):
        if column.type in (pyarrow.float32(), pyarrow.float64()):
            table = table.set_column(index, table.field(index).name, _whole_column(column))
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    frame.index = pd.RangeIndex(1, 1 + len(frame))
    return frame


def _unpacked(batch: pyarrow.RecordBatch) -> int:
    """Bytes of a batch whose cells share no text, as those of dictionaries do."""
    size = batch.nbytes
    for column in batch.columns:
        if not pyarrow.types.is_dictionary(column.type):
            continue
        kind = column.type.value_type
        if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
            lengths = compute.binary_length(column.dictionary)
            size += compute.sum(lengths.take(column.indices).cast(pyarrow.int64())).as_py() or 0
    return size


def _require_size(file: Path, columns: int, size: int) -> None:
    """Refuses a table that wants far more memory than any manifest: damage, or malice."""
    if columns > MOST_COLUMNS:
        raise ManifestError(
            f"{file}: has {columns:,} columns, more than {MOST_COLUMNS:,}; leave those out that"
            " nobody reads"
        )
    if size > LARGEST:
        raise ManifestError(
            f"{file}: holds more than {LARGEST >> 20:,} MiB, unpacked; write several tables, and"
            " leave out columns that nobody reads"
        )


def _whole_column(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """A column of floats as whole numbers, where it has no others (see `whole`)."""
    known = compute.if_else(compute.is_nan(column), None, column)
    is_whole = compute.and_(
        compute.equal(compute.floor(known), known), compute.less(compute.abs(known), 2.0**53)
    )
    return known.cast(pyarrow.int64()) if compute.all(is_whole).as_py() else column


def _parser_row(reason: str) -> str:
    """Turn the parser's "in line 3" (from 1) or "at row 1" (from 0) into ", row N"."""
    if found := re.search(r"in line (\d+)", reason):
        return f", row {found[1]}"
    found = re.search(r"at row (\d+)", reason)
    return f", row {int(found[1]) + 1}" if found else ""


def _undecodable_row(file: Path) -> int:
    """Return the line with the first byte that is not UTF-8."""
    data = file.read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return 1
