"""A folder per class: `rock/any/name.mp3`; or within a folder per split: `train/rock/name.mp3`."""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.audio import foreign, formats
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("",)
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


def read(root: Path, variant: str) -> Corpus:
    """Finds the audio files of each class, and their splits where all are in folders of such.

    Raises:
        ManifestError: if there is none, or one lies in no class' folder.
    """
    found, left_out = foreign.audio_files(root)
    if not found:
        raise ManifestError(f"{root}: no audio files in it ({formats.described(left_out)})")
    parts = [path.split("/") for path in found]
    has_splits = all(part[0].lower() in SPLITS for part in parts)
    depth = 1 if has_splits else 0
    for path, part in zip(found, parts, strict=True):
        if len(part) < depth + 2:
            raise ManifestError(
                f"{root / path}: lies in no class' folder; the layout is"
                f" {'split/' if has_splits else ''}class/file, so move it into one"
            )
    rows = pd.DataFrame({"path": found, "label": [part[depth] for part in parts]})
    if has_splits:
        rows["split"] = [SPLITS[part[0].lower()] for part in parts]
    return Corpus(rows, task="single_label", left_out=left_out)
