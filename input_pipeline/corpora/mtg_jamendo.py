"""MTG-Jamendo (Bogdanov et al. 2019): full tracks with tags of genre, instrument, mood and theme.

The variant is a subset of the tags, of the official split 0; or of another, as 'genre-3'. Tags
stand in alphabetical order, as in published weights, with their category: 'genre---rock'.
"""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, folder_of, read_lines, require
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

# How the subset is called in the names of files.
SUBSETS = {
    "top50": "top50tags",
    "genre": "genre",
    "instrument": "instrument",
    "moodtheme": "moodtheme",
}
VARIANTS = (*SUBSETS, *(f"{subset}-{split}" for subset in SUBSETS for split in range(5)))
SPLITS = {"train": "train", "validation": "val", "test": "test"}
SOURCE = "https://github.com/MTG/mtg-jamendo-dataset"
COLUMNS = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
PUBLISHED = {
    "top50-0": {"train": 32_136, "val": 10_888, "test": 11_356},
    "moodtheme-0": {"train": 9_949, "val": 3_802, "test": 4_231},
}
# Tracks in all, which is the same in every split, and tags.
TRACKS = {"top50": 54_380}


def read(root: Path, variant: str) -> Corpus:
    """Reads `data/splits/split-N`; the audio is `NN/ID.mp3` or `NN/ID.low.mp3`, or in `audio/`."""
    subset, _, split = variant.partition("-")
    split = split or "0"
    folder = f"data/splits/split-{split}"
    files = {f"{folder}/autotagging_{SUBSETS[subset]}-{name}.tsv": name for name in SPLITS}
    require(root, dict.fromkeys(files, SOURCE))
    rows = pd.concat([_read(root / file, SPLITS[name]) for file, name in files.items()])
    rows["path"] = folder_of(root, "audio", "") + rows["path"].str.removesuffix(".mp3")
    tags = sorted({tag for labels in rows["labels"] for tag in labels.split("|")})
    total = {"": TRACKS[subset]} if subset in TRACKS else {}
    return Corpus.of_files(
        root,
        rows,
        suffixes=(".mp3", ".low.mp3"),
        labels=tuple(tags),
        task="multi_label",
        published=PUBLISHED.get(f"{subset}-{split}", total),
    )


def _read(file: Path, split: str) -> pd.DataFrame:
    """A table whose last column goes on as far as there are tags."""
    header, *lines = [line.split("\t", 5) for line in read_lines(file)] or [[]]
    if header != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
        raise ManifestError(f"{file}: no table of {', '.join(COLUMNS)}; get it from {SOURCE}")
    table = pd.DataFrame(lines, columns=COLUMNS)
    return pd.DataFrame(
        {
            "id": table["TRACK_ID"],
            "path": table["PATH"],
            "labels": table["TAGS"].str.replace("\t", "|"),
            "split": split,
            "group": table["ARTIST_ID"],
            "album": table["ALBUM_ID"],
        }
    )
