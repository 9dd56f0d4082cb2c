"""A teacher's labels as a manifest, and students of them."""

import io
import json
from pathlib import Path

import numpy as np
import optax
import pytest
from rich.console import Console

from atbert_jax.configs import tagger_recipes
from atbert_jax.evaluation import pseudo_labels
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.batching.batches import Batches
from atbert_jax.input_pipeline.manifest.records import ManifestError, read_manifest
from atbert_jax.models.keys import Keys
from atbert_jax.training import loop, run_folder, trained
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import fresh, split
from tests import ear, tiny


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    ear.install(monkeypatch)


@pytest.fixture
def make_config(tone_config):
    def make(manifest, **changes):
        fields = {"data.task": "multi_label", "data.label_column": "label"}
        return tone_config(manifest, **ear.CONFIG | {"segmenting.segments": 1} | fields | changes)

    return make


@pytest.fixture
def teacher(tone_manifest, make_config, tmp_path) -> Path:
    """A run's folder of random weights; labels 'high' and 'low'."""
    config = make_config(tone_manifest(4, 2, 2))
    data = dataset.load(config, tmp_path)
    learner = tiny.make_module(lambda: Learner(config, data.contract, rngs=Keys(0)))
    learner.objectives["classification"].output.kernel[...] *= 0.01  # believes nothing firmly
    _, params, statistics = split(learner)
    folder = tmp_path / "teacher"
    checkpoints = Checkpoints(folder)
    checkpoints.save(fresh(params, statistics, optax.adam(0.1)), 0.0)
    checkpoints.close()
    run_folder.save_run(folder, config, data.contract, data.tokenizer)
    return folder


@pytest.fixture
def unlabelled(tone_manifest) -> Path:
    """Six tones of 0.5 to 0.7 s, of which two are val and test."""
    return tone_manifest(4, 1, 1, seconds=(0.5, 0.7), name="more.csv")


def write(teacher: Path, output: Path, records, **options) -> tuple[list[dict], str, int]:
    console = Console(file=io.StringIO(), width=300)
    written, lost = pseudo_labels.write(teacher, output, records, console=console, **options)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == written
    return rows, console.file.getvalue(), lost


def test_rows_are_what_the_teacher_says_of_training_records(teacher, unlabelled, tmp_path):
    records = read_manifest(unlabelled)
    (unlabelled.parent / "train3.wav").write_bytes(b"no sound")
    rows, said, lost = write(teacher, unlabelled.parent / "pseudo.jsonl", records)
    assert [row["path"] for row in rows] == ["train0.wav", "train1.wav", "train2.wav"]
    assert lost == 1
    assert "left out: " in said
    assert "train3.wav" in said
    assert "allow_outside" not in said
    answers = Predictor(trained.load(teacher)).predict(records[:3])
    for row, answer in zip(rows, answers, strict=True):
        assert row["probabilities"] == pytest.approx(answer.fields["probabilities"], abs=1e-4)
        assert row["text"] == answer.record.text
    # From elsewhere the paths are whole.
    rows, said, _ = write(teacher, tmp_path / "elsewhere" / "pseudo.jsonl", records)
    assert rows[0]["path"] == str(records[0].path)
    assert "3 are outside of" in said


def test_stretches_have_labels_of_their_own(teacher, unlabelled):
    """0.5 s are two of 0.25 s; of 0.7 s the rest of 0.2 s is the third."""
    records = read_manifest(unlabelled)[:2]
    rows, _, _ = write(teacher, unlabelled.parent / "pseudo.jsonl", records, chunks=True)
    places = [(row["path"], row.get("start", 0), row["duration"]) for row in rows]
    lengths = [("train0.wav", 2), ("train1.wav", 3)]
    expected = [(name, 0.25 * n, 0.25) for name, count in lengths for n in range(count)]
    expected[-1] = ("train1.wav", 0.5, pytest.approx(0.2))
    assert places == expected
    assert len({row["id"] for row in rows}) == 5
    found = read_manifest(unlabelled.parent / "pseudo.jsonl")
    answers = Predictor(trained.load(teacher)).predict(found)
    for record, answer in zip(found, answers, strict=True):
        own = dict(zip(record.labels, record.shares, strict=True))
        assert own == pytest.approx(answer.fields["probabilities"], abs=1e-4)


def test_what_fails_or_is_killed_is_in_nobodys_way(teacher, unlabelled):
    output = unlabelled.parent / "pseudo.jsonl"
    output.with_name("pseudo.jsonl.part").write_text("{half a row")  # of a killed process

    def broken():
        yield from read_manifest(unlabelled)[:1]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        pseudo_labels.write(teacher, output, broken(), console=Console(file=io.StringIO()))
    assert not list(unlabelled.parent.glob("pseudo*"))
    rows, _, _ = write(teacher, output, read_manifest(unlabelled)[:2])
    assert len(rows) == 2
    assert list(unlabelled.parent.glob("pseudo*")) == [output]


def test_what_cannot_be_is_refused(teacher, unlabelled, tmp_path):
    (tmp_path / "there.jsonl").touch()
    reasons = {"pseudo.csv": "name a file with", "there.jsonl": "exists already; name a new file"}
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=f"{name}: {reason}"):
            pseudo_labels.write(teacher, tmp_path / name, read_manifest(unlabelled))


def test_a_noisy_student_trains_on_both_and_augments_one(
    teacher, unlabelled, make_config, tmp_path
):
    write(teacher, unlabelled.parent / "pseudo.jsonl", read_manifest(unlabelled))
    labelled = trained.load(teacher).config.data.manifest
    config = make_config(f"{labelled},{unlabelled.parent / 'pseudo.jsonl'}")
    tagger_recipes.apply(config, "noisy_student")
    config.augmentation.update({"polarity_probability": 1.0, "random_crop": False})
    config.train.update({"batch_size": 4, "steps": 2, "evaluate_every": 2})
    config.evaluation.batch_size = 4
    data = dataset.load(config, tmp_path)
    split = data.split("train")
    np.testing.assert_array_equal(split.soft, [False] * 4 + [True] * 4)
    assert not data.split("val").soft.any()
    plain = make_config(config.data.manifest, **{"augmentation.random_crop": False})
    plain.data.mixture = (1.0, 1.0)
    streams = [Batches(each, data, BadRecords(None)).train("train", 4) for each in (config, plain)]
    for _ in range(3):
        one, clean = map(next, streams)
        soft = split.soft[one["record"]]
        assert soft.sum() == 2
        np.testing.assert_array_equal(one["waveform"][~soft], clean["waveform"][~soft])
        assert (np.abs(one["waveform"] - clean["waveform"]).max(axis=(1, 2)) > 0)[soft].all()
        assert set(one["labels"][~soft].ravel()) == {0, 1}
        assert not set(one["labels"][soft].ravel()) & {0, 1}
    for batch in Batches(plain, data, BadRecords(None)).evaluation("train", 4):
        np.testing.assert_array_equal(
            batch["label_mask"], batch["valid"] * ~split.soft[batch["record"]]
        )
    best = loop.train(config, tmp_path / "student", Console(file=io.StringIO()))
    assert np.isfinite(best["loss"])


CLIPS = '{"path": "a.wav", "split": "train", "labels": "x|y"}'


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"path": "b.wav", "probabilities": {"x": 1.5}}', "row 2, field 'probabilities': not of"),
        ('{"path": "b.wav", "probabilities": ["x"]}', "row 2, field 'probabilities': expected"),
        ('{"path": "b.wav", "probabilities": "x:0.5"}', r"row 2, field 'probabilities': no JSON"),
        (
            '{"path": "b.wav", "split": "val", "probabilities": {"x": 0.5}}',
            "record 'b.wav' of split 'val' has probabilities, which only train can have",
        ),
    ],
)
def test_soft_labels_that_are_none_are_refused(row, message, tmp_path, make_config):
    path = tmp_path / "table.jsonl"
    path.write_text(f"{CLIPS}\n{row}\n", encoding="utf-8")
    config = make_config(path, **{"data.label_column": ""})
    with pytest.raises(ManifestError, match=message):
        dataset.load(config, tmp_path)


def test_soft_labels_are_written_in_any_table_and_stand_beside_hard_ones(tmp_path, make_config):
    path = tmp_path / "table.csv"
    rows = [
        "path,labels,probabilities",
        *(f"{n}.wav,{'y|x' if n % 2 else 'y'}," for n in range(20)),
        'soft.wav,y,"{""x"": 0.25, ""z, w"": 0}"',
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = make_config(path, **{"data.label_column": "", "data.val_fraction": 0.3})
    data = dataset.load(config, tmp_path)
    assert data.contract.labels.names == ("x", "y", "z, w")
    train = data.split("train")
    assert train.records[-1].id == "soft.wav"
    np.testing.assert_array_equal(train.labels[-1], [0.25, 0, 0])
    assert train.label_mask[-1] == 1
    assert len(data.split("val").records) >= 1
    # Few-shot draws are of what somebody labelled.
    config.data.samples_per_label = 1
    drawn = dataset.load(config, tmp_path).split("train").records
    assert [bool(record.shares) for record in drawn] in ([False, True], [False, False, True])
