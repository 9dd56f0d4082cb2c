"""Tests of the data set: splits, labels, tokens, the contract, mixtures, and clear refusals."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atbert_jax.configs import defaults
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.contract import Normalization
from atbert_jax.input_pipeline.manifest.records import ManifestError

ROOT = Path(__file__).resolve().parents[2]


def table(folder: Path, *lines: str, name: str = "table.csv") -> Path:
    """A manifest; its audio need not exist here."""
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


TARGETS = (
    "path,valence,arousal,split",
    "a.wav,1,10,train",
    "b.wav,3,10,train",
    "c.wav,,10,train",
    "d.wav,2,12,val",
    "e.wav,2,,test",
)
TAGS = (
    "path,labels,split,text",
    "a.wav,rock|live,train,a rock song",
    "b.wav,jazz,train,a jazz tune",
    "c.wav,,train,",
    "d.wav,live,val,",
    "e.wav,jazz|rock,test,",
)


def test_fields_of_a_split(tmp_path, tone_manifest, tone_config):
    data = dataset.load(tone_config(tone_manifest(6, 2, 3)), tmp_path)
    assert {name: len(split.records) for name, split in data.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 3,
    }
    train = data.split("train")
    assert [record.id for record in train.records] == [f"train{n}" for n in range(6)]
    assert train.token_ids.shape == train.token_mask.shape == (6, 8)
    assert train.labels.shape == (6, 2)
    kinds = (train.token_ids, train.token_mask, train.labels, train.label_mask)
    assert [array.dtype for array in kinds] == [np.int32, np.float32, np.float32, np.float32]
    assert (train.sizes, train.mixture) == ((6,), (6,))


def test_one_hot(tmp_path, tone_manifest, tone_config):
    data = dataset.load(tone_config(tone_manifest(4, 1, 2)), tmp_path)
    assert data.contract.labels.names == ("high", "low")
    np.testing.assert_array_equal(data.split("train").labels, [[0, 1], [1, 0], [0, 1], [1, 0]])
    np.testing.assert_array_equal(data.split("test").labels, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(data.split("test").label_mask, [1, 1])


def test_multi_hot(tmp_path, tone_config):
    config = tone_config(table(tmp_path, *TAGS), **{"data.task": "multi_label"})
    data = dataset.load(config, tmp_path)
    assert data.contract.labels.names == ("jazz", "live", "rock")
    np.testing.assert_array_equal(data.split("train").labels, [[0, 1, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(data.split("train").label_mask, [1, 1, 0])
    np.testing.assert_array_equal(data.split("test").labels, [[1, 0, 1]])


def regression(manifest, tone_config, columns=("valence", "arousal")):
    return tone_config(manifest, **{"data.task": "regression", "data.target_columns": columns})


def test_regression_is_normalised_by_train(tmp_path, tone_config):
    data = dataset.load(regression(table(tmp_path, *TARGETS), tone_config), tmp_path)
    labels = data.contract.labels
    assert labels.names == ("valence", "arousal")
    # Over the records that have all targets; a target that never varies is divided by 1.
    assert (labels.mean, labels.std) == ((2.0, 10.0), (1.0, 1.0))
    np.testing.assert_array_equal(data.split("train").labels, [[-1, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(data.split("train").label_mask, [1, 1, 0])
    np.testing.assert_array_equal(data.split("val").labels, [[0, 2]])
    np.testing.assert_array_equal(data.split("test").label_mask, [0])


def test_without_a_task_there_are_no_labels(tmp_path, tone_manifest, tone_config):
    data = dataset.load(tone_config(tone_manifest(2, 1, 1), **{"data.task": ""}), tmp_path)
    assert data.contract.labels.names == ()
    assert data.split("train").labels.shape == (2, 0)
    assert not data.split("train").label_mask.any()


def test_tokenizer_learns_the_captions_of_train(tmp_path, tone_manifest, tone_config):
    data = dataset.load(tone_config(tone_manifest()), tmp_path)
    assert (tmp_path / "tokenizer" / "spiece.model").exists()
    assert data.contract.vocabulary == len(data.tokenizer) > 5
    train = data.split("train")
    assert train.token_mask[:, :3].all()
    assert not (train.token_ids == data.tokenizer.unk_token_id).any()
    # 'low' and 'high' in turn.
    np.testing.assert_array_equal(train.token_ids[0], train.token_ids[2])
    assert not np.array_equal(train.token_ids[0], train.token_ids[1])


def test_tokenizer_of_a_file_is_used(tmp_path, tone_manifest, tone_config):
    manifest = tone_manifest()
    first = dataset.load(tone_config(manifest), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    model = tmp_path / "tokenizer" / "spiece.model"
    config = tone_config(manifest, **{"text.tokenizer": str(model)})
    second = dataset.load(config, other)
    assert not list(other.iterdir())
    np.testing.assert_array_equal(second.split("train").token_ids, first.split("train").token_ids)


@pytest.mark.parametrize("columns", [("text,label", "?!,rock"), ("label", "rock")])
def test_a_manifest_without_text_is_audio_alone(tmp_path, tone_config, caplog, columns):
    names, values = columns
    rows = [f"{split}.wav,{split},{values}" for split in ("train", "val", "test")]
    path = table(tmp_path, f"path,split,{names}", *rows)
    data = dataset.load(tone_config(path), tmp_path)
    assert data.contract.vocabulary == len(data.tokenizer) == 5
    for split in data.splits.values():
        assert split.token_ids.shape == (1, 8)
        assert not split.token_ids.any()
        assert not split.token_mask.any()
    assert "no record of the train split has text" in caplog.text


def test_contract_takes_the_configs_settings(tmp_path, tone_manifest, tone_config):
    config = tone_config(
        tone_manifest(),
        **{"spectrogram.frames": 24, "segmenting.seconds": 0.3, "normalization": "clip"},
    )
    contract = dataset.load(config, tmp_path).contract
    assert contract.segmenting.seconds == 0.3
    assert contract.spectrogram.n_mels == 16
    # ATBERT's rule: 2400 samples // 24 + 1.
    assert (contract.spectrogram.hop_length, contract.spectrogram.n_fft) == (101, 202)
    assert contract.normalization == Normalization("clip")
    assert contract.max_tokens == 8


def test_measure_is_called_where_it_is_needed(tmp_path, tone_manifest, tone_config):
    manifest = tone_manifest()
    seen = []

    def measure(data: dataset.Dataset) -> Normalization:
        seen.append(data.contract.normalization.kind)
        return Normalization("dataset", (0.0,) * 16, (1.0,) * 16)

    first = dataset.load(tone_config(manifest), tmp_path, measure=measure)
    assert first.contract.normalization.mean == (0.0,) * 16
    dataset.load(tone_config(manifest, normalization="none"), tmp_path, measure=measure)
    dataset.load(
        tone_config(manifest),
        tmp_path,
        contract=first.contract,
        tokenizer=first.tokenizer,
        measure=measure,
    )
    assert seen == ["dataset"]


def test_a_given_contract_is_kept(tmp_path, tone_manifest, tone_config):
    first = dataset.load(tone_config(tone_manifest(4, 2, 2)), tmp_path)
    # Another manifest, without 'low' and with other words, and other settings.
    rows = ("path,text,label,split", "a.wav,a loud noise,high,train", "b.wav,,high,val")
    config = tone_config(
        table(tmp_path, *rows), **{"spectrogram.n_mels": 32, "text.max_tokens": 16}
    )
    other = tmp_path / "other"
    other.mkdir()
    second = dataset.load(config, other, contract=first.contract, tokenizer=first.tokenizer)
    assert second.contract == first.contract
    assert second.tokenizer is first.tokenizer
    assert not list(other.iterdir())
    np.testing.assert_array_equal(second.split("train").labels, [[1, 0]])
    assert second.split("train").token_ids.shape == (1, 8)


def test_a_given_contract_gets_the_labels_of_another_task(tmp_path, tone_manifest, tone_config):
    manifest = tone_manifest(4, 2, 2)
    pretrained = dataset.load(tone_config(manifest, **{"data.task": ""}), tmp_path)
    given = {"contract": pretrained.contract, "tokenizer": pretrained.tokenizer}
    tuned = dataset.load(tone_config(manifest), tmp_path, **given)
    assert tuned.contract.labels.names == ("high", "low")
    assert tuned.contract.spectrogram == pretrained.contract.spectrogram
    assert tuned.split("train").labels.shape == (4, 2)


def test_a_label_that_a_given_contract_does_not_have(tmp_path, tone_manifest, tone_config):
    first = dataset.load(tone_config(tone_manifest()), tmp_path)
    rows = ("path,label,split", "a.wav,low,train", "b.wav,middle,test", "c.wav,low,val")
    config = tone_config(table(tmp_path, *rows))
    with pytest.raises(ManifestError, match=r"'b\.wav', field 'labels': 'middle' is none of the 2"):
        dataset.load(config, tmp_path, contract=first.contract, tokenizer=first.tokenizer)


def test_targets_in_another_order_than_a_given_contract(tmp_path, tone_config):
    manifest = table(tmp_path, *TARGETS)
    first = dataset.load(regression(manifest, tone_config), tmp_path)
    given = {"contract": first.contract, "tokenizer": first.tokenizer}
    again = dataset.load(regression(manifest, tone_config), tmp_path, **given)
    np.testing.assert_array_equal(again.split("val").labels, first.split("val").labels)
    for columns in (("arousal", "valence"), ("valence",)):
        with pytest.raises(ManifestError, match=r"checkpoint predicts \('valence', 'arousal'\)"):
            dataset.load(regression(manifest, tone_config, columns), tmp_path, **given)


@pytest.mark.parametrize(("mixture", "expected"), [((), (4, 2)), ((0.9, 0.1), (0.9, 0.1))])
def test_two_manifests(tmp_path, tone_manifest, tone_config, mixture, expected):
    paths = tone_manifest(4, 1, 1, name="one.csv"), tone_manifest(2, 2, 1, name="two.csv")
    config = tone_config(" , ".join(map(str, paths)), **{"data.mixture": mixture})
    train = dataset.load(config, tmp_path).split("train")
    assert (train.sizes, train.mixture) == ((4, 2), expected)
    assert [record.path.parent.name for record in train.records] == ["one"] * 4 + ["two"] * 2
    assert train.labels.shape == (6, 2)
    assert dataset.load(config, tmp_path).split("val").sizes == (1, 2)


def test_a_table_without_splits_is_split(tmp_path, tone_config):
    rows = [f"{number}.wav,{'low' if number % 2 else 'high'}" for number in range(40)]
    config = tone_config(table(tmp_path, "path,label", *rows))
    first, second = (dataset.load(config, tmp_path) for _ in range(2))
    assert first.splits["train"].records == second.splits["train"].records
    assert sum(len(split.records) for split in first.splits.values()) == 40
    assert all(split.records for split in first.splits.values())


def refused(config, folder: Path) -> str:
    with pytest.raises(ManifestError) as error:
        dataset.load(config, folder)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_refuses_what_is_not_there(tmp_path, tone_manifest, tone_config):
    assert "set --config.data.manifest" in refused(defaults.get_config("tiny"), tmp_path)
    assert "missing.csv" in refused(tone_config(tmp_path / "missing.csv"), tmp_path)
    manifest = tone_manifest()
    config = tone_config(f"{manifest},{tmp_path / 'missing.csv'}")
    assert "missing.csv" in refused(config, tmp_path)


def test_refuses_an_empty_split(tmp_path, tone_config):
    rows = ("path,label,split", "a.wav,low,train", "b.wav,low,val")
    data = dataset.load(tone_config(table(tmp_path, *rows)), tmp_path)
    message = r"split 'test' has no records \(records per split: train 1, val 1, test 0\); .*test_"
    with pytest.raises(ManifestError, match=message):
        data.split("test")
    only_test = table(tmp_path, "path,label,split", "a.wav,low,test")
    assert "split 'train' has no records" in refused(tone_config(only_test), tmp_path)


def test_refuses_a_label_of_test_alone(tmp_path, tone_config):
    rows = ("path,label,split", "a.wav,low,train", "b.wav,low,val", "c.wav,high,test")
    message = refused(tone_config(table(tmp_path, *rows)), tmp_path)
    assert "label 'high' occurs in split 'test' (record 'c.wav') but never in train" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"data.task": "genre"},
            "config.data.task='genre' is none of '', single_label, mul",
        ),
        ({"data.task": "regression"}, "needs config.data.target_columns"),
        (
            {"data.task": "regression", "data.target_columns": ("empty",)},
            "no record of the train split has all of empty",
        ),
        ({"data.task": "single_label"}, "record 'a.wav' of split 'train', field 'labels': 2"),
        ({"data.mixture": (0.5, 0.5)}, "config.data.mixture has 2 weights for 1 manifests"),
        ({"data.label_column": "genre"}, "genre"),
        ({"data.train_split": "training"}, "no record has the split 'training'"),
    ],
)
def test_refuses_a_config_that_does_not_fit(tmp_path, tone_config, changes, expected):
    rows = [TAGS[0] + ",empty", *(f"{row}," for row in TAGS[1:])]
    config = tone_config(table(tmp_path, *rows), **({"data.task": "multi_label"} | changes))
    assert expected in refused(config, tmp_path)


def test_works_without_tensorflow(tmp_path, tone_manifest):
    """Records, audio, text and the mel bank: all that a prediction reads with."""
    program = f"""
import sys
sys.modules["tensorflow"] = None
from pathlib import Path
import atbert_jax.input_pipeline.batching.bad_records, atbert_jax.input_pipeline.progress
from atbert_jax.configs import defaults
from atbert_jax.input_pipeline import contract, dataset
from atbert_jax.input_pipeline.audio.reader import Reader
config = defaults.get_config("tiny")
config.data.manifest = {str(tone_manifest())!r}
config.data.task = "single_label"
data = dataset.load(config, Path({str(tmp_path)!r}))
reader = Reader(16_000, data.contract.segmenting)
print(reader.segments(data.split("train").records[0])[0].shape)
print(data.contract.spectrogram.mel_matrix.shape)
assert sys.modules["tensorflow"] is None
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["(10, 16000)", "(513, 64)"]


def test_the_folds_of_a_column_take_turns_as_test_split(tmp_path, tone_config):
    """Each record is tested once, and validation draws whole groups from the rest."""
    rows = [f"{n}.wav,{'xy'[n % 2]},{n // 4 % 5 + 1},artist {n // 4}" for n in range(120)]
    manifest = table(tmp_path, "path,label,fold,group", *rows)
    tested = []
    for fold in range(1, 6):
        config = tone_config(manifest, **{"data.hold_out": f"fold={fold}"})
        splits = dataset.load(config, tmp_path, measure=lambda _: Normalization("none")).splits
        groups = {name: {r.group for r in split.records} for name, split in splits.items()}
        assert all(groups.values())
        assert groups["test"] == {f"artist {n}" for n in range(30) if n % 5 + 1 == fold}
        assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 30
        assert sum(len(split.records) for split in splits.values()) == 120
        tested += [record.id for record in splits["test"].records]
    assert sorted(tested) == sorted(f"{n}.wav" for n in range(120))
