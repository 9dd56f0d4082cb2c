"""Music4All (Santana et al. 2020): 109269 clips of 30 s with genres, tags and Spotify's features.

The variant is what is to be predicted: genres, tags, or valence and energy. The text is the tags.
There are no official splits; artists are groups, so that none is in two of those that are drawn.
"""

import csv
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, read_table, require

VARIANTS = ("genres", "tags", "emotion")
TABLES = {
    "id_information": ("id", "artist"),
    "id_genres": ("id", "genres"),
    "id_tags": ("id", "tags"),
    "id_lang": ("id", "lang"),
    "id_metadata": ("id", "valence", "energy"),
}
SOURCE = "of Music4All, which its authors send on request"
PUBLISHED = 109_269


def read(root: Path, variant: str) -> Corpus:
    """Reads the tables `id_*.csv`, which have tabs; the audio lies in `audios/`."""
    require(root, {f"{name}.csv": SOURCE for name in TABLES} | {"audios": SOURCE})
    parts = [
        read_table(root / f"{name}.csv", columns, sep="\t", quoting=csv.QUOTE_NONE)
        for name, columns in TABLES.items()
    ]
    parts = [part.drop_duplicates("id").set_index("id") for part in parts]
    table = parts[0].join(parts[1:]).fillna("").reset_index()
    rows = pd.DataFrame(
        {
            "id": table["id"],
            "path": "audios/" + table["id"] + ".mp3",
            "text": [", ".join(_items(cell)) for cell in table["tags"]],
            "group": table["artist"],
        }
    )
    targets = ("valence", "energy") if variant == "emotion" else ()
    labels: set[str] = set()
    if not targets:
        cells = [_items(cell) for cell in table[variant]]
        rows["labels"] = list(map("|".join, cells))
        labels.update(*cells)
    # `duration_ms` is of the whole track.
    rest = table.drop(columns=["id"])
    return Corpus.of_files(
        root,
        rows.join(rest),
        labels=tuple(sorted(labels)),
        task="regression" if targets else "multi_label",
        targets=targets,
        published={"": PUBLISHED},
    )


def _items(cell: str) -> list[str]:
    return [item for item in map(str.strip, cell.split(",")) if item]
