"""MagnaTagATune (Law et al. 2009): clips of 29 s with tags that players of a game agreed on.

Two sets of clips with its 50 most frequent tags are in use, and their results do not compare:
'21k', of Lee et al. (2017), has clips with a tag and more than 29.1 s; '25k' has all clips, with
folders 0 to b for train, c for val and d to f for test. Clips of '25k' without any of the 50 tags
have no labels, so they are neither trained on nor scored.
"""

from itertools import compress
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora import unpickle
from atbert_jax.input_pipeline.corpora.corpus import Corpus, folder_of, read_table, require
from atbert_jax.input_pipeline.corpora.tag_sets import MTAT
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("21k", "25k")
ANNOTATIONS = "annotations_final.csv"
SOURCE = "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"
LISTS = "MTAT_split of https://github.com/jongpillee/music_dataset_split"
SPLITS = {"train": "train", "valid": "val", "test": "test"}
PUBLISHED = {
    "21k": {"train": 15_244, "val": 1_529, "test": 4_332},
    "25k": {"train": 18_709, "val": 1_825, "test": 5_329},
}
EMPTY = (
    "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
    "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
    "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_"
    "couperin-88-117.mp3",
)


def read(root: Path, variant: str) -> Corpus:
    """Reads `annotations_final.csv`, and `MTAT_split` for '21k'; folders 0 to f, or in `mp3/`."""
    lists = {f"MTAT_split/{name}_list_pub.cP": split for name, split in SPLITS.items()}
    needed = dict.fromkeys(lists, LISTS) if variant == "21k" else {}
    require(root, {ANNOTATIONS: SOURCE} | needed)
    table = read_table(root / ANNOTATIONS, ("clip_id", *MTAT, "mp3_path"), sep="\t")
    table = table.set_index("mp3_path", drop=False)
    if variant == "21k":
        table = _of_lists(table, {root / file: split for file, split in lists.items()})
    else:
        table["split"] = table["mp3_path"].str[:1].map(_split_of)
    given = table[list(MTAT)].to_numpy() == "1"
    audio = folder_of(root, "mp3", "")
    rows = pd.DataFrame(
        {
            "id": table["clip_id"],
            "path": audio + table["mp3_path"],
            "labels": ["|".join(compress(MTAT, row)) for row in given],
            "split": table["split"],
        }
    )
    return Corpus.of_files(
        root,
        rows,
        bad={audio + path: "empty in the official distribution" for path in EMPTY},
        labels=MTAT,
        task="multi_label",
        published=PUBLISHED[variant],
    )


def _split_of(folder: str) -> str:
    return "train" if folder < "c" else "val" if folder == "c" else "test"


def _of_lists(table: pd.DataFrame, lists: dict[Path, str]) -> pd.DataFrame:
    """The rows of the clips that pickled lists name, with their splits."""
    parts, known = [], set(table.index)
    for file, split in lists.items():
        paths = unpickle.load(file)
        if not isinstance(paths, list) or not all(path in known for path in map(str, paths)):
            raise ManifestError(f"{file}: no list of clips of {ANNOTATIONS}; get it from {LISTS}")
        parts.append(table.loc[paths].assign(split=split))
    return pd.concat(parts)
