"""What an adapter makes of a corpus, and what the adapters share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pandas as pd

from atbert_jax.input_pipeline.manifest.places import Root
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

# Why a file is left out.
OUTSIDE = "leads out of the corpus' folder; allow it with --allow_outside"


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The records of a corpus, as a manifest has them.

    Attributes:
        rows: One row a record; columns as in a manifest (see `sources`). `path` is relative to the
            corpus' folder, or absolute.
        labels: Names in the official order; empty if there is none.
        task: 'single_label', 'multi_label', 'regression', or '' where nothing is to be predicted.
        targets: Columns with the numbers of a regression.
        published: How many records of each split a complete copy has, where that is known; under
            '' of all splits.
        left_out: Why, by path of the files that the corpus names and `rows` does not.
    """

    rows: pd.DataFrame
    labels: tuple[str, ...] = ()
    task: str = ""
    targets: tuple[str, ...] = ()
    published: Mapping[str, int] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_files(
        cls,
        root: Path,
        rows: pd.DataFrame,
        *,
        suffixes: Sequence[str] = ("",),
        bad: Mapping[str, str] | None = None,
        published: Mapping[str, int] | None = None,
        **fields: Any,
    ) -> Self:
        """A corpus without the records whose file is known to be bad, or is not there.

        Only folders are asked what they hold: a call a file takes minutes on a network disk.

        Args:
            root: What the paths are relative to.
            rows: All records that the corpus names.
            suffixes: What its paths can end with, as copies differ: the first that is there.
            bad: Why a file cannot be used, by path.
            published: As above, with the bad ones.
            fields: The others as above.

        Raises:
            ManifestError: if none of the files is there.
        """
        bad, held, reasons, paths = bad or {}, {}, {}, []
        for path in rows["path"]:
            folder, _, name = path.rpartition("/")
            if folder not in held:
                held[folder] = _names(root / folder)
            suffix = next((s for s in suffixes if name + s in held[folder]), None)
            paths.append(path + (suffixes[0] if suffix is None else suffix))
            if paths[-1] in bad or suffix is None:
                reasons[paths[-1]] = bad.get(paths[-1], "no such file")
        rows = rows.assign(path=paths)
        kept = rows[~rows["path"].isin(reasons)].reset_index(drop=True)
        if kept.empty:
            example = root / paths[0] if paths else root
            raise ManifestError(
                f"{root}: none of the {len(paths)} audio files that the corpus names is there, such"
                f" as {example}; unpack its audio there"
            )
        sizes, bad_sizes = dict(published or {}), _sizes(rows[rows["path"].isin(bad)])
        complete = {split: size - bad_sizes.get(split, 0) for split, size in sizes.items()}
        return cls(kept, left_out=reasons, published=complete, **fields)

    def inside(self, root: Path) -> Self:
        """The corpus without the files that links lead to out of its folder.

        Raises:
            ManifestError: if none is left.
        """
        folder = Root(root)
        stays = [folder.holds(folder.path / path) for path in self.rows["path"]]
        if all(stays):
            return self
        outside = [path for path, is_in in zip(self.rows["path"], stays, strict=True) if not is_in]
        if not any(stays):
            raise ManifestError(
                f"{root}: links lead out of it, as {outside[0]}; allow that with --allow_outside"
            )
        reasons = dict.fromkeys(outside, OUTSIDE)
        kept = self.rows[stays].reset_index(drop=True)
        return dataclasses.replace(self, rows=kept, left_out=self.left_out | reasons)

    @property
    def sizes(self) -> dict[str, int]:
        """How many records each split has, and under '' all together."""
        return _sizes(self.rows)

    @property
    def deviations(self) -> list[str]:
        """Where the sizes of the splits are not the published ones, with both numbers."""
        sizes, found = self.sizes, []
        for split, count in self.published.items():
            if sizes.get(split, 0) != count:
                which = f"split '{split}'" if split else "the corpus"
                found.append(
                    f"{which} has {sizes.get(split, 0)} records, a complete copy has {count}"
                )
        return found


def _sizes(rows: pd.DataFrame) -> dict[str, int]:
    splits = rows["split"].value_counts().to_dict() if "split" in rows else {}
    return {"": len(rows)} | splits


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208  (a Path for each takes long)
    except OSError:
        return set()


def folder_of(root: Path, *folders: str) -> str:
    """The first of the folders that is there, as what paths within it begin with; else the first.

    Copies of a corpus differ in what its archives are unpacked into.
    """
    found = next((folder for folder in folders if (root / folder).is_dir()), folders[0])
    return f"{found}/" if found else ""


def require(root: Path, files: Mapping[str, str]) -> None:
    """Refuses a layout that lacks some of its files or folders.

    Args:
        root: The corpus' folder.
        files: Where people get each of them, by path within the folder.

    Raises:
        ManifestError: naming all that are missing.
    """
    missing = [f"{file} ({where})" for file, where in files.items() if not (root / file).exists()]
    if missing:
        raise ManifestError(
            f"{root}: the official layout lacks {'; '.join(missing)}; put it there, or give the"
            " folder that has it with --root"
        )


def read_table(file: Path, columns: Sequence[str] = (), **options: Any) -> pd.DataFrame:
    """Reads a table of a corpus; all cells are text, '' where empty.

    Args:
        file: CSV, or TSV where its name ends so.
        columns: That it must have.
        options: Of `pandas.read_csv`.

    Raises:
        ManifestError: if it is not readable as such a table, or has not these columns.
    """
    settings = {
        "sep": "\t" if file.suffix == ".tsv" else ",",
        "dtype": str,
        "keep_default_na": False,
        "encoding": "utf-8-sig",
    }
    try:
        table = pd.read_csv(file, **settings | options).fillna("")  # where rows are short
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise ManifestError(f"{file}: not the corpus' table ({error}); get it anew") from error
    if missing := [column for column in columns if column not in table]:
        raise ManifestError(
            f"{file}: has no column '{missing[0]}' (columns: {', '.join(map(str, table.columns))});"
            " it is not the official table, get that"
        )
    return table


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        ManifestError: if it is no UTF-8 text.
    """
    try:
        return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (UnicodeDecodeError, OSError) as error:
        raise ManifestError(f"{file}: not readable as text ({error}); get it anew") from None
