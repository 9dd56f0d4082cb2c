"""MTG-Jamendo: subsets, splits, tags as the last columns, and the official lists."""

import gzip

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.corpora.tag_sets import JAMENDO
from atbert_jax.input_pipeline.manifest.records import ManifestError

HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
TRAIN = (
    "track_0000241\tartist_000005\talbum_000033\t41/241.mp3\t340.1\tgenre---rock\n"
    "track_0000247\tartist_000005\talbum_000033\t47/247.mp3\t85.9\tgenre---pop\tgenre---rock\n"
)
VALIDATION = "track_0000773\tartist_000104\talbum_000126\t73/773.mp3\t275.3\tgenre---electronic\n"
TEST = "track_0000215\tartist_000014\talbum_000031\t15/215.mp3\t151.4\tgenre---metal\n"
AUDIO = ("41/241.mp3", "47/247.low.mp3", "73/773.mp3")


def tables(subset: str, split: int) -> dict[str, str]:
    parts = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    folder = f"data/splits/split-{split}/autotagging_{subset}"
    return {f"{folder}-{name}.tsv": HEADER + rows for name, rows in parts.items()}


def test_a_subset_of_another_split(lay_out):
    root = lay_out(tables("genre", 3), AUDIO)
    corpus = corpora.read("mtg_jamendo/genre-3", root)
    assert corpus.rows.to_dict("list") == {
        "id": ["track_0000241", "track_0000247", "track_0000773"],
        "path": ["41/241.mp3", "47/247.low.mp3", "73/773.mp3"],
        "labels": ["genre---rock", "genre---pop|genre---rock", "genre---electronic"],
        "split": ["train", "train", "val"],
        "group": ["artist_000005", "artist_000005", "artist_000104"],
        "album": ["album_000033", "album_000033", "album_000126"],
    }
    # The tags are those of the lists, whatever is left out.
    assert corpus.labels == (
        "genre---electronic",
        "genre---metal",
        "genre---pop",
        "genre---rock",
    )
    assert corpus.left_out == {"15/215.mp3": "no such file"}


def test_audio_in_a_folder_of_its_own(lay_out):
    root = lay_out(tables("top50tags", 0), [f"audio/{path}" for path in AUDIO])
    corpus = corpora.read("mtg_jamendo", root)
    assert corpus.rows["path"].tolist() == [f"audio/{path}" for path in AUDIO]
    assert corpus.deviations[0] == "split 'train' has 2 records, a complete copy has 32136"


def test_another_table(lay_out):
    broken = tables("genre", 0)
    broken["data/splits/split-0/autotagging_genre-test.tsv"] = HEADER + "track_1\tartist_1\n"
    root = lay_out(broken, AUDIO)
    with pytest.raises(ManifestError, match=r"autotagging_genre-test\.tsv: no table of TRACK_ID, "):
        corpora.read("mtg_jamendo/genre", root)


def test_the_official_lists(real, tmp_path):
    folder = tmp_path / "data/splits/split-0"
    folder.mkdir(parents=True)
    for file in real("mtg_jamendo").glob("*.tsv.gz"):
        (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    corpus = corpora.read("mtg_jamendo", tmp_path)
    assert corpus.sizes == {"": 54_380, "train": 32_136, "val": 10_888, "test": 11_356}
    assert corpus.deviations == []
    assert corpus.labels == JAMENDO
    assert corpus.rows["id"].is_unique
    # No artist is in two splits.
    assert corpus.rows.groupby("group")["split"].nunique().max() == 1
