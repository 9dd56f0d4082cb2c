"""What a run writes: rows of metrics that survive a stop, and TensorBoard's events."""

import os
import random

import numpy as np
import pytest

from atbert_jax.training.checkpoint import CheckpointError
from atbert_jax.training.writers import METRICS, Writer, read_metrics
from tests import trial


@pytest.fixture
def written(tmp_path):
    writer = Writer(tmp_path, 0)
    for step in range(4):
        writer.scalars(step, {"train/loss": np.float32(step / 2), "val/auc": None})
    writer.close()
    return tmp_path


def test_rows_are_read_back_without_what_is_undefined(written):
    assert read_metrics(written) == [{"step": n, "train/loss": n / 2} for n in range(4)]


def test_a_run_that_goes_on_drops_what_came_after(written):
    writer = Writer(written, 2)
    writer.scalars(3, {"train/loss": 9.0})
    writer.close()
    rows = [(row["step"], row["train/loss"]) for row in read_metrics(written)]
    assert rows == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 9.0)]


def test_a_run_that_starts_again_starts_a_new_table(written):
    writer = Writer(written, 0)
    writer.scalars(0, {"train/loss": 5.0})
    writer.close()
    assert read_metrics(written) == [{"step": 0, "train/loss": 5.0}]


def test_rows_are_on_disk_at_once_and_a_torn_one_is_left_out(tmp_path):
    writer = Writer(tmp_path, 0)
    writer.scalars(1, {"loss": 1.0})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}]
    writer.close()
    with (tmp_path / METRICS).open("a", encoding="utf-8") as file:
        file.write('{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}]
    writer = Writer(tmp_path, 1)
    writer.scalars(2, {"loss": 2.0})
    writer.close()
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_rows_that_stay_are_not_written_again(written):
    before = (written / METRICS).stat()
    Writer(written, 3).close()
    after = (written / METRICS).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("step", [0, 2])
def test_a_kill_while_rows_are_dropped_keeps_all(written, monkeypatch, step):
    before = (written / METRICS).read_bytes()

    def killed(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        Writer(written, step)
    assert (written / METRICS).read_bytes() == before


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "is empty"),
        ('{"step": 1,', "not JSON"),
        ("7", "holds a int"),
        ('{"train/loss": 1.0}', "'step' is None"),
        ('{"step": 1.5}', "'step' is 1.5"),
        ('{"step": true}', "'step' is True"),
        ('{"step": 1, "train/loss": "low"}', "'train/loss' is 'low'"),
    ],
)
def test_a_damaged_row_is_named(written, line, reason):
    rows = (written / METRICS).read_text().splitlines()
    rows[2] = line
    (written / METRICS).write_text("\n".join(rows) + "\n")
    with pytest.raises(CheckpointError, match=f"metrics.jsonl, line 3: {reason}.*delete this line"):
        Writer(written, 3)


def test_mutated_rows_are_read_or_refused_by_name(written):
    data, rng, found = (written / METRICS).read_bytes(), random.Random(0), []
    for _ in range(200):
        mutant = bytearray(data)
        mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        (written / METRICS).write_bytes(mutant)
        found.append(trial.outcome(lambda: read_metrics(written), CheckpointError))
    refused = [each for each in found if not isinstance(each, list)]
    assert len(refused) > 100
    assert not [each for each in refused if not each.startswith(f"refused: {written / METRICS}, l")]


def test_a_folder_without_metrics_has_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


def test_tensorboard_gets_curves_pictures_and_text(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    pictures = np.random.default_rng(0).normal(size=(2, 8, 12))
    writer = Writer(tmp_path, 0)
    writer.scalars(3, {"train/loss": 0.25, "val/auc": None})
    writer.pictures(0, {"log_mel": pictures, "flat": np.zeros((1, 4, 4))})
    writer.texts(0, {"config": "seed: 0"})
    writer.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"train/loss", "log_mel", "flat", "config"} <= tags
    assert "val/auc" not in tags
    (point,) = events.Tensors("train/loss")
    assert point.step == 3
    assert tensor_util.make_ndarray(point.tensor_proto) == 0.25
