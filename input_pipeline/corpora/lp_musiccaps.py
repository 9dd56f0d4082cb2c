"""LP-MusicCaps (Doh et al. 2023): captions that a language model wrote of the tags of other sets.

One of its three sets, of the Million Song Dataset, of MagnaTagATune or of MusicCaps, is told by its
columns. The tables `train`, `valid` and `test` are Parquet, JSON, JSON Lines or CSV, with anything
behind these words, in the folder or in `data` in it; the audio lies anywhere below.

The variant is the caption: 'captions' are the three kinds that its authors recommend, a record
each; 'attribute_prediction' adds tags that may be wrong; 'ground_truth' is in that of MusicCaps.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora import clips, musiccaps
from atbert_jax.input_pipeline.corpora.corpus import Corpus
from atbert_jax.input_pipeline.manifest.table_file import ManifestError, Table

KINDS = ("writing", "summary", "paraphrase")
VARIANTS = ("captions", *KINDS, "attribute_prediction", "ground_truth")
SPLITS = {"train": "train", "valid": "val", "test": "test"}
EXTENSIONS = (".parquet", ".json", ".jsonl", ".csv")
# By the column that only this set has: those of the ids, of the tags and others that it must have,
# and how many tracks each split has. The card of the Million Songs' set does not tell.
SETS = {
    "ytid": (("ytid", "aspect_list", "start_s", "end_s"), {"train": 2663, "test": 2858}),
    "tag_top188": (("track_id", "tag_top188"), {"train": 18706, "val": 1825, "test": 5329}),
    "release": (("track_id", "tag"), {}),
}


def read(root: Path, variant: str) -> Corpus:
    """Reads the tables; a caption that is empty is no record.

    Raises:
        ManifestError: if there are no such tables, or they have no captions of this kind.
    """
    tables = pd.concat([_read(file, split) for file, split in _tables(root)], ignore_index=True)
    kinds = KINDS if variant == "captions" else (variant,)
    own = next((column for column in SETS if column in tables), "release")
    (key, tags, *others), published = SETS[own]
    for column in (key, tags, *others, *(f"caption_{kind}" for kind in kinds)):
        if column not in tables:
            raise ManifestError(
                f"{root}: its tables have no column '{column}'; use another variant, or get the"
                " official ones"
            )
    found = clips.by_name(root)
    tracks = pd.DataFrame(
        {
            "path": [_path(row, own, found) for row in tables.to_dict("records")],
            "labels": tables[tags],
            "split": tables["split"],
            "group": tables[key],
        }
    )
    captions = [column for column in tables if column.startswith("caption_")]
    tracks = tracks.join(tables.drop(columns=["path", "split", tags, *captions], errors="ignore"))
    rows = pd.concat(
        [
            tracks.assign(id=tables[key] + f"#{kind}", text=tables[f"caption_{kind}"])
            for kind in kinds
        ]
    ).sort_index(kind="stable")
    is_empty = rows["text"].str.strip() == ""
    lacking = rows["split"][is_empty].value_counts()
    published = {
        split: count * len(kinds) - lacking.get(split, 0) for split, count in published.items()
    }
    corpus = Corpus.of_files(root, rows[~is_empty], published=published)
    silent = set(rows["path"][is_empty]) - set(rows["path"][~is_empty])
    reasons = dict.fromkeys(sorted(silent), "has no caption, for it has no tags")
    return dataclasses.replace(corpus, left_out=dict(corpus.left_out) | reasons)


def _tables(root: Path) -> list[tuple[Path, str]]:
    """The files of tables with their splits."""
    found = []
    for file in sorted([*root.glob("*"), *root.glob("data/*")]):
        words = re.findall("train|valid|test", file.stem.lower())
        if file.suffix in EXTENSIONS and words:
            found.append((file, SPLITS[words[0]]))
    if not found:
        raise ManifestError(
            f"{root}: the official layout lacks data/train-*.parquet and the like (of"
            " https://huggingface.co/seungheondoh); put them there, or give the folder that has"
            " them with --root"
        )
    return found


def _read(file: Path, split: str) -> pd.DataFrame:
    """Reads a table; all cells are text, lists with '|' between their items."""
    table = Table(file).as_text()
    for tags in {columns[1] for columns, _ in SETS.values()}.intersection(table.columns):
        if file.suffix == ".csv":
            cells = [clips.items(cell, str(file)) for cell in table[tags]]
            table[tags] = list(map("|".join, cells))
    return table.fillna("").astype(str).assign(split=split)


def _path(row: Mapping[str, str], own: str, found: Mapping[str, str]) -> str:
    """The path of a track's audio: as the table has it, or wherever a file of its name lies."""
    if own == "ytid":
        return clips.first(found, musiccaps.names(row["ytid"], row["start_s"], row["end_s"]))
    path = row.get("path", "")
    stem = Path(path).stem
    return clips.first(found, filter(None, (stem, stem.removesuffix(".clip"), row["track_id"])))
