"""Features are prepared once: whole files, bad ones named, and a manifest that trains."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.input_pipeline import extract
from atbert_jax.input_pipeline.audio import decoding
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.audio.music_features import extract as compute
from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.input_pipeline.manifest.table_file import ManifestError, Table
from atbert_jax.input_pipeline.preparing import feature_files

SETTINGS = MusicFeatures(16_000, 128, 512, 4, 4, 8, 8)


def prepare(manifest: Path, folder: Path, processes: int = 1) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    failed = feature_files.write_all_features(
        manifest, folder, settings=SETTINGS, processes=processes, console=console
    )
    return failed, console.file.getvalue()


def test_a_manifest_of_features_is_that_of_the_audio(tone_manifest, tmp_path):
    manifest = tone_manifest(3, 2, 1)
    (manifest.parent / "train1.wav").write_bytes(b"nothing")
    failed, said = prepare(manifest, tmp_path / "features", processes=2)
    assert failed == 1
    assert "left out: train1: " in said
    assert "train1.wav: not readable as audio" in said
    assert "5 of 6 clips are in" in said
    sound = {record.id: record for record in read_manifest(manifest)}
    found = {r.id: r for r in read_manifest(tmp_path / "features" / "manifest.csv")}
    assert found.keys() == sound.keys() - {"train1"}
    for name, record in found.items():
        about = ("text", "labels", "split", "group", "start", "duration")
        assert all(getattr(record, field) == getattr(sound[name], field) for field in about)
        expected = compute(decoding.read(sound[name].path, 16_000), SETTINGS)
        np.testing.assert_array_equal(np.load(record.path), expected)


def test_an_interrupted_run_goes_on(tone_manifest, tmp_path, monkeypatch):
    manifest, folder = tone_manifest(3, 1, 1), tmp_path / "features"
    prepare(manifest, folder)
    files = sorted(folder.glob("*.npy"))
    times = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    (folder / ".1234.part").write_bytes(b"half of a file")
    assert prepare(manifest, folder)[0] == 0
    assert sorted(folder.glob("*.npy")) == files
    assert all(file.stat().st_mtime_ns == times[file] for file in files[1:])


def test_parts_of_one_file_have_features_of_their_own(tone_manifest, tmp_path):
    tone_manifest(1, 1, 1)
    manifest = tmp_path / "tracks" / "parts.csv"
    rows = ["file_path,start,duration,genre,length", "train0.wav,0,0.2,a/b,26"]
    manifest.write_text("\n".join([*rows, "train0.wav,0.2,0.2,,26", ""]))
    prepare(manifest, tmp_path / "features")
    table = Table(tmp_path / "features" / "manifest.csv")
    assert not table.has("start")
    assert not table.has("duration")
    assert table.strings("genre") == ["a/b", ""]
    assert table.strings("id") == ["train0.wav@0", "train0.wav@0.2"]
    found = [np.load(record.path) for record in read_manifest(table.file)]
    assert [len(frames) for frames in found] == [26, 26]
    for frames in found:
        np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-5)


def test_what_cannot_be_prepared_ends_with_one_line(tone_manifest, tmp_path):
    manifest = tone_manifest(1, 1, 1)
    same = manifest.rename(manifest.with_name("manifest.csv"))
    with pytest.raises(SystemExit, match="the new manifest would replace it"):
        extract.main([str(same), str(same.parent)])
    for file in same.parent.glob("*.wav"):
        file.write_bytes(b"nothing")
    with pytest.raises(ManifestError, match="none of its 3 clips could be read"):
        prepare(same, tmp_path / "features")


def test_settings_of_the_features_are_flags(tone_manifest, tmp_path):
    manifest = tone_manifest(1, 0, 0)
    given = [f"--{name}={value}" for name, value in dataclasses.asdict(SETTINGS).items()]
    extract.main([str(manifest), str(tmp_path / "features"), "--processes=1", *given])
    (record,) = read_manifest(tmp_path / "features" / "manifest.csv")
    expected = compute(decoding.read(manifest.parent / "train0.wav", 16_000), SETTINGS)
    np.testing.assert_array_equal(np.load(record.path), expected)
    with pytest.raises(SystemExit, match=r"error: features\.hop_length=100 must be a multiple"):
        extract.main([str(manifest), str(tmp_path / "others"), "--hop_length=100"])
