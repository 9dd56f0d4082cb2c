"""Table files to checked columns: CSV, TSV, JSON, JSON Lines and Parquet, with row numbers.

A folder with `dataset_train.json` and, if any, `dataset_val.json` and `dataset_test.json` is a
table, too: the layout of MuLaP's data sets.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import lazy_loader as lazy
import numpy as np

from atbert_jax.input_pipeline.manifest.table_formats import (
    ManifestError,
    read,
    separator_hint,
    whole,
)

pd = lazy.load("pandas")  # takes a second to import, and predicting seldom reads a table


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
        self._frame = read(file)
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
            hint = separator_hint(names[0]) if len(names) == 1 else ""
            raise ManifestError(
                f"{self.file}: no column '{column}' (columns: {', '.join(names)}); "
                f"{hint or 'add it, or name one of these'}"
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
            if isinstance(cell, numbers.Real):
                cell = whole(cell)
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
        found = []
        for index, cell in enumerate(self.strings(column, required=required)):
            try:
                number = float(cell) if cell else math.nan
            except ValueError:
                self.fail(index, column, f"'{cell}' is not a number; correct it, or leave it empty")
            if math.isinf(number):
                self.fail(index, column, f"{cell} is not finite; correct it, or leave it empty")
            found.append(number)
        return found


def _as_text(cell: Any) -> Any:
    """A cell as CSV can hold it: lists as labels are written there, objects as JSON."""
    if isinstance(cell, (list, tuple, np.ndarray)):
        cell = "|".join(map(str, cell))
    elif isinstance(cell, dict):
        cell = json.dumps(cell, ensure_ascii=False)
    # JSON can escape halves of characters.
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell
