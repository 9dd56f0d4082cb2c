"""Million Song Dataset (Bertin-Mahieux et al. 2011) with the 50 most frequent tags of last.fm.

The split of Lee et al. (2017), of Choi et al. (2016): the last 11774 of its list for train are val.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atbert_jax.input_pipeline.audio.formats import EXTENSIONS
from atbert_jax.input_pipeline.corpora import unpickle
from atbert_jax.input_pipeline.corpora.corpus import Corpus, require
from atbert_jax.input_pipeline.corpora.tag_sets import MSD
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("",)
SOURCE = "https://github.com/jongpillee/music_dataset_split"
TRAIN, TEST, TAGS = (
    f"MSD_split/{name}.cP"
    for name in ("filtered_list_train", "filtered_list_test", "msd_id_to_tag_vector")
)
# From the Million Song Dataset's ids to those of 7digital, and on to their previews.
PREVIEWS = ("MSD_split/MSD_id_to_7D_id.pkl", "MSD_split/7D_id_to_path.pkl")
FIRST_OF_VAL = 201_680


def read(root: Path, variant: str) -> Corpus:
    """Reads `MSD_split`; audio is `R/A/A/TRAAA....mp3`, or 7digital's `8/9/8947470.clip.mp3`."""
    is_of_7digital = any((root / digit).is_dir() for digit in "0123456789")
    needed = [TRAIN, TEST, TAGS, *(PREVIEWS if is_of_7digital else ())]
    require(root, dict.fromkeys(needed, SOURCE))
    train, test = _load(root / TRAIN, list), _load(root / TEST, list)
    tags = _load(root / TAGS, dict)
    tracks = train + test
    try:
        if is_of_7digital:
            numbers, places = (_load(root / file, dict) for file in PREVIEWS)
            paths = [places[numbers[track]] for track in tracks]
        else:
            paths = [f"{track[2]}/{track[3]}/{track[4]}/{track}" for track in tracks]
        labels = [_labels(tags[track].values) for track in tracks]
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise ManifestError(
            f"{root / 'MSD_split'}: its files do not fit each other ({error!r}); get all from"
            f" {SOURCE}"
        ) from error
    val = len(train[FIRST_OF_VAL:])
    splits = ["train"] * (len(train) - val) + ["val"] * val + ["test"] * len(test)
    rows = pd.DataFrame({"id": tracks, "path": paths, "labels": labels, "split": splits})
    return Corpus.of_files(
        root,
        rows,
        suffixes=("",) if is_of_7digital else (".mp3", *EXTENSIONS),
        labels=MSD,
        task="multi_label",
        published={"train": FIRST_OF_VAL, "val": 11_774, "test": 28_435},
    )


def _load(file: Path, kind: type) -> Any:
    """A pickled list or dictionary; nothing in it is run."""
    found = unpickle.load(file)
    if not isinstance(found, kind):
        raise ManifestError(f"{file}: holds no {kind.__name__}; get it from {SOURCE}")
    return found


def _labels(values: np.ndarray) -> str:
    """The tags of a vector of zeros and ones.

    Raises:
        ValueError: if it has another length than there are tags.
    """
    return "|".join(tag for tag, has in zip(MSD, values.ravel(), strict=True) if has)
