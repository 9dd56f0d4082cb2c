"""GTZAN (Tzanetakis and Cook 2002): excerpts of 30 s, a hundred of each of ten genres.

'filtered' has the split of Kereliuk et al. (2015) without repeated, distorted and mislabelled
excerpts and without artists in two splits. 'plain' has all, and no official split: of each genre
excerpts 70 to 79 are val and those from 80 on test, for neighbours are often by one artist.
"""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, folder_of, read_lines, require
from atbert_jax.input_pipeline.corpora.tag_sets import GTZAN
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("filtered", "plain")
LISTS = "GTZAN_split of https://github.com/jongpillee/music_dataset_split"
SPLITS = {"train": "train", "valid": "val", "test": "test"}
PUBLISHED = {
    "filtered": {"train": 443, "val": 197, "test": 290},
    "plain": {"train": 700, "val": 100, "test": 200},
}


def read(root: Path, variant: str) -> Corpus:
    """Reads `blues/blues.00000.wav` or `.au`, or in `genres/`; `GTZAN_split` for 'filtered'."""
    audio = folder_of(root, "genres", "genres_original", "")
    excerpts = _filtered(root) if variant == "filtered" else _plain()
    rows = pd.DataFrame(excerpts, columns=["path", "split"])
    rows["id"] = rows["path"].str.partition("/")[2]
    rows["label"] = rows["path"].str.partition("/")[0]
    rows["path"] = audio + rows["path"]
    return Corpus.of_files(
        root,
        rows,
        suffixes=(".wav", ".au"),
        bad={f"{audio}jazz/jazz.00054.wav": "broken in the copies that are wav files"},
        labels=GTZAN,
        task="single_label",
        published=PUBLISHED[variant],
    )


def _filtered(root: Path) -> list[tuple[str, str]]:
    """Excerpts of the three lists, as 'blues/blues.00029', and their splits."""
    files = {f"GTZAN_split/{name}_filtered.txt": split for name, split in SPLITS.items()}
    require(root, dict.fromkeys(files, LISTS))
    known, found = set(dict(_plain())), []
    for file, split in files.items():
        for line in read_lines(root / file):
            excerpt = line.removesuffix(".wav").removesuffix(".au")
            if excerpt not in known:
                raise ManifestError(f"{root / file}: '{line}' is none of GTZAN; get {LISTS}")
            found.append((excerpt, split))
    return found


def _plain() -> list[tuple[str, str]]:
    """All excerpts and their splits."""
    splits = ["train"] * 70 + ["val"] * 10 + ["test"] * 20
    return [
        (f"{genre}/{genre}.{number:05d}", split)
        for genre in GTZAN
        for number, split in enumerate(splits)
    ]
