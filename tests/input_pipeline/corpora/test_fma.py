"""FMA: a table below three rows of names, its subsets, and clips that are too short."""

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError

TABLE = """,album,artist,artist,set,set,track,track
,title,id,name,split,subset,genre_top,title
track_id,,,,,,,
2,AWOL,1,AWOL,training,small,Hip-Hop,Food
3,"A, B",1,AWOL,test,medium,Hip-Hop,
5,AWOL,6,Kurt,validation,large,,Freeway
140,Bird,54,Bird,validation,small,Folk,Queen
98565,Short,9,Bird,training,small,Rock,Cut
98568,Short,9,Bird,training,medium,Blues,Cut
134178,Last,10,Nobody,training,medium,Old-Time / Historic,NaN
"""
PATHS = ("000/000002", "000/000003", "000/000140", "098/098565", "098/098568", "134/134178")


@pytest.fixture
def root(lay_out):
    audio = [f"fma_{subset}/{path}.mp3" for subset in ("small", "medium") for path in PATHS]
    return lay_out({"fma_metadata/tracks.csv": TABLE}, audio)


def test_small(root):
    corpus = corpora.read("fma", root)
    assert corpus.rows.to_dict("list") == {
        "id": ["2", "140"],
        "path": ["fma_small/000/000002.mp3", "fma_small/000/000140.mp3"],
        "label": ["Hip-Hop", "Folk"],
        "split": ["train", "val"],
        "group": ["1", "54"],
        "artist": ["AWOL", "Bird"],
        "title": ["Food", "Queen"],
    }
    assert corpus.labels == ("Folk", "Hip-Hop", "Rock")
    assert corpus.left_out == {"fma_small/098/098565.mp3": "1.6 s of audio"}
    assert corpus.published == {"train": 6_399, "val": 800, "test": 800}


def test_medium_has_small_within(root):
    corpus = corpora.read("fma/medium", root)
    assert corpus.rows["id"].tolist() == ["2", "3", "140", "134178"]
    assert corpus.rows["split"].tolist() == ["train", "test", "val", "train"]
    assert corpus.rows["title"].tolist() == ["Food", "", "Queen", "NaN"]
    assert corpus.labels == ("Blues", "Folk", "Hip-Hop", "Old-Time / Historic", "Rock")
    assert corpus.left_out == {
        "fma_medium/098/098565.mp3": "1.6 s of audio",
        "fma_medium/098/098568.mp3": "6.6 s of audio",
    }


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("genre_top", "genre", r"has no column '\('track', 'genre_top'\)'"),
        ("training,small", "dev,small", "has splits other than training, validation, test"),
        ("\n2,AWOL", "\nAWOL,2", r"a track's id is no number"),
    ],
)
def test_another_table(root, old, new, error):
    (root / "fma_metadata/tracks.csv").write_text(TABLE.replace(old, new))
    with pytest.raises(ManifestError, match=error):
        corpora.read("fma/small", root)
