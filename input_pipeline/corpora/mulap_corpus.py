"""The layout of MuLaP's data sets: `dataset_train.json`, those of val and test, and `audio/`.

The pipeline reads such a folder as a manifest, too; here what is missing is told, and left out.
"""

from pathlib import Path

from atbert_jax.input_pipeline.corpora import own_manifest
from atbert_jax.input_pipeline.corpora.corpus import Corpus, require

VARIANTS = ("",)
SOURCE = "a list of objects with audio_id, caption and audio_path"


def read(root: Path, variant: str) -> Corpus:
    """Reads the JSON files; val and test may be missing."""
    require(root, {"dataset_train.json": SOURCE, "audio": "what audio_path is relative to"})
    return own_manifest.read(root, variant)
