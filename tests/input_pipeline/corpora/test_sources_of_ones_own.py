"""A folder per class, and any manifest, as sources of what is prepared."""

import json

import pytest

from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.audio import foreign
from atbert_jax.input_pipeline.manifest.records import ManifestError


def test_a_folder_per_class(lay_out):
    root = lay_out({"notes.txt": "no audio"}, ["rock/a.mp3", "jazz/live/b.WAV", "rock/._a.mp3"])
    corpus = corpora.read("folder", root)
    assert corpus.rows.to_dict("list") == {
        "path": ["jazz/live/b.WAV", "rock/a.mp3"],
        "label": ["jazz", "rock"],
    }
    assert (corpus.task, corpus.labels, corpus.sizes) == ("single_label", (), {"": 2})


def test_a_folder_per_split(lay_out):
    root = lay_out(audio=["Train/rock/a.mp3", "valid/rock/b.mp3", "test/jazz/c.flac"])
    assert corpora.read("folder", root).rows.to_dict("list") == {
        "path": ["Train/rock/a.mp3", "test/jazz/c.flac", "valid/rock/b.mp3"],
        "label": ["rock", "jazz", "rock"],
        "split": ["train", "test", "val"],
    }


def test_a_file_in_no_folder_of_a_class(lay_out):
    root = lay_out(audio=["rock/a.mp3", "b.mp3"])
    with pytest.raises(ManifestError, match=r"b\.mp3: lies in no class' folder; the layout is cl"):
        corpora.read("folder", root)


def test_what_cannot_be_read_here_is_left_out_by_name(lay_out, monkeypatch):
    root = lay_out(audio=["rock/a.mp3", "rock/b.m4a", "jazz/c.caf", "jazz/d.WMA"])
    monkeypatch.setattr(foreign, "is_there", lambda: False)
    corpus = corpora.read("folder", root)
    assert corpus.rows["path"].tolist() == ["jazz/c.caf", "rock/a.mp3"]
    assert corpus.left_out.keys() == {"jazz/d.WMA", "rock/b.m4a"}
    assert "takes ffmpeg to read" in corpus.left_out["rock/b.m4a"]
    monkeypatch.setattr(foreign, "is_there", lambda: True)
    assert len(corpora.read("folder", root).rows) == 4


def test_a_folder_without_audio(lay_out):
    with pytest.raises(ManifestError, match=r"no audio files in it \(\.wav, "):
        corpora.read("folder", lay_out({"rock/notes.txt": ""}))


def test_a_manifest_keeps_its_columns(lay_out):
    rows = [
        {"path": "a.wav", "labels": ["rock", "live"], "year": 1999},
        {"path": "sub/b.wav", "labels": ["jazz"], "year": 2001},
        {"path": "gone.wav", "labels": [], "year": 2002},
    ]
    root = lay_out({"tracks.json": json.dumps(rows)}, ["a.wav", "sub/b.wav"])
    corpus = corpora.read("manifest", root / "tracks.json")
    assert corpus.rows.to_dict("list") == {
        "path": [str(root / "a.wav"), str(root / "sub/b.wav")],
        "labels": ["rock|live", "jazz"],
        "year": [1999, 2001],
    }
    assert corpus.task == "multi_label"
    assert corpus.left_out == {str(root / "gone.wav"): "no such file"}


@pytest.mark.parametrize(("column", "task"), [("label", "single_label"), ("mood", "")])
def test_the_task_of_a_manifest(lay_out, column, task):
    root = lay_out({"t.csv": f"path,{column}\na.wav,rock\n"}, ["a.wav"])
    assert corpora.read("manifest", root / "t.csv").task == task
