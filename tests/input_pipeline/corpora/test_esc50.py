"""ESC-50: its folds, its order of classes, ESC-10."""

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError

TABLE = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
1-100038-A-14.wav,1,14,chirping_birds,False,100038,A
2-100210-B-36.wav,2,36,vacuum_cleaner,False,100210,B
3-100210-A-1.wav,3,1,rooster,True,100211,A
"""
NAMES = [line.split(",")[0] for line in TABLE.splitlines()[1:]]


@pytest.fixture
def root(lay_out):
    return lay_out({"meta/esc50.csv": TABLE}, [f"audio/{name}" for name in NAMES])


def test_a_fold_is_held_out(root):
    corpus = corpora.read("esc50/2", root)
    assert corpus.rows["split"].tolist() == ["train", "train", "test", "train"]
    assert corpus.rows["path"].tolist() == [f"audio/{name}" for name in NAMES]
    assert corpus.rows["group"].tolist() == ["100032", "100038", "100210", "100211"]
    assert corpus.labels == ("dog", "rooster", "chirping_birds", "vacuum_cleaner")
    assert corpus.deviations == [
        "split 'train' has 3 records, a complete copy has 1600",
        "split 'test' has 1 records, a complete copy has 400",
    ]


def test_esc10(root):
    corpus = corpora.read("esc50/esc10-3", root)
    assert corpus.rows["label"].tolist() == ["dog", "rooster"]
    assert corpus.rows["split"].tolist() == ["train", "test"]
    assert corpus.published == {"train": 320, "test": 80}


def test_all_that_is_missing_is_named(lay_out):
    root = lay_out(audio=["readme"])
    with pytest.raises(ManifestError, match=r"lacks meta/esc50\.csv \(of ESC-50-master.*; audio "):
        corpora.read("esc50", root)


def test_another_table(lay_out):
    root = lay_out({"meta/esc50.csv": "filename,fold\na.wav,1\n"}, ["audio/a.wav"])
    with pytest.raises(ManifestError, match=r"esc50\.csv: has no column 'target' \(columns: file"):
        corpora.read("esc50", root)
