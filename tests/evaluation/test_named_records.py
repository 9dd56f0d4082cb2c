"""The records that a command line names."""

import logging

import pytest

from atbert_jax.evaluation.named_records import named
from atbert_jax.input_pipeline.manifest.records import ManifestError


def test_files_folders_and_texts(tmp_path):
    for name in ("b.wav", "a.mp3", "notes.txt"):
        (tmp_path / name).touch()
    found = list(named([str(tmp_path / "b.wav"), str(tmp_path)], "a tone"))
    assert [record.path.name for record in found] == ["b.wav", "a.mp3", "b.wav"]
    assert {record.text for record in found} == {"a tone"}
    (alone,) = named([], "a tone")
    assert (alone.id, alone.text) == ("text", "a tone")


def test_nothing_and_a_folder_without_audio_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to predict; name audio files"):
        list(named([], ""))
    with pytest.raises(ValueError, match="no audio files here"):
        list(named([str(tmp_path)], ""))


def test_a_manifest_of_files_elsewhere_has_to_be_allowed(tmp_path):
    manifest, elsewhere = tmp_path / "set" / "tracks.csv", tmp_path / "elsewhere" / "a.wav"
    manifest.parent.mkdir()
    manifest.write_text(f"path,text\n{elsewhere},a tone\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"outside the folder .* allow it with --allow_outside"):
        list(named([str(manifest)], ""))
    (record,) = named([str(manifest)], "", allow_outside=True)
    assert record.path == elsewhere
    assert record.text == "a tone"


def test_what_a_folder_has_besides_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    for name in ("a.mp3", "memo.m4a", "sub/b.w64", "sub/c.wma", "._d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    with caplog.at_level(logging.WARNING):
        found = list(named([str(tmp_path)], ""))
    assert [record.path for record in found] == [tmp_path / "a.mp3", tmp_path / "sub/b.w64"]
    (said,) = (row.getMessage() for row in caplog.records)
    assert said.startswith(f"{tmp_path}: 1 .m4a, 1 .wma left out: takes ffmpeg to read")
    assert said.endswith("(memo.m4a, sub/c.wma)")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "x.m4a").touch()
    with pytest.raises(ValueError, match=r"no audio files here \(1 \.m4a left out: takes ffmpeg"):
        list(named([str(tmp_path / "only")], ""))
