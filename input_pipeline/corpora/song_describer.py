"""Song Describer (Manco et al. 2023): 1106 captions of 706 tracks of MTG-Jamendo.

It is for evaluation, so that all of it is test. The variant 'valid' has the 746 captions that were
found to be good.
"""

from pathlib import Path

import pandas as pd

from input_pipeline.corpora import clips
from input_pipeline.corpora.corpus import Corpus, read_table, require

VARIANTS = ("full", "valid")
PUBLISHED = {"full": 1106, "valid": 746}
SOURCE = "of https://doi.org/10.5281/zenodo.10072001"
TABLE = "song_describer.csv"
TAGS = ("genre", "instrument", "mood/theme")


def read(root: Path, variant: str) -> Corpus:
    """Reads `song_describer.csv`; the audio lies in `audio/18/1001418.2min.mp3`."""
    require(root, {TABLE: SOURCE, "audio": f"audio.zip {SOURCE}"})
    columns = ("caption_id", "track_id", "caption", "is_valid_subset", "artist_id", "path")
    table = read_table(root / TABLE, (*columns, "duration"))
    if variant == "valid":
        table = table[table["is_valid_subset"] == "True"]
    rows = pd.DataFrame(
        {
            "id": table["caption_id"],
            "path": "audio/" + table["path"].str.removesuffix(".mp3") + ".2min.mp3",
            "text": table["caption"],
            "split": "test",
            "group": table["artist_id"],
        }
    )
    for tag in TAGS:
        if tag in table:
            rows[tag] = [
                "|".join(clips.items(cell, f"{root / TABLE}, row {row + 2}"))
                for row, cell in table[tag].items()
            ]
    # Of the whole track, while the files have two minutes of it.
    rest = table.rename(columns={"duration": "track_duration_s"}).drop(
        columns=["caption_id", "path", "caption", "artist_id", *TAGS], errors="ignore"
    )
    return Corpus.of_files(root, rows.join(rest), published={"test": PUBLISHED[variant]})
