"""The layout of M3BERT: CSV files, one for each set, of `.npy` frames, with columns of its tasks.

The columns are `file_path`, `length` (frames), and of the tasks any of `genre` (GTZAN), `moodtheme`
(MTG-Jamendo), `RWC` (instruments), `eb` (Extended Ballroom) and `AV` (DEAM). Several labels, and
arousal and valence, have a slash between them; 0.0/0.0 is unknown. The variant is the task whose
records are taken; 'tasks' takes all, for pre-training and for several tasks at once.
"""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, read_table
from atbert_jax.input_pipeline.manifest.split_names import SPLITS
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

LABELS = {
    "genre": "single_label",
    "moodtheme": "multi_label",
    "RWC": "multi_label",
    "eb": "single_label",
}
VARIANTS = ("tasks", *LABELS, "AV")
TARGETS = ("arousal", "valence")


def read(root: Path, variant: str) -> Corpus:
    """Reads the folder's CSV files with `file_path`; their names begin or end with the split.

    Raises:
        ManifestError: if there is none, or none has the task.
    """
    tables = {file: read_table(file) for file in sorted(root.glob("*.csv"))}
    sets = [
        table.assign(split=_split(file.stem))
        for file, table in tables.items()
        if "file_path" in table
    ]
    if not sets:
        raise ManifestError(f"{root}: has no CSV file with file_path and the tasks' columns")
    table = _joined(pd.concat(sets, ignore_index=True).fillna(""), root)
    if variant != "tasks" and variant not in table:
        raise ManifestError(f"{root}: none of its CSV files has the column '{variant}' of the task")
    table = table.rename(columns={"file_path": "path", "length": "frames"})
    for column in LABELS:
        if column in table:
            table[column] = table[column].str.replace("/", "|")
    if "AV" in table:
        known = table["AV"].where(table["AV"] != "0.0/0.0", "")
        table[list(TARGETS)] = [[*cell.split("/"), ""][:2] for cell in known]
        table = table.drop(columns="AV")
    if variant == "tasks":
        return Corpus.of_files(root, table)
    if variant == "AV":
        rows = table[table["arousal"] != ""]
        return Corpus.of_files(root, rows, task="regression", targets=TARGETS)
    rows = table[table[variant] != ""]
    rows = rows.drop(columns="label", errors="ignore").assign(labels=rows[variant])
    names = sorted({name for cell in rows["labels"].unique() for name in cell.split("|")})
    return Corpus.of_files(root, rows, labels=tuple(names), task=LABELS[variant])


def _joined(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """One row for each file, with what the rows of its sets tell.

    Raises:
        ManifestError: if two of them contradict each other.
    """
    told = table.where(table != "").groupby("file_path", sort=False)
    counts = told.nunique()
    for column in counts.columns[(counts > 1).any()]:
        file = counts.index[counts[column] > 1][0]
        values = told.get_group(file)[column].dropna().unique()
        raise ManifestError(
            f"{root}: '{file}' has {' and '.join(map(repr, values))} as {column} in its sets; keep"
            " one of them"
        )
    return told.first().reset_index().fillna("")


def _split(name: str) -> str:
    """The split that a set's name tells, as in 'train', 'fma_train' and 'dev-clean'; or ''."""
    words = name.lower().replace("-", "_").split("_")
    return SPLITS.get(words[0]) or SPLITS.get(words[-1], "")
