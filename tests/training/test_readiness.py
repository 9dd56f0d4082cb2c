"""What measures nothing, or learns nothing, is refused or said before the first step."""

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.configs import defaults
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.training import loop, readiness
from tests import tiny


def ready(config, folder) -> str:
    """What is shown; labels and tables alone are read."""
    console = Console(file=io.StringIO(), width=200)
    data = dataset.load(config, folder)
    readiness.require_measurable(config, data, console)
    return console.file.getvalue()


@pytest.fixture
def config_of(tmp_path, tone_config):
    """A config of a manifest of these rows, whose audio is not there."""

    def make(*rows: str, **changes):
        columns = "path,label,split" if rows[0].count(",") == 2 else "path,label,split,valence"
        (tmp_path / "m.csv").write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
        learns = {"objectives.classification": 1.0, "normalization": "none"}
        return tone_config(tmp_path / "m.csv", **(learns | changes))

    return make


ROWS = ("a.wav,x,train", "b.wav,y,train", "c.wav,x,val", "d.wav,y,val", "e.wav,x,test")


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("train.batch_size", 0, "give a number from 1 up"),
        ("train.batch_size", -4, "give a number from 1 up"),
        ("train.steps", 0, "give a number from 1 up"),
        ("train.evaluate_every", 0, "give a number from 1 up"),
        ("evaluation.batch_size", 0, "give a number from 1 up"),
        ("optimizer.learning_rate", -1.0, "give a number from 0 up"),
        ("optimizer.learning_rate", math.nan, "give a number from 0 up"),
        ("optimizer.weight_decay", -0.1, "give a number from 0 up"),
        ("optimizer.clip_norm", math.nan, "give a number from 0 up"),
        ("model.dropout", 1.5, "give a number from 0 to 1"),
        ("objectives.classification", -1.0, "give a weight from 0 up"),
    ],
)
def test_numbers_out_of_their_range(field, value, wanted):
    config = defaults.get_config("tiny")
    readiness.require_settings(config)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=rf"^config\.{field}={value}: {wanted}$"):
        readiness.require_settings(config)


def test_training_refuses_them_before_it_reads_anything(tmp_path):
    config = defaults.get_config("tiny")
    config.train.batch_size = 0
    config.data.manifest = "nowhere.csv"
    with pytest.raises(ValueError, match=r"^config\.train\.batch_size=0"):
        loop.train(config, tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_labels_of_each_split_are_shown(config_of, tmp_path, caplog):
    said = ready(config_of(*ROWS), tmp_path)
    rows = [line.replace("│", " ").replace("┃", " ").split() for line in said.splitlines()]
    assert ["label", "train", "val", "test"] in rows
    assert ["x", "1", "1", "1"] in rows
    assert ["y", "1", "1", "0"] in rows
    assert "1 of 2 labels of 'classification' have no record in test, so nothing is" in caplog.text
    assert caplog.text.rstrip().endswith("measured of them there: y")


def test_many_labels_are_cut(config_of, tmp_path):
    rows = [f"{split}{n}.wav,label{n},{split}" for split in ("train", "val") for n in range(60)]
    said = ready(config_of(*rows), tmp_path)
    assert "The 40 most frequent of 60." in said
    assert said.count("label") == 42


def test_a_validation_without_labels_is_refused(config_of, tmp_path):
    config = config_of(*ROWS[:2], "c.wav,,val", "d.wav,,val")
    with pytest.raises(ValueError, match="none of the 2 records of val has what 'classification'"):
        ready(config, tmp_path)


def test_it_is_said_where_something_else_is_measured(config_of, tmp_path, caplog):
    rows = (*ROWS[:2], "c.wav,,val")
    ready(config_of(*rows, **{"objectives.masked_audio": 1.0}), tmp_path)
    assert "none of the 1 records of val has what 'classification' learns" in caplog.text
    best = {"evaluation.best_metric": "classification/audio/accuracy"}
    with pytest.raises(ValueError, match="no checkpoint can be chosen"):
        ready(config_of(*rows, **{"objectives.masked_audio": 1.0}, **best), tmp_path)


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_one_class_is_refused(config_of, tmp_path, task):
    rows = ("a.wav,x,train", "b.wav,x,train", "c.wav,x,val")
    with pytest.raises(ValueError, match="the 2 labelled records of train are all x: 'class"):
        ready(config_of(*rows, **{"data.task": task}), tmp_path)
    # Another name in the config makes it no second one.
    with pytest.raises(ValueError, match="nothing to tell apart"):
        ready(config_of(*rows, **{"data.task": task, "data.labels": ("x", "y")}), tmp_path)


def test_numbers_that_never_vary_are_refused(config_of, tmp_path):
    regression = {"data.task": "regression", "data.target_columns": ("valence",)}
    rows = ("a.wav,,train,3", "b.wav,,train,3", "c.wav,,val,3")
    with pytest.raises(ValueError, match=r"2 records of train with numbers for .* the same val"):
        ready(config_of(*rows, **regression), tmp_path)
    rows = ("a.wav,,train,3", "b.wav,,train,4", "c.wav,,val,")
    with pytest.raises(ValueError, match="none of the 1 records of val has what"):
        ready(config_of(*rows, **regression), tmp_path)
    assert not ready(config_of(*rows[:2], "c.wav,,val,1", **regression), tmp_path)


def test_one_of_several_tasks_may_lack_labels_in_val(tmp_path, tone_config, caplog):
    rows = ("a.wav,x,1,train", "b.wav,y,2,train", "c.wav,x,,val", "d.wav,,2,test")
    (tmp_path / "m.csv").write_text("\n".join(["path,genre,key,split", *rows]) + "\n")
    config = tone_config(tmp_path / "m.csv", normalization="none", **{"data.task": ""})
    for name in ("genre", "key"):
        settings = {"kind": "single_label", "columns": (name,), "names": ()}
        config.data.tasks[name] = settings
        config.objectives[name] = 1.0
    said = ready(config, tmp_path)
    assert "Records by label: genre" in said
    assert "Records by label: key" in said
    assert "none of the 1 records of val has what 'key' learns" in caplog.text
    config.evaluation.best_metric = "key/audio/accuracy"
    with pytest.raises(ValueError, match=r"what 'key' learns, .* no checkpoint can be chosen"):
        ready(config, tmp_path)


def test_what_is_not_learned_does_not_matter(config_of, tmp_path):
    rows = ("a.wav,x,train", "b.wav,x,train", "c.wav,,val")
    config = config_of(*rows, **{"objectives.classification": 0.0})
    assert not ready(config, tmp_path)


@pytest.mark.parametrize(
    ("segmenting", "seconds", "said"),
    [
        (Segmenting(10, 1.0), 0.8, r"0\.8 s or less, .* hears 10 s .*segments=4 .*seconds=0\.2$"),
        (Segmenting(10, 1.0), 4.5, r"4\.5 s or less, .* hears 10 s .*segments=5 .*seconds=0\.9$"),
        (Segmenting(1, 3.0), 0.8, r"hears 3 s .*segments=1 and config\.segmenting\.seconds=0\.8$"),
        (Segmenting(4, 1.0, "spaced"), 0.3, r"hears 1 s .*segments=4 .*seconds=0\.3$"),
    ],
)
def test_clips_much_shorter_than_what_is_heard(segmenting, seconds, said, caplog):
    contract = tiny.make_contract(segmenting=segmenting)
    lengths = np.array([seconds] * 9 + [0.0])
    readiness.note_lengths(contract, lengths, None)
    assert re.search(said, caplog.text.rstrip()), caplog.text
    caplog.clear()
    readiness.note_lengths(contract, lengths, Path("runs/pretrain"))
    assert caplog.text.rstrip().endswith("start from a run that hears less than runs/pretrain")


@pytest.mark.parametrize("segmenting", [Segmenting(10, 1.0), Segmenting(10, 1.0, "spaced")])
def test_nothing_is_said_of_clips_that_fill_more_than_half(segmenting, caplog):
    readiness.note_lengths(tiny.make_contract(segmenting=segmenting), np.full(5, 5.0), None)
    assert not caplog.text
