"""The same audio in two splits is found, said, and dropped where that is asked for."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.manifest.records import (
    ManifestError,
    Record,
    read_manifest,
    split_records,
)
from atbert_jax.input_pipeline.preparing import copies
from atbert_jax.input_pipeline.preparing.shard_folder import write_shard_folder
from atbert_jax.input_pipeline.preparing.shard_plan import Sharding
from atbert_jax.input_pipeline.preparing.shard_writer import ShardSettings


@pytest.fixture
def file(tmp_path):
    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def test_the_same_bytes_are_found_and_nothing_else(file):
    whole = np.random.default_rng(0).bytes(50_000)
    almost = whole[:20_000] + b"x" + whole[20_001:]  # differs where no sample is taken
    train = [
        Record("a", file("a.wav", whole)),
        Record("b", file("b.wav", almost)),
        Record("c", file("c.wav", whole[:-1])),
        Record("gone", Path("/nowhere/x.wav")),
        Record("empty", file("empty.wav", b"")),
        Record("again", file("again.wav", whole)),
    ]
    val = [Record("d", file("d.wav", whole)), Record("e", file("e.wav", whole[1:]))]
    test = [Record("f", file("f.wav", almost)), Record("nil", file("nil.wav", b""))]
    found = copies.find({"train": train, "val": val, "test": test})
    assert found == {"val": [(val[0], [train[0], train[5]])], "test": [(test[0], [train[1]])]}


def test_parts_of_a_file_are_the_same_where_they_overlap(file):
    path, other = file("a.wav", b"sound" * 99), file("b.wav", b"sound" * 99)
    train = [Record("1", path, start=0, duration=5), Record("2", path, start=5, duration=5)]
    test = [Record("3", other, start=9), Record("4", path, start=10, duration=2)]
    found = copies.find({"train": train, "val": [], "test": test})
    assert found == {"val": [], "test": [(test[0], [train[1]])]}


def test_the_same_samples_are_found_in_whatever_file(tmp_path):
    rng = np.random.default_rng(0)
    sound = rng.integers(-9000, 9000, (8000, 2), np.int16)
    other = sound.copy()
    other[7000] += 1  # behind what is compared first
    for name, samples in {"a.wav": sound, "b.flac": sound, "c.flac": other, "d.wav": other}.items():
        soundfile.write(tmp_path / name, samples, 8000)
    soundfile.write(tmp_path / "e.flac", sound, 16000)
    soundfile.write(tmp_path / "f.wav", sound[:, 0], 8000)
    soundfile.write(tmp_path / "g.mp3", sound / 32768, 44100)
    tag = b"ID3\x03\x00\x00\x00\x00\x00\x0aTXXX\x00\x00\x00\x00\x00\x00"
    (tmp_path / "h.mp3").write_bytes(tag + (tmp_path / "g.mp3").read_bytes())
    np.save(tmp_path / "i.npy", sound)
    files = {name: Record(name, tmp_path / name) for name in names(tmp_path)}
    train = [files[name] for name in ("a.wav", "c.flac", "g.mp3", "i.npy")]
    test = [files[name] for name in ("b.flac", "d.wav", "e.flac", "f.wav", "h.mp3")]
    found = copies.find({"train": train, "val": [], "test": test})
    assert {record.id: [r.id for r in again] for record, again in found["test"]} == {
        "b.flac": ["a.wav"],
        "d.wav": ["c.flac"],
        "h.mp3": ["g.mp3"],
    }


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def test_what_is_the_same_by_bytes_and_by_samples_is_said_once(tmp_path):
    sound = np.random.default_rng(0).integers(-9000, 9000, 4000, np.int16)
    for name in ("a.wav", "b.wav", "c.flac"):
        soundfile.write(tmp_path / name, sound, 8000)
    first, second, third = (Record(n, tmp_path / n) for n in ("a.wav", "b.wav", "c.flac"))
    found = copies.find({"train": [first], "val": [second], "test": [third]})
    assert found == {"val": [(second, [first])], "test": [(third, [first])]}


def test_in_shards_the_sound_is_compared_that_was_digested_with_them(file):
    train, test = file("train-0", b"x" * 99), file("test-0", b"x" * 99)
    summary = '{"rows": [4, 5, 6], "copies": [5], "digests": ["a", "b", "%s"]}'
    file("train-0.json", (summary % "c").encode())
    file("test-0.json", (summary % "d").encode())
    heard = [Record("1", train, place=0), Record("2", train, place=1)]
    measured = [Record("3", test, place=1), Record("4", test, place=0), Record("5", test, place=9)]
    found = copies.find({"train": heard, "test": measured})
    assert found == {"val": [], "test": [(measured[1], [heard[0]])]}
    file("test-0.json", b"{")
    assert copies.find({"train": heard, "test": measured}) == {"val": [], "test": []}


def test_a_whole_preparation_is_compared(tmp_path, tone_manifest):
    manifest = tone_manifest(2, 1, 1)
    for number, path in enumerate(sorted(manifest.parent.glob("*.wav"))):
        soundfile.write(path, np.random.default_rng(number).uniform(-0.5, 0.5, 4000), 8000)
    (manifest.parent / "train1.wav").write_bytes((manifest.parent / "test0.wav").read_bytes())
    settings = ShardSettings(8000, "wav", Spectrogram(sample_rate=8000, n_fft=256, hop_length=128))
    sharding = Sharding("tones", 10, deduplicate=False, shards=settings)
    write_shard_folder(manifest, tmp_path / "out", sharding, processes=1)
    splits = split_records(read_manifest(tmp_path / "out" / "manifest.parquet"))
    ((record, (copy,)),) = copies.find(splits)["test"]
    assert (record.id, copy.id) == ("test0", "train1")


def test_many_files_of_one_size(tmp_path, file):
    rng = np.random.default_rng(0)
    train = [Record(f"{n}", file(f"{n}.wav", rng.bytes(100))) for n in range(600)]
    test = [Record("x", file("x.wav", train[400].path.read_bytes()))]
    assert copies.find({"train": train, "test": test})["test"] == [(test[0], [train[400]])]


@pytest.mark.parametrize("wish", ["keep", "drop"])
def test_training_is_told(tmp_path, tone_manifest, tone_config, caplog, wish):
    manifest = tone_manifest(6, 2, 2)
    folder = manifest.parent
    for number, path in enumerate(sorted(folder.glob("*.wav"))):  # some tones are the same
        soundfile.write(path, np.random.default_rng(number).uniform(-0.5, 0.5, 4000), 8000)
    (folder / "train2.wav").write_bytes((folder / "test0.wav").read_bytes())
    (folder / "train3.wav").write_bytes((folder / "val1.wav").read_bytes())
    config = tone_config(manifest, normalization="none", **{"data.copies": wish})
    data = dataset.load(config, tmp_path)
    ids = [record.id for record in data.splits["train"].records]
    kept = [f"train{n}" for n in range(6) if wish == "keep" or n not in (2, 3)]
    assert ids == kept
    assert data.splits["train"].labels.shape[0] == len(kept)
    said = "the audio of 1 records of test is in train, too, in 1 records, as that of test0 is that"
    assert said in caplog.text
    assert "the audio of 1 records of val is in train" in caplog.text
    assert ("--config.data.copies=drop" in caplog.text) == (wish == "keep")


def test_an_unknown_wish_is_refused(tmp_path, tone_manifest, tone_config):
    config = tone_config(tone_manifest(), **{"data.copies": "ignore"})
    with pytest.raises(ManifestError, match=r"data\.copies='ignore'; use 'keep' or 'drop'"):
        dataset.load(config, tmp_path)
