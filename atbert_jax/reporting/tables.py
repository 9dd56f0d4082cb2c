"""A table of results, written once and shown on the terminal and in the report alike."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import Terminal
from atbert_jax.input_pipeline.text.visible import visible

# Columns of a table that is not shown on a terminal.
WIDEST = 1_000_000


@dataclass(frozen=True)
class Sound:
    """A cell that can be listened to on a page, and is the name of its file elsewhere.

    Attributes:
        name: Of the file.
        source: Its address, relative to the page, or the sound itself as one (see `excerpts`);
            empty where there is no file of it alone.
    """

    name: str
    source: str

    @classmethod
    def of(cls, record: Record, folder: Path) -> Sound:
        """What is heard of a record, for a page in a folder.

        No byte of a name is anything but a name in the address. Of a longer file, the player plays
        the record's part. A record of a shard has no file of its own.
        """
        if record.place is not None:
            return cls(record.name, "")
        address = quote(os.fsencode(os.path.relpath(record.path, folder)))
        if record.start or record.duration is not None:
            end = "" if record.duration is None else f",{record.start + record.duration:.3f}"
            address += f"#t={record.start:.3f}{end}"
        return cls(record.name, address)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns: text, numbers, sounds, or None for undefined."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def __post_init__(self) -> None:
        for position, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table '{self.title}', row {position}: {len(row)} cells under "
                    f"{len(self.columns)} columns"
                )

    @property
    def numeric(self) -> list[bool]:
        """For each column whether it holds nothing but numbers, which are aligned to the right."""
        return [
            bool(self.rows) and all(is_number(row[position]) for row in self.rows)
            for position in range(len(self.columns))
        ]


def format_cell(cell: Any) -> str:
    """Returns what people read: four significant digits, a dash for None and for NaN."""
    if cell is None:
        return "–"
    if isinstance(cell, bool | np.bool_):
        return "yes" if cell else "no"
    if isinstance(cell, numbers.Integral):
        return f"{int(cell):,}"
    if isinstance(cell, numbers.Real):
        return _format_real(float(cell))
    return str(cell)


def format_range(low: float, high: float) -> str:
    """Returns an interval as people read it, with three decimals."""
    return f"{low:.3f} to {high:.3f}"


def is_sound(cell: Any) -> bool:
    """Says whether a cell can be listened to."""
    return isinstance(cell, Sound) and bool(cell.source)


def is_number(cell: Any) -> bool:
    """Says whether a cell is aligned as numbers are; an undefined number is one."""
    return cell is None or (isinstance(cell, numbers.Real) and not isinstance(cell, bool))


def print_table(table: Table, console: Console | None = None) -> None:
    """Prints a table; square brackets in cells are text, not markup.

    A terminal folds what is too wide for it. Where the table goes elsewhere, each row is one line
    with whole cells, however long, so that what reads it finds the names.
    """
    console = console or Terminal()
    shown = RichTable()
    for column, numeric in zip(table.columns, table.numeric, strict=True):
        justify = "right" if numeric else "left"
        # Long names go on in the next line; cut off, two of them could look the same.
        shown.add_column(Text(visible(column)), justify=justify, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(visible(format_cell(cell))) for cell in row))
    title, note = visible(table.title), visible(table.note)
    if console.is_terminal:
        shown.title, shown.caption = Text(title), Text(note) if note else None
        console.print(shown)
        return
    options = console.options.update_width(WIDEST)
    width = Measurement.get(console, options, shown).maximum
    lines = console.render_lines(shown, options.update_width(width))
    rows = ["".join(segment.text for segment in line).rstrip() for line in lines]
    for text in (title, *rows, *([note] if note else [])):
        console.print(Text(text, overflow="ignore", no_wrap=True), soft_wrap=True)


def markdown(table: Table) -> str:
    """Returns a table as Markdown, for a README; bars in cells are text, not columns."""

    def line(cells: Sequence[Any]) -> str:
        texts = (visible(format_cell(cell)).replace("|", r"\|") for cell in cells)
        return "| " + " | ".join(texts) + " |"

    rule = "|".join("---:" if numeric else "---" for numeric in table.numeric)
    lines = [line(table.columns), f"|{rule}|", *map(line, table.rows)]
    return "\n".join(
        [f"**{table.title}**", "", *lines, *(["", table.note] if table.note else []), ""]
    )


def _format_real(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    # Scores between 0 and 1 line up with the same number of decimals, large ones need fewer.
    return f"{value:.4f}" if 1e-3 <= abs(value) < 10 or value == 0 else f"{value:,.4g}"
