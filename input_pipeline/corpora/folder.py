"""A folder per class: `rock/any/name.mp3`; or within a folder per split: `train/rock/name.mp3`.

Which of the two it is follows from the names of the first folders, where these leave no doubt. The
variants say so: with `folder/classes` the first folders are the classes whatever they are called,
with `folder/splits` they are splits, of which unknown ones keep their names.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.audio import formats
from atbert_jax.input_pipeline.corpora.clips import audio_files
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.split_names import split_of
from atbert_jax.input_pipeline.manifest.table_file import ManifestError
from atbert_jax.input_pipeline.text.visible import tidy

VARIANTS = ("", "classes", "splits")


def read(root: Path, variant: str, *, allow_outside: bool = False) -> Corpus:
    """Finds the audio files of each class, and their splits where all are in folders of such.

    Args:
        root: The folder.
        variant: See above.
        allow_outside: Follow links that lead out of it.

    Raises:
        ManifestError: if there is none, one lies in no class' folder, or it is in doubt whether the
            first folders are classes or splits.
    """
    left_out: dict[str, str] = {}
    found = audio_files(root, left_out, allow_outside=allow_outside)
    if not found:
        raise ManifestError(f"{root}: no audio files in it ({formats.described(left_out)})")
    parts = [path.split("/") for path in found]
    has_splits = variant == "splits" or (not variant and _are_splits(root, parts))
    depth = 1 if has_splits else 0
    for path, part in zip(found, parts, strict=True):
        if len(part) < depth + 2:
            raise ManifestError(
                f"{root / path}: lies in no class' folder; the layout is"
                f" {'split/' if has_splits else ''}class/file, so move it into one"
            )
    rows = pd.DataFrame({"path": found, "label": [tidy(part[depth]) for part in parts]})
    if has_splits:
        rows["split"] = [split_of(part[0]) or tidy(part[0]) for part in parts]
    return Corpus(rows, task="single_label", left_out=left_out)


def _are_splits(root: Path, parts: Sequence[Sequence[str]]) -> bool:
    """Whether the first folders are splits; those of files, by their parts.

    Raises:
        ManifestError: if that is in doubt.
    """
    first = sorted({part[0] for part in parts if len(part) > 1})
    known = [folder for folder in first if split_of(folder)]
    if not first or len(known) == len(first):
        return bool(first)
    # A class can be called `train`; but then its folder has files, not the folders of classes.
    inner = {folder: {p[1] for p in parts if p[0] == folder and len(p) > 2} for folder in first}
    others = [folder for folder in first if folder not in known]
    names = set.intersection(*inner.values())
    say = "say `folder/classes` or `folder/splits` in the place of `folder`, or move them"
    if any(inner[folder] for folder in known):
        raise ManifestError(
            f"{root}: {', '.join(known)} are called as splits, but"
            f" {', '.join(others[:5])} is no split that is known; {say}"
        )
    if len(first) > 1 and len(names) > 1 and all(inner[f] == names for f in first):
        raise ManifestError(
            f"{root}: each of {', '.join(first[:5])} has the folders"
            f" {', '.join(sorted(names)[:5])}, so either of the two can be the classes; {say}"
        )
    return False
