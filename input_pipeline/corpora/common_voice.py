"""Mozilla Common Voice, scripted speech, any language: the folder of it, or a release with one.

The variant is what the label is: nothing but the transcript, or what the speaker said of their
gender, age or accents. The official splits are used; with '-all' behind the variant the other clips
are there, too, under the splits 'validated', 'other' and 'invalidated', which no training uses
unless it is told to. Speakers are groups: those of test and dev come again in 'validated'.

Columns are read by their names, for older releases say `accent` and have fewer.
"""

import csv
import re
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, read_table, require
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

CHOICES = ("transcript", "gender", "age", "accent")
VARIANTS = (*CHOICES, *(f"{choice}-all" for choice in CHOICES))
SPLITS = {"train": "train", "dev": "val", "test": "test"}
MORE = {name: name for name in ("validated", "other", "invalidated")}
SOURCE = "of the language's archive, https://commonvoice.mozilla.org/datasets"

# As the releases spell them, new and old; of several spellings those that occur are the labels.
ORDER = {
    "gender": (
        *("female_feminine", "male_masculine", "intersex", "transgender", "non-binary"),
        *("do_not_wish_to_say", "female", "male", "other"),
    ),
    "age": (
        *("teens", "twenties", "thirties", "fourties", "fifties"),
        *("sixties", "seventies", "eighties", "nineties"),
    ),
}
# By release and language, from the datasheets.
PUBLISHED = {("24.0", "sv-SE"): {"train": 8192, "val": 5470, "test": 5476}}


def read(root: Path, variant: str) -> Corpus:
    """Reads the tables of the splits; clips of 0 ms (`clip_durations.tsv`) are left out."""
    choice, _, every = variant.partition("-")
    folder = _language(root)
    splits = SPLITS | MORE if every else SPLITS
    require(folder, {f"{name}.tsv": SOURCE for name in splits} | {"clips": SOURCE})
    table = pd.concat(
        [_read(folder / f"{name}.tsv").assign(split=split) for name, split in splits.items()]
    )
    # The clips of the three splits are among the validated ones.
    table = table.drop_duplicates("path", ignore_index=True).fillna("")
    clips = (folder / "clips").relative_to(root).as_posix()
    # In the first releases without the extension.
    names = table["path"].str.removesuffix(".mp3")
    rows = pd.DataFrame(
        {
            "id": names,
            "path": f"{clips}/" + names + ".mp3",
            "text": table["sentence"],
            "split": table["split"],
            "group": table["client_id"],
        }
    )
    bad = {}
    if (folder / "clip_durations.tsv").exists():
        times = _read(folder / "clip_durations.tsv", ("clip", "duration[ms]"))
        seconds = pd.to_numeric(times["duration[ms]"], "coerce") / 1000
        times = dict(zip(times["clip"], seconds, strict=True))
        rows["duration_s"] = (names + ".mp3").map(times)
        bad = dict.fromkeys(rows["path"][rows["duration_s"] == 0], "lasts 0 ms")
    rest = table.drop(columns=["path", "sentence", "split", "client_id"])
    column = "accents" if choice == "accent" else choice
    if choice != "transcript":
        if column not in rest:
            raise ManifestError(f"{folder}: its tables have no column '{column}'; get them anew")
        rows["labels"] = rest[column]
    labels = _labels(choice, rows)
    return Corpus.of_files(
        root,
        rows.join(rest),
        bad=bad,
        labels=labels,
        task={"transcript": "", "accent": "multi_label"}.get(choice, "single_label"),
        published=PUBLISHED.get((_release(folder), folder.name), {}),
    )


def _language(root: Path) -> Path:
    """The folder with the tables: the root, or the only one in it that has them."""
    if (root / "train.tsv").exists():
        return root
    found = sorted(file.parent for file in root.glob("*/train.tsv"))
    if len(found) > 1:
        raise ManifestError(
            f"{root}: has {len(found)} languages; give the folder of one, such as --root {found[0]}"
        )
    return found[0] if found else root


def _read(file: Path, columns: tuple[str, ...] = ("client_id", "path", "sentence")) -> pd.DataFrame:
    """Reads a table, in which quotes are characters as any other."""
    table = read_table(file, columns, quoting=csv.QUOTE_NONE, lineterminator="\n")
    return table.rename(columns={"accent": "accents"})


def _labels(choice: str, rows: pd.DataFrame) -> tuple[str, ...]:
    if choice == "transcript":
        return ()
    # Who has several accents has '|' between them.
    found = {label.strip() for cell in rows["labels"].unique() for label in cell.split("|")} - {""}
    known = ORDER.get(choice, ())
    return (*(label for label in known if label in found), *sorted(found - set(known)))


def _release(folder: Path) -> str:
    """The release, as the archive's folder has it in its name, as in cv-corpus-24.0-2025-12-05."""
    found = re.search(r"cv-corpus-([\d.]+)-", str(folder.resolve()))
    return found[1] if found else ""
