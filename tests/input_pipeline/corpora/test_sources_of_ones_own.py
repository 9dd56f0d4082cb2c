"""A folder per class, and any manifest, as sources of what is prepared."""

import json
import os

import pandas as pd
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


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("training", "train"),
        ("evaluation", "test"),
        ("Validation-Data", "val"),
        ("test_set", "test"),
        ("devset", "val"),
    ],
)
def test_what_splits_are_called(lay_out, folder, split):
    root = lay_out(audio=["train/rock/a.mp3", f"{folder}/jazz/b.mp3"])
    rows = corpora.read("folder", root).rows
    assert dict(zip(rows["label"], rows["split"], strict=True)) == {"rock": "train", "jazz": split}


@pytest.mark.parametrize(
    ("audio", "doubt"),
    [
        (["train/a/1.mp3", "extra/a/2.mp3"], "train are called as splits, but extra is no split"),
        (["train/a/1.mp3", "test/a/2.mp3", "unlabeled/3.mp3"], "test, train are called as splits"),
        (
            ["fold1/a/1.mp3", "fold1/b/2.mp3", "fold2/a/3.mp3", "fold2/b/4.mp3"],
            "each of fold1, fold2 has the folders a, b, so either of the two can be the classes",
        ),
    ],
)
def test_what_can_be_splits_or_classes_is_refused(lay_out, audio, doubt):
    root = lay_out(audio=audio)
    with pytest.raises(ManifestError, match=doubt) as caught:
        corpora.read("folder", root)
    assert "say `folder/classes` or `folder/splits`" in str(caught.value)
    found = corpora.read("folder/classes", root).rows
    assert set(found["label"]) == {path.split("/")[0] for path in audio}
    if "unlabeled/3.mp3" not in audio:
        found = corpora.read("folder/splits", root).rows
        assert set(found["label"]) <= {"a", "b"}
        assert set(found["split"]) & {"extra", "fold1"}


def test_classes_that_are_called_as_splits(lay_out):
    root = lay_out(audio=["train/a.mp3", "dog/b.mp3", "rain/heavy/c.mp3"])
    assert corpora.read("folder", root).rows["label"].tolist() == ["dog", "rain", "train"]
    found = corpora.read("folder", lay_out(audio=["rock/live/a.mp3", "jazz/live/b.mp3"])).rows
    assert {"rock", "jazz"} <= set(found["label"])


def test_each_folder_is_read_once(lay_out):
    root = lay_out(audio=["rock/a.mp3", "jazz/b.mp3"])
    (root / "rock/up").symlink_to("..")
    (root / "blues").symlink_to("jazz")
    corpus = corpora.read("folder", root)
    assert corpus.rows["path"].tolist() == ["jazz/b.mp3", "rock/a.mp3"]
    again = "leads to a folder that is read already"
    assert corpus.left_out == {"rock/up": again, "blues": again}


def test_links_out_of_the_folder(lay_out, tmp_path):
    root, outside = lay_out(audio=["rock/a.mp3"]), tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    for name in ("b.mp3", "deep/c.mp3"):
        (outside / name).touch()
    (root / "jazz").symlink_to(outside)
    (root / "rock/d.mp3").symlink_to(outside / "b.mp3")
    corpus = corpora.read("folder", root)
    assert corpus.rows["path"].tolist() == ["rock/a.mp3"]
    assert corpus.left_out.keys() == {"jazz", "rock/d.mp3"}
    assert all("allow it with --allow_outside" in why for why in corpus.left_out.values())
    allowed = corpora.read("folder", root, allow_outside=True)
    assert allowed.rows["path"].tolist() == [
        *("jazz/b.mp3", "jazz/deep/c.mp3", "rock/a.mp3", "rock/d.mp3")
    ]
    assert not allowed.left_out


def test_names_that_are_no_text_are_left_out(lay_out):
    root = lay_out(audio=["rock/a.mp3"])
    name = os.fsencode(root) + b"/rock/caf\xe9.mp3"
    try:
        with open(name, "wb"):  # noqa: PTH123
            pass
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    corpus = corpora.read("folder", root)
    assert corpus.rows["path"].tolist() == ["rock/a.mp3"]
    assert list(corpus.left_out.values()) == ["its name is no UTF-8 text; rename it"]


def test_labels_of_folders_are_composed(lay_out):
    root = lay_out(audio=["cafe\u0301/a.mp3", "caf\u00e9/b.mp3"])
    assert set(corpora.read("folder", root).rows["label"]) == {"caf\u00e9"}


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


def test_a_manifest_of_files_elsewhere_has_to_be_allowed(lay_out, tmp_path):
    root = lay_out({"t.csv": f"path\n{tmp_path}/else.wav\n"}, ["a.wav"])
    (tmp_path / "else.wav").touch()
    with pytest.raises(ManifestError, match=r"outside the folder .*--allow_outside"):
        corpora.read("manifest", root / "t.csv")
    found = corpora.read("manifest", root / "t.csv", allow_outside=True)
    assert found.rows["path"].tolist() == [f"{tmp_path}/else.wav"]


def test_labels_are_written_as_they_are_read(lay_out):
    root = lay_out(audio=["a.wav", "b.wav", "c.wav"])
    frame = pd.DataFrame({"path": ["a.wav", "b.wav", "c.wav"], "label": [0.0, 1.0, None]})
    frame.to_parquet(root / "t.parquet")
    assert corpora.read("manifest", root / "t.parquet").rows["label"].tolist() == ["0", "1", ""]
    lists = pd.DataFrame({"path": ["a.wav"], "labels": ["['rock', 'cafe\u0301']"]})
    lists.to_csv(root / "t.csv", index=False)
    assert corpora.read("manifest", root / "t.csv").rows["labels"].tolist() == ["rock|caf\u00e9"]


def test_an_official_layout_has_no_links_out_of_it(lay_out, tmp_path):
    table = "filename,fold,target,category,esc10,src_file,take\n" + "".join(
        f"{n}.wav,1,0,dog,False,{n},A\n" for n in range(2)
    )
    root = lay_out({"meta/esc50.csv": table}, ["audio/0.wav"])
    (tmp_path / "1.wav").touch()
    (root / "audio/1.wav").symlink_to(tmp_path / "1.wav")
    corpus = corpora.read("esc50", root)
    assert (corpus.rows["path"].tolist(), list(corpus.left_out)) == (
        ["audio/0.wav"],
        ["audio/1.wav"],
    )
    assert len(corpora.read("esc50", root, allow_outside=True).rows) == 2
    (root / "audio/0.wav").unlink()
    with pytest.raises(ManifestError, match=r"links lead out of it, as audio/1\.wav; allow that"):
        corpora.read("esc50", root)
