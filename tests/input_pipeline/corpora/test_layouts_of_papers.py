"""The layouts that MuLaP and M3BERT read."""

import json

import numpy as np
import pytest

from atbert_jax import prepare
from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError, read_manifest
from atbert_jax.input_pipeline.manifest.tasks import Task

TRAIN = [
    {"audio_id": 7, "caption": "Slow, sad.", "audio_path": "00/7.npy"},
    {"audio_id": 8, "caption": "Gone.", "audio_path": "00/8.npy"},
]
TEST = [{"audio_id": 7, "caption": "Again.", "audio_path": "00/7.npy"}]
MULAP = {"dataset_train.json": json.dumps(TRAIN), "dataset_test.json": json.dumps(TEST)}


def test_mulap(lay_out, tmp_path):
    root = lay_out(MULAP, ["audio/00/7.npy"])
    corpus = corpora.read("mulap", root)
    assert corpus.left_out == {str(root / "audio/00/8.npy"): "no such file"}
    prepare.write(corpus, root, tmp_path / "out")
    records = read_manifest(tmp_path / "out" / "manifest.csv", allow_outside=True)
    assert [(r.id, r.text, r.split) for r in records] == [
        ("7", "Slow, sad.", "train"),
        ("7#2", "Again.", "test"),
    ]
    assert {record.path for record in records} == {root / "audio/00/7.npy"}
    with pytest.raises(ManifestError, match=r"lacks dataset_train\.json \(a list .*; audio \(what"):
        corpora.read("mulap", tmp_path / "out")


M3BERT = {
    "mtl_train.csv": "file_path,length,genre,moodtheme,AV\n"
    "a.npy,1292,rock,,0.0/0.0\nb.npy,1290,,happy/fast,0.6/-0.2\nc.npy,9,jazz,,\n",
    "mtl_dev.csv": "file_path,length,eb,AV\nd.npy,1291,Tango,0.1/0.2\n",
}


@pytest.fixture
def m3bert(lay_out):
    root = lay_out(M3BERT)
    for name in "abd":
        np.save(root / f"{name}.npy", np.zeros((4, 324), np.float32))
    return root


def test_m3bert_of_all_tasks(m3bert, tmp_path):
    corpus = corpora.read("m3bert", m3bert)
    assert corpus.rows["split"].tolist() == ["val", "train", "train"]
    assert corpus.rows["frames"].tolist() == ["1291", "1292", "1290"]
    assert corpus.left_out == {"c.npy": "no such file"}
    prepare.write(corpus, m3bert, tmp_path / "out")
    tasks = (
        Task("genre", "single_label", ("genre",)),
        Task("mood", "multi_label", ("moodtheme",)),
        Task("av", "regression", ("arousal", "valence")),
    )
    records = read_manifest(tmp_path / "out" / "manifest.csv", tasks=tasks, allow_outside=True)
    assert [record.tasks[:2] for record in records] == [
        ((), ()),
        (("rock",), ()),
        ((), ("happy", "fast")),
    ]
    assert records[2].tasks[2] == (0.6, -0.2)
    assert np.isnan(records[1].tasks[2]).all()


def test_one_task_of_m3bert(m3bert):
    genre, mood, av = (
        corpora.read(f"m3bert/{task}", m3bert) for task in ("genre", "moodtheme", "AV")
    )
    assert (genre.labels, genre.task, len(genre.rows)) == (("jazz", "rock"), "single_label", 1)
    assert (mood.labels, mood.task, len(mood.rows)) == (("fast", "happy"), "multi_label", 1)
    assert (av.targets, av.task) == (("arousal", "valence"), "regression")
    assert av.rows[["path", "arousal"]].values.tolist() == [["d.npy", "0.1"], ["b.npy", "0.6"]]
    with pytest.raises(ManifestError, match="none of its CSV files has the column 'RWC'"):
        corpora.read("m3bert/RWC", m3bert)


def test_a_file_in_the_sets_of_two_tasks_has_the_labels_of_both(lay_out):
    sets = {
        "gtzan_train.csv": "file_path,length,genre\na.npy,4,rock\n",
        "mood_train.csv": "file_path,length,moodtheme\na.npy,4,happy\n",
    }
    root = lay_out(sets)
    np.save(root / "a.npy", np.zeros((4, 324), np.float32))
    (row,) = corpora.read("m3bert", root).rows.to_dict("records")
    assert (row["genre"], row["moodtheme"], row["split"]) == ("rock", "happy", "train")
    assert len(corpora.read("m3bert/moodtheme", root).rows) == 1
    (root / "mood_train.csv").rename(root / "mood_dev.csv")
    with pytest.raises(ManifestError, match=r"'a\.npy' has 'train' and 'val' as split in its sets"):
        corpora.read("m3bert", root)
