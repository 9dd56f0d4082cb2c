"""ESC-50 (Piczak 2015): 2000 environmental sounds of 5 s in 50 classes and 5 folds.

The variant is the fold held out as test; with 'esc10-' before it, of the 10 classes of ESC-10.
Clips of one recording are in one fold, and are kept together where val is drawn of the others.
"""

from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora.corpus import Corpus, read_table, require
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

FOLDS = ("1", "2", "3", "4", "5")
VARIANTS = (*FOLDS, *(f"esc10-{fold}" for fold in FOLDS))
SOURCE = "of ESC-50-master.zip, https://github.com/karolpiczak/ESC-50"


def read(root: Path, variant: str) -> Corpus:
    """Reads `meta/esc50.csv`; the audio lies in `audio/`."""
    require(root, {"meta/esc50.csv": SOURCE, "audio": SOURCE})
    columns = ("filename", "fold", "target", "category", "esc10", "src_file")
    table = read_table(root / "meta/esc50.csv", columns)
    if not table["target"].str.isdecimal().all():
        raise ManifestError(f"{root / 'meta/esc50.csv'}: a target is no number; get it {SOURCE}")
    subset, _, fold = variant.rpartition("-")
    if subset:
        table = table[table["esc10"] == "True"]
    rows = pd.DataFrame(
        {
            "id": table["filename"].str.removesuffix(".wav"),
            "path": "audio/" + table["filename"],
            "label": table["category"],
            "split": (table["fold"] == fold).map({True: "test", False: "train"}),
            "group": table["src_file"],
            "fold": table["fold"],
        }
    )
    order = table.assign(target=table["target"].astype(int)).sort_values("target")["category"]
    clips = 400 if subset else 2000
    return Corpus.of_files(
        root,
        rows,
        labels=tuple(order.unique()),
        task="single_label",
        published={"train": clips * 4 // 5, "test": clips // 5},
    )
