"""RWC Musical Instrument Sound (Goto et al. 2003): 50 instruments, each by several makers.

A file as `RWC_I_01/011/011PFNOF.wav` has the notes of one way of playing; its name begins with the
instrument's number and that of the maker, and then has the code of the instrument, which is the
label, of the style and of the dynamics. There is no official split: the third makers are test.
"""

import os
import re
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.audio.formats import EXTENSIONS
from atbert_jax.input_pipeline.corpora import clips
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("",)
NAME = re.compile(r"(\d\d)(\d)(\w\w)(\w\w)(\w)")
SOURCE = "https://staff.aist.go.jp/m.goto/RWC-MDB"


def read(root: Path, variant: str) -> Corpus:
    """Finds the files by their names, in whatever folders the discs were copied to."""
    rows, left_out = [], {}
    for folder, names in clips.folders(root, left_out):
        for name in names:
            stem, extension = os.path.splitext(name)  # noqa: PTH122
            found = NAME.fullmatch(stem)
            if not found or extension.lower() not in EXTENSIONS:
                continue
            number, maker, instrument, style, dynamics = found.groups()
            split = "test" if maker == "3" else "train"
            rows.append(
                (stem, f"{folder}{name}", instrument, split, number + maker, style, dynamics)
            )
    if not rows:
        raise ManifestError(
            f"{root}: no file as RWC_I_01/011/011PFNOF.wav in it; copy the discs there, from"
            f" {SOURCE}"
        )
    columns = ["id", "path", "label", "split", "maker", "style", "dynamics"]
    table = pd.DataFrame(sorted(rows), columns=columns)
    labels = tuple(sorted(set(table["label"])))
    return Corpus(
        table, labels=labels, task="single_label", published={"": 3_544}, left_out=left_out
    )
