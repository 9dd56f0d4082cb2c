"""Free Music Archive (Defferrard et al. 2017): clips of 30 s with the genre at the top.

'small' has 8 genres of 1000 clips each, 'medium' 16 genres that are not balanced; the split is the
official one, in which artists do not occur twice.
"""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, read_table, require
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("small", "medium")
TABLE = "fma_metadata/tracks.csv"
SOURCE = "https://github.com/mdeff/fma"
SPLITS = {"training": "train", "validation": "val", "test": "test"}
PUBLISHED = {
    "small": {"train": 6_400, "val": 800, "test": 800},
    "medium": {"train": 19_922, "val": 2_505, "test": 2_573},
}
# Seconds of the clips that were cut where their track had ended, as the corpus' wiki lists them.
SHORT = {
    1486: 0.0,
    5574: 0.0,
    65753: 0.0,
    80391: 0.0,
    98558: 0.0,
    98559: 0.0,
    98560: 0.0,
    98565: 1.6,
    98566: 6.2,
    98567: 0.5,
    98568: 6.6,
    98569: 1.5,
    98571: 0.0,
    99134: 0.0,
    105247: 0.0,
    108924: 27.4,
    108925: 0.0,
    126981: 0.0,
    127336: 0.0,
    133297: 0.0,
    143992: 0.0,
}


def read(root: Path, variant: str) -> Corpus:
    """Reads `fma_metadata/tracks.csv`; clips are `fma_small/000/000002.mp3`."""
    audio = f"fma_{variant}"
    require(root, {TABLE: f"fma_metadata.zip of {SOURCE}", audio: f"{audio}.zip of {SOURCE}"})
    columns = [
        ("set", "subset"),
        ("set", "split"),
        ("track", "genre_top"),
        ("artist", "id"),
        ("artist", "name"),
        ("track", "title"),
    ]
    # Two rows of names, and a third that has that of the first column alone.
    table = read_table(root / TABLE, columns, header=[0, 1], index_col=0)
    subsets = VARIANTS[: VARIANTS.index(variant) + 1]
    table = table[table["set", "subset"].isin(subsets)]
    if not table["set", "split"].isin(SPLITS).all():
        names = ", ".join(SPLITS)
        raise ManifestError(f"{root / TABLE}: has splits other than {names}; get it from {SOURCE}")
    if not table.index.str.isdecimal().all():
        raise ManifestError(f"{root / TABLE}: a track's id is no number; get it from {SOURCE}")
    tracks = table.index.astype(int)
    rows = pd.DataFrame(
        {
            "id": table.index,
            "path": [_path(audio, track) for track in tracks],
            "label": table["track", "genre_top"],
            "split": table["set", "split"].map(SPLITS),
            "group": table["artist", "id"],
            "artist": table["artist", "name"],
            "title": table["track", "title"],
        }
    )
    return Corpus.of_files(
        root,
        rows,
        bad={_path(audio, track): f"{seconds:g} s of audio" for track, seconds in SHORT.items()},
        labels=tuple(sorted(set(rows["label"]))),
        task="single_label",
        published=PUBLISHED[variant],
    )


def _path(audio: str, track: int) -> str:
    return f"{audio}/{track // 1000:03d}/{track:06d}.mp3"
