"""MusicCaps (Agostinelli et al. 2023): 5521 captions of ten seconds of AudioSet each.

The table has no audio. Clips lie anywhere below the folder and are called by the video in one of
the usual ways (see `names`); in variant 'videos' they are whole videos, of which the ten seconds
are read. What AudioSet evaluates on is test. The aspects stand in a column of labels.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from atbert_jax.input_pipeline.corpora import clips
from atbert_jax.input_pipeline.corpora.corpus import Corpus, read_table
from atbert_jax.input_pipeline.manifest.table_file import ManifestError

VARIANTS = ("clips", "videos")
TABLES = ("musiccaps-public.csv", "musiccaps-public.csv.gz")
PUBLISHED = {"train": 2663, "test": 2858}
COLUMNS = ("ytid", "start_s", "end_s", "aspect_list", "caption")


def names(video: str, start: str, end: str) -> Iterator[str]:
    """What the clip of a video is called, without extension, by those who fetch it.

    Args:
        video: Its id.
        start: In whole seconds, as the table has it.
        end: Likewise.
    """
    yield video
    yield f"[{video}]-[{start}-{end}]"
    for times in (f"{start}-{end}", f"{start}_{end}", f"{int(start) * 1000}_{int(end) * 1000}"):
        yield from (f"{video}_{times}", f"{video}-{times}")
    yield from (f"{video}-[{start}-{end}]", f"{video}_[{start}-{end}]")
    yield from (f"{video}_{start}", f"{video}-{start}", f"Y{video}")


def read(root: Path, variant: str) -> Corpus:
    """Reads `musiccaps-public.csv` and finds the clips; videos are often gone from YouTube.

    Raises:
        ManifestError: if there is no such table.
    """
    file = next((root / name for name in TABLES if (root / name).exists()), None)
    if file is None:
        raise ManifestError(
            f"{root}: the official layout lacks {TABLES[0]} (of"
            " https://huggingface.co/datasets/google/MusicCaps); put it there, beside the clips"
        )
    table = read_table(file, (*COLUMNS, "is_balanced_subset", "is_audioset_eval"))
    for row, times in enumerate(zip(table["start_s"], table["end_s"], strict=True), 2):
        if not all(time.isdecimal() for time in times):
            raise ManifestError(
                f"{file}, row {row}: start_s and end_s are {' and '.join(times)}, no whole seconds;"
                " get the official table anew"
            )
    found = clips.by_name(root)
    paths = [
        clips.first(found, [video] if variant == "videos" else names(video, start, end))
        for video, start, end in zip(table["ytid"], table["start_s"], table["end_s"], strict=True)
    ]
    aspects = [
        clips.items(cell, f"{file}, row {row}") for row, cell in enumerate(table["aspect_list"], 2)
    ]
    rows = pd.DataFrame(
        {
            "id": table["ytid"],
            "path": paths,
            "text": table["caption"],
            "labels": ["|".join(names) for names in aspects],
            "split": (table["is_audioset_eval"] == "True").map({True: "test", False: "train"}),
        }
    )
    if variant == "videos":
        rows["start"] = table["start_s"]
        rows["duration"] = table["end_s"].astype(int) - table["start_s"].astype(int)
    rest = table.drop(columns=["ytid", "aspect_list", "caption", "is_audioset_eval"])
    return Corpus.of_files(root, rows.join(rest), published=PUBLISHED)
