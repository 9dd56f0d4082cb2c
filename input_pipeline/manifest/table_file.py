"""Table files to checked columns: CSV, TSV, JSON, JSON Lines and Parquet, with row numbers.

A folder with `dataset_train.json` and, if any, `dataset_val.json` and `dataset_test.json` is a
table, too: the layout of MuLaP's data sets.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import lazy_loader as lazy
import numpy as np
import pyarrow
from pyarrow import parquet

pd = lazy.load("pandas")  # takes a second to import, and predicting seldom reads a table

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
# Of the folder of a data set: its files by split, and our names of their columns.
_SPLIT_FILES = {split: f"dataset_{split}.json" for split in ("train", "val", "test")}
_COLUMNS = {"audio_id": "id", "caption": "text", "audio_path": "path"}

# Characters; the file is named at the beginning, and the way out at the end.
_LONGEST_ERROR = 1000


class ManifestError(ValueError):
    """A table that cannot be used: one line with the file, the row, the field and the way out."""

    def __init__(self, message: str) -> None:
        """Keep to one line that can be read, whatever a cell or a name of a column holds."""
        line = " ".join(message.splitlines())
        long = len(line) > _LONGEST_ERROR
        super().__init__(f"{line[: _LONGEST_ERROR - 300]} ... {line[-300:]}" if long else line)


class Table:
    """The rows of a table file and their checked columns.

    Rows count from 1 in errors: the header of a CSV or TSV is row 1, a row of JSON Lines is its
    line, and JSON and Parquet have no header, so that their first record is row 1.

    Attributes:
        file: the table's path, for errors.
        root: the folder that its audio paths start from: its own, or `audio` in that of a data set.
    """

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            ManifestError: the file is missing, empty, not readable as what its name says, or has
                an unknown extension.
        """
        self.file = file
        self.root = file / "audio" if file.is_dir() else file.parent
        self._frame = _read(file)
        if self._frame.empty:
            raise ManifestError(f"{file}: the table has no rows; add at least one")

    def __len__(self) -> int:
        return len(self._frame)

    def row(self, index: int) -> int | str:
        """Return the number of the row at a position (0-based) as a person counts it."""
        return self._frame.index[index]

    def has(self, column: str) -> bool:
        """Say whether the table has this column."""
        return column in self._frame.columns

    def rename(self, column: str, name: str) -> None:
        """Give a column another name, where there is such a column and none of that name yet."""
        if self.has(column) and not self.has(name):
            self._frame = self._frame.rename(columns={column: name})

    def write(
        self,
        file: Path,
        rows: Sequence[int],
        changed: Mapping[str, Sequence[Any]],
        without: Sequence[str] = (),
    ) -> None:
        """Write some rows as CSV.

        Args:
            file: where to.
            rows: their positions, from 0.
            changed: new columns, or new cells of old ones.
            without: columns to leave out.
        """
        frame = self._frame.assign(**changed).drop(columns=list(without), errors="ignore")
        frame.iloc[rows].map(_as_text).to_csv(file, index=False)

    def as_text(self) -> pd.DataFrame:
        """Return all cells as CSV can hold them."""
        return self._frame.map(_as_text)

    def fail(self, index: int, column: str, problem: str) -> NoReturn:
        """Raise a ManifestError for one cell."""
        raise ManifestError(f"{self.file}, row {self.row(index)}, field '{column}': {problem}")

    def cells(self, column: str) -> list[Any]:
        """Return a column as it was read.

        Raises:
            ManifestError: there is no such column; says which there are.
        """
        if not self.has(column):
            names = [str(name) for name in self._frame.columns]
            hint = "; separate fields with commas" if len(names) == 1 and ";" in names[0] else ""
            raise ManifestError(
                f"{self.file}: no column '{column}' (columns: {', '.join(names)}){hint or '; '}"
                f"{'' if hint else 'add it, or name one of these'}"
            )
        return self._frame[column].tolist()

    def strings(self, column: str, *, required: bool = True) -> list[str]:
        """Return a column as text without outer whitespace, "" where a cell is empty.

        Args:
            column: its name.
            required: False gives empty text for a column that does not exist.

        Raises:
            ManifestError: the column is missing, or a cell is a list, an object or no text.
        """
        if not required and not self.has(column):
            return [""] * len(self)
        return [
            cell.strip()
            if type(cell) is str and cell.isascii()
            else self.string(cell, index, column)
            for index, cell in enumerate(self.cells(column))
        ]

    def string(self, cell: Any, index: int, column: str) -> str:
        """Return one cell as text; `index` and `column` are for the error."""
        if isinstance(cell, (list, tuple, dict, bytes, np.ndarray)):
            self.fail(index, column, f"expected text or a number, got a {type(cell).__name__}")
        if not isinstance(cell, str):
            return "" if pd.isna(cell) else str(cell).strip()
        try:
            cell.encode()
        except UnicodeEncodeError as error:  # JSON can escape halves of characters
            self.fail(index, column, f"{cell!a} is no text ({error.reason}); write it as UTF-8")
        return cell.strip()

    def numbers(self, column: str, *, required: bool = True) -> list[float]:
        """Return a column as finite numbers, NaN where a cell is empty or "nan".

        Args:
            column: its name.
            required: False gives NaN for a column that does not exist.

        Raises:
            ManifestError: the column is missing, or a cell is not a finite number.
        """
        numbers = []
        for index, cell in enumerate(self.strings(column, required=required)):
            try:
                number = float(cell) if cell else math.nan
            except ValueError:
                self.fail(index, column, f"'{cell}' is not a number; correct it, or leave it empty")
            if math.isinf(number):
                self.fail(index, column, f"{cell} is not finite; correct it, or leave it empty")
            numbers.append(number)
        return numbers


def _as_text(cell: Any) -> Any:
    """A cell as CSV can hold it: lists as labels are written there, objects as JSON."""
    if isinstance(cell, (list, tuple, np.ndarray)):
        return "|".join(map(str, cell))
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, dict) else cell


def _read(file: Path) -> pd.DataFrame:
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
    try:
        frame = pd.read_csv(
            file,
            sep=separator,
            header=None,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        )
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        reason = reason.replace("EOF", "end of file")
        raise ManifestError(
            f"{file}{_parser_row(reason)}: {reason[0].lower()}{reason[1:]}; put quotes around "
            "fields that contain the separator, and close every quote"
        ) from error
    header = [name.strip() for name in frame.iloc[0]]
    _refuse_twice(header, f"{file}, row 1")
    frame = frame.iloc[1:].set_axis(header, axis=1)
    frame.index = pd.RangeIndex(2, 2 + len(frame))
    blank = frame[header[0]] == ""
    blank[blank] = (frame[blank] == "").all(axis=1)
    return frame[~blank]


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
            frame = _read(file).rename(columns=_COLUMNS).assign(split=split)
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
        return json.loads(text)
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
        table = parquet.ParquetFile(file).read().replace_schema_metadata(None)
        table.validate(full=True)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ManifestError(f"{file}: not a Parquet table ({reason}); write it again") from error
    _refuse_twice(table.column_names, str(file))
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    frame.index = pd.RangeIndex(1, 1 + len(frame))
    return frame


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
