"""EmoMusic (Soleymani et al. 2013), '1000 Songs': arousal and valence, 1 to 9, of 744 clips.

The split is that of MediaEval 2013; val is drawn of train, and artists are kept together.
"""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, read_table, require
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("",)
TARGETS = ("arousal", "valence")
SPLITS = {"development": "train", "evaluation": "test"}
INFO, MEANS = "annotations/songs_info.csv", "annotations/static_annotations.csv"
SOURCE = "https://cvml.unige.ch/databases/emoMusic"


def read(root: Path, variant: str) -> Corpus:
    """Reads the two tables in `annotations`; clips are `clips_45seconds/ID.mp3`."""
    require(root, dict.fromkeys((INFO, MEANS, "clips_45seconds"), SOURCE))
    columns = ("song_id", "Artist", "Song title", "Genre", "Mediaeval 2013 set")
    # Stray tabs surround what the cells hold.
    info = read_table(root / INFO, columns).apply(lambda column: column.str.strip())
    means = read_table(root / MEANS, ("song_id", *(f"mean_{name}" for name in TARGETS)))
    table = info.merge(means, on="song_id", how="left", validate="one_to_one")
    splits = table["Mediaeval 2013 set"].map(SPLITS)
    if splits.isna().any() or table[[f"mean_{name}" for name in TARGETS]].isna().any(axis=None):
        raise ManifestError(
            f"{root / INFO}: a song has no set, or no values in {root / MEANS}; get both from"
            f" {SOURCE}"
        )
    rows = pd.DataFrame(
        {
            "id": table["song_id"],
            "path": "clips_45seconds/" + table["song_id"] + ".mp3",
            **{name: table[f"mean_{name}"] for name in TARGETS},
            "split": splits,
            "group": table["Artist"],
            "title": table["Song title"],
            "genre": table["Genre"],
        }
    )
    return Corpus.of_files(
        root,
        rows,
        task="regression",
        targets=TARGETS,
        published={"train": 619, "test": 125},
    )
