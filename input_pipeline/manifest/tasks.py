"""Several tasks on the same records, of which each may lack the labels of any."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from atbert_jax import choices
from atbert_jax.input_pipeline.manifest import columns
from atbert_jax.input_pipeline.manifest.table_file import ManifestError, Table

KINDS = ("single_label", "multi_label", "regression")


@dataclasses.dataclass(frozen=True)
class Task:
    """One of several tasks.

    An empty cell is a label that nobody knows, so the record takes no part in the task; a number 0
    is a number.

    Attributes:
        name: Of the task and of the objective that learns it.
        kind: 'single_label', 'multi_label' or 'regression'.
        columns: Of the manifest: one of labels, or those of the numbers.
        names: Of the labels, in order, or of the numbers; empty: those of the manifest, and the
            columns' own. Several names with one column of numbers: a cell holds them all, with the
            separator between them.

    Raises:
        ManifestError: if there is no such kind, or the columns do not suit it.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"config.data.tasks.{self.name}"
        choices.require(f"{where}.kind", self.kind, KINDS, ManifestError)
        if not self.columns or (self.kind != "regression" and len(self.columns) > 1):
            raise ManifestError(
                f"{where}.columns={self.columns}: labels are in one column, numbers in one or more"
            )
        if self.kind == "regression" and len(self.columns) > 1 and self.names:
            raise ManifestError(
                f"{where}.names={self.names} are of numbers in one cell; with several columns,"
                f" {', '.join(self.columns)}, leave them empty"
            )

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the numbers; of labels, nothing."""
        return (self.names or self.columns) if self.kind == "regression" else ()

    def read(self, table: Table, separator: str) -> list[tuple]:
        """Return the labels of every row, empty where unknown, or the targets, NaN where unknown.

        A manifest without the columns knows nothing of the task.

        Args:
            table: The manifest.
            separator: What stands between labels, and between numbers in one cell.

        Raises:
            ManifestError: one of several columns is missing, or a cell is not of the task's kind.
        """
        if not any(map(table.has, self.columns)):
            return [(math.nan,) * len(self.targets)] * len(table)
        if self.kind != "regression":
            return columns.labels(table, self.columns[0], separator)
        if len(self.targets) == len(self.columns):
            return list(zip(*map(table.numbers, self.columns), strict=True))
        (column,) = self.columns
        return [
            self._numbers(table, index, cell, separator)
            for index, cell in enumerate(table.strings(column))
        ]

    def _numbers(self, table: Table, index: int, cell: str, separator: str) -> tuple[float, ...]:
        if not cell:
            return (math.nan,) * len(self.names)
        try:
            numbers = tuple(float(part) for part in cell.split(separator))
        except ValueError:
            numbers = ()
        if len(numbers) != len(self.names) or not all(map(math.isfinite, numbers)):
            table.fail(
                index,
                self.columns[0],
                f"'{cell}' is not {len(self.names)} numbers with {separator!r} between them, for"
                f" {', '.join(self.names)}; correct it, or leave it empty",
            )
        return numbers


def named(given: str | Sequence[object]) -> tuple[str, ...]:
    """The names that a field of a config lists.

    What the command line makes of them are numbers for `0,1`, and one text for `rock,pop`.
    """
    items = (given,) if isinstance(given, str) else tuple(map(str, given))
    if len(items) == 1:
        items = tuple(item.strip() for item in items[0].split(","))
    return tuple(filter(None, items))


def of_config(tasks: Mapping[str, Mapping]) -> tuple[Task, ...]:
    """The tasks of `config.data.tasks`, by name.

    Raises:
        ManifestError: if one is not as it should be.
    """
    return tuple(
        Task(name, settings["kind"], named(settings["columns"]), named(settings["names"]))
        for name, settings in sorted(tasks.items())
    )
