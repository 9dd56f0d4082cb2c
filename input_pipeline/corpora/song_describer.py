"""Song Describer (Manco et al. 2023): 1106 captions of 706 tracks of MTG-Jamendo.

It is for evaluation, so that all of it is test. The variant 'valid' has the 746 captions that were
found to be good.
"""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora import clips
from atbert_jax.input_pipeline.corpora.corpus import Corpus, read_table, require

VARIANTS = ("full", "valid")
PUBLISHED = {"full": 1106, "valid": 746}
SOURCE = "of https://doi.org/10.5281/zenodo.10072001"
TABLE = "song_describer.csv"
COLUMNS = ("caption_id", "track_id", "caption", "is_valid_subset", "artist_id", "path", "duration")


def read(root: Path, variant: str) -> Corpus:
    """Reads `song_describer.csv`; the audio lies in `audio/18/1001418.2min.mp3`, or one deeper.

    One deeper is where the command of its authors unpacks it.
    """
    require(root, {TABLE: SOURCE, "audio": f"audio.zip {SOURCE}"})
    table = read_table(root / TABLE, COLUMNS)
    if variant == "valid":
        table = table[table["is_valid_subset"] == "True"]
    found = clips.by_name(root / "audio")
    names = table["track_id"] + ".2min"
    usual = table["path"].str.removesuffix(".mp3") + ".2min.mp3"
    paths = [found.get(name, path) for name, path in zip(names, usual, strict=True)]
    rows = pd.DataFrame(
        {
            "id": table["caption_id"],
            "path": [f"audio/{path}" for path in paths],
            "text": table["caption"],
            "split": "test",
            "group": table["artist_id"],
        }
    )
    # The duration is that of the whole track, while the files have two minutes of it.
    rest = table.rename(columns={"duration": "track_duration_s"}).drop(
        columns=["caption_id", "path", "caption", "artist_id"]
    )
    return Corpus.of_files(root, rows.join(rest), published={"test": PUBLISHED[variant]})
