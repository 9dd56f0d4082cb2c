"""DEAM (Aljanaki et al. 2017): arousal and valence, 1 to 9, of 1802 songs.

Test has the 58 whole songs from number 2001 on, which are MediaEval 2015's; the others, of 45 s,
are train, and val is drawn of them.
"""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, folder_of, read_table, require

VARIANTS = ("",)
TARGETS = ("arousal", "valence")
SPLITS = {"1_2000": "train", "2000_2058": "test"}
SOURCE = "https://cvml.unige.ch/databases/DEAM"


def read(root: Path, variant: str) -> Corpus:
    """Reads the averages per song of `DEAM_Annotations`; songs are `MEMD_audio/ID.mp3`."""
    audio = folder_of(root, "DEAM_audio/MEMD_audio", "MEMD_audio")
    annotations = folder_of(root, "DEAM_Annotations/annotations", "annotations")
    folder = f"{annotations}annotations averaged per song/song_level"
    files = {f"{folder}/static_annotations_averaged_songs_{n}.csv": n for n in SPLITS}
    require(root, dict.fromkeys((*files, audio), SOURCE))
    rows = pd.concat([_read(root / file, audio, SPLITS[n]) for file, n in files.items()])
    return Corpus.of_files(
        root,
        rows,
        task="regression",
        targets=TARGETS,
        published={"train": 1_744, "test": 58},
    )


def _read(file: Path, audio: str, split: str) -> pd.DataFrame:
    # Blanks stand before the names of the columns, and before what cells hold.
    columns = ("song_id", *(f"{name}_mean" for name in TARGETS))
    table = read_table(file, columns, skipinitialspace=True)
    return pd.DataFrame(
        {
            "id": table["song_id"],
            "path": audio + table["song_id"] + ".mp3",
            **{name: table[f"{name}_mean"] for name in TARGETS},
            "split": split,
        }
    )
