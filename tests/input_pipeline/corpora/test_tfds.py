"""Data sets of TFDS, one of which is made here."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from atbert_jax import prepare
from atbert_jax.input_pipeline import corpora
from atbert_jax.input_pipeline.manifest.records import ManifestError, read_manifest

RATE = 8000
SPLITS = {"train_clean": 3, "train_other": 1, "dev": 2, "validation": 1}


def samples(number):
    return np.arange(-400, 400, dtype=np.int64) * (number + 1)


class TinyTones(tfds.core.GeneratorBasedBuilder):
    """Sound in each of the ways that TFDS' own data sets have it, and labels likewise."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "audio": tfds.features.Audio(sample_rate=RATE),
                    "speech": tfds.features.Audio(
                        sample_rate=RATE, dtype=np.int16, lazy_decode=True, file_format="flac"
                    ),
                    "notes": tfds.features.Audio(shape=(80,), dtype=np.float32),
                    "label": tfds.features.ClassLabel(names=["low", "high"]),
                    "instrument": {"family": tfds.features.ClassLabel(names=["bass", "brass"])},
                    "text": tfds.features.Text(),
                    "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["a", "b", "c"])),
                    "speaker_id": np.int64,
                    "f0": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "id": np.str_,
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(count) for split, count in SPLITS.items()}

    def _generate_examples(self, count):
        for number in range(count):
            flac = self.data_path.parent / f"{number}.flac"
            soundfile.write(flac, samples(number).astype(np.int16), RATE)
            yield (
                number,
                {
                    "audio": samples(number),
                    "speech": flac,
                    "notes": np.full(80, number / 4, np.float32),
                    "label": number % 2,
                    "instrument": {"family": 1},
                    "text": f"Tön {number}.",
                    "tags": list(range(number)),
                    "speaker_id": 10 + number,
                    "f0": np.zeros(4, np.float32),
                    "id": f"tone{number}",
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    arguments = ["tfds:tiny_tones", "--root", folder / "tensorflow_datasets", "--output", folder]
    prepare.main([*map(str, arguments), "--download"])
    return folder / "tensorflow_datasets"


def test_a_data_set_becomes_a_manifest(data_dir, tmp_path, capsys):
    arguments = ["tfds:tiny_tones", "--root", data_dir, "--output", tmp_path / "out"]
    prepare.main(list(map(str, arguments)))
    assert "train 4, val 2, validated 1" in (said := capsys.readouterr().out)
    assert "warning" not in said
    assert (tmp_path / "out/labels.txt").read_text() == "low\nhigh\n"
    records = read_manifest(tmp_path / "out/manifest.csv")
    numbers = [int(record.group) - 10 for record in records]
    assert sorted(numbers[:4]) == [0, 0, 1, 2]
    for number, record in zip(numbers, records, strict=True):
        assert record.labels == (("low", "high")[number % 2],)
        assert record.text == f"Tön {number}."
        assert record.path.suffix == ".flac"
        found, rate = soundfile.read(record.path, dtype="int16")
        np.testing.assert_array_equal(found, samples(number))
        assert rate == RATE


def test_what_was_interrupted_goes_on(data_dir, tmp_path):
    name = "tfds:tiny_tones,audio=notes,rate=8000"
    paths = corpora.read(name, data_dir, tmp_path / "out").rows["path"]
    whole, other, cut = (Path(path) for path in paths[:3])
    sounds = [soundfile.read(file)[0].tolist() for file in (whole, other, cut)]
    before = whole.stat().st_mtime_ns
    soundfile.write(other, np.full(80, -1.0), 8000, "FLOAT")
    cut.write_bytes(cut.read_bytes()[:50])
    corpora.read(name, data_dir, tmp_path / "out")
    assert whole.stat().st_mtime_ns == before
    assert [soundfile.read(file)[0].tolist() for file in (whole, other, cut)] == sounds


def test_columns_of_other_kinds(data_dir, tmp_path):
    corpus = corpora.read("tfds:tiny_tones,label=tags,audio=speech", data_dir, tmp_path / "out")
    by_number = corpus.rows.assign(number=corpus.rows["group"] - 10).set_index(
        ["official_split", "number"]
    )
    assert by_number.loc[("train_clean", 2), "labels"] == "a|b"
    assert (corpus.task, corpus.labels) == ("multi_label", ("a", "b", "c"))
    assert set(corpus.rows["instrument/family"]) == {"brass"}
    assert by_number.loc[("dev", 1), "source_id"] == "tone1"
    assert "f0" not in corpus.rows
    found, _ = soundfile.read(by_number.loc[("dev", 1), "path"], dtype="int16")
    np.testing.assert_array_equal(found, samples(1))


def test_floats_and_the_sample_rate(data_dir, tmp_path):
    builder = data_dir / "tiny_tones/1.0.0"
    with pytest.raises(ManifestError, match=r"does not tell its sample rate; say it, as in tfds:"):
        corpora.read("tfds:tiny_tones,audio=notes", data_dir, tmp_path / "out")
    rows = corpora.read("tfds:tiny_tones,audio=notes,rate=16000", builder, tmp_path / "out").rows
    for path, speaker in zip(rows["path"], rows["group"], strict=True):
        found, rate = soundfile.read(path, dtype="float32")
        np.testing.assert_array_equal(found, np.full(80, (speaker - 10) / 4, np.float32))
        assert rate == 16000


def test_what_is_not_there(data_dir, tmp_path):
    with pytest.raises(ManifestError, match=r"has no data set 'tiny_tones' of TFDS; prepare"):
        corpora.read("tfds:tiny_tones", tmp_path, tmp_path / "out")
    with pytest.raises(SystemExit, match="error: corpus 'esc50' is got from its authors"):
        prepare.main(["esc50", "--root", str(data_dir), "--output", str(tmp_path), "--download"])
