"""The same audio in two splits is found, said, and dropped where that is asked for."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.manifest import copies
from atbert_jax.input_pipeline.manifest.records import ManifestError, Record


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


def test_shards_are_not_looked_at(file):
    path = file("s.array_record", b"x" * 99)
    train, test = [Record("1", path, place=0)], [Record("2", path, place=1)]
    assert copies.find({"train": train, "test": test}) == {"val": [], "test": []}


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
