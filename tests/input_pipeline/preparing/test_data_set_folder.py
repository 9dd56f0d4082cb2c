"""Tests of a folder in the layout of MuLaP's data sets as a manifest."""

import json
from pathlib import Path

import pytest

from atbert_jax.input_pipeline.manifest.records import ManifestError, read_manifest, split_records


def save_data_set(folder: Path, **splits: list[dict]) -> Path:
    """MuLaP's layout: a JSON list for each split beside a folder `audio`."""
    folder.mkdir()
    for split, rows in splits.items():
        (folder / f"dataset_{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def row(number: int, path: str, caption: str = "a tone") -> dict:
    return {"audio_id": number, "caption": caption, "audio_path": path}


def test_the_folder_of_a_data_set(tmp_path):
    rows = [row(7, "00/7.npy", "Slow, sad."), row(8, "8.npy")]
    folder = save_data_set(tmp_path / "set", train=rows, test=[row(9, "9.npy"), row(7, "9.npy")])
    found = read_manifest(folder)
    assert [(r.id, r.text, r.split) for r in found] == [
        ("7", "Slow, sad.", "train"),
        ("8", "a tone", "train"),
        ("9", "a tone", "test"),
        ("7#2", "a tone", "test"),
    ]
    names = ("00/7.npy", "8.npy", "9.npy", "9.npy")
    assert [r.path for r in found] == [folder / "audio" / name for name in names]
    splits = split_records(found, val_fraction=0.5)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [1, 1, 2]
    elsewhere = read_manifest(folder, root=tmp_path)
    assert elsewhere[1].path == tmp_path / "8.npy"


def test_errors_in_the_folder_of_a_data_set_name_the_file(tmp_path):
    folder = save_data_set(tmp_path / "set", train=[row(1, "1.npy")], val=[row(2, "../../2")])
    with pytest.raises(ManifestError, match=r"set, row 1 of dataset_val\.json, field 'path': "):
        read_manifest(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"empty: a folder without dataset_train\.json; give"):
        read_manifest(tmp_path / "empty")
    (folder / "dataset_val.json").write_text("[", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"dataset_val\.json, line 1: not JSON"):
        read_manifest(folder)
