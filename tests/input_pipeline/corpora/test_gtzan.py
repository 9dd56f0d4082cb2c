"""GTZAN: the fault-filtered split and the plain one."""

import shutil

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.corpora.tag_sets import GTZAN
from atbert_jax.input_pipeline.manifest.records import ManifestError

LISTS = {
    "GTZAN_split/train_filtered.txt": "blues/blues.00029.wav\njazz/jazz.00054.wav\n",
    "GTZAN_split/valid_filtered.txt": "blues/blues.00000.wav\n",
    "GTZAN_split/test_filtered.txt": "rock/rock.00001.wav\n",
}


@pytest.mark.parametrize("extension", ["wav", "au"])
def test_the_filtered_split(lay_out, extension):
    names = ("blues/blues.00029", "jazz/jazz.00054", "blues/blues.00000", "rock/rock.00001")
    root = lay_out(LISTS, [f"genres/{name}.{extension}" for name in names])
    corpus = corpora.read("gtzan", root)
    whole = [0, 2, 3] if extension == "wav" else [0, 1, 2, 3]
    assert corpus.rows["path"].tolist() == [f"genres/{names[n]}.{extension}" for n in whole]
    splits = ("train", "train", "val", "test")
    assert corpus.rows["split"].tolist() == [splits[n] for n in whole]
    assert corpus.rows["label"].tolist() == [names[n].partition("/")[0] for n in whole]
    assert corpus.published == {"train": 442 + (extension == "au"), "val": 197, "test": 290}
    assert (corpus.labels, corpus.task) == (GTZAN, "single_label")


def test_the_plain_split(lay_out):
    audio = [f"{genre}/{genre}.{number:05d}.wav" for genre in GTZAN for number in range(100)]
    corpus = corpora.read("gtzan/plain", lay_out(audio=audio))
    assert corpus.sizes == {"": 999, "train": 699, "val": 100, "test": 200}
    assert corpus.deviations == []
    assert list(corpus.left_out) == ["jazz/jazz.00054.wav"]
    counts = corpus.rows.groupby("label")["split"].value_counts()
    assert counts["jazz"].to_dict() == {"train": 69, "test": 20, "val": 10}


def test_an_unknown_line(lay_out):
    root = lay_out(LISTS | {"GTZAN_split/test_filtered.txt": "polka/polka.00001.wav\n"})
    with pytest.raises(ManifestError, match=r"test_filtered\.txt: 'polka/polka\.00001\.wav' is no"):
        corpora.read("gtzan/filtered", root)


def test_the_official_lists(real, tmp_path):
    lists = real("gtzan")
    (tmp_path / "GTZAN_split").mkdir()
    for name in ("train", "valid", "test"):
        shutil.copy(lists / f"{name}_filtered.txt", tmp_path / "GTZAN_split")
    corpus = corpora.read("gtzan", tmp_path)
    assert corpus.sizes == {"": 929, "train": 442, "val": 197, "test": 290}
    assert corpus.deviations == []
    assert set(corpus.rows["label"]) == set(GTZAN)
