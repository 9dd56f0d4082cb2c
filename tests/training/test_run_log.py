"""What a run writes of its steps: one step behind, as means, and not for ever without a loss."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.input_pipeline.batching.bad_records import BadRecords
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.progress import Meter
from atbert_jax.training import checkpoint, run_log
from atbert_jax.training.writers import METRICS
from tests import tiny


class Rows(list):
    """Keeps what a `Writer` would write."""

    def scalars(self, step: int, values: dict) -> None:
        self.append((step, values))


def metrics(loss: float, in_a_row: int = 0) -> dict:
    return {
        "loss": np.float32(loss),
        "gradient_norm": np.float32(1),
        "nonfinite_steps": np.int32(in_a_row),
        "nonfinite_in_a_row": np.int32(in_a_row),
    }


@pytest.fixture
def start(tmp_path):
    """Starts a log of a run of 5 steps; so many of its 10 records and of others are unreadable."""

    def make(pending=(), bad=0, bad_others=0, **changes) -> tuple[run_log.StepLog, Rows]:
        fields = {"train.steps": 5, "train.log_every": 2, "optimizer.warmup_steps": 1} | changes
        trained, others = (
            [Record(f"{name}{number}", Path(f"{name}{number}.wav")) for number in range(10)]
            for name in ("train", "val")
        )
        split, records = SimpleNamespace(records=trained), BadRecords(None)
        for record in trained[:bad] + others[:bad_others]:
            records.add(record, OSError("gone"))
        batches = SimpleNamespace(
            bad_records=records, dataset=SimpleNamespace(split=lambda _: split)
        )
        meter, rows = Meter("training", 5, "steps", console=Console(file=io.StringIO())), Rows()
        config = tiny.make_config(**fields)
        return run_log.StepLog(config, tmp_path, batches, rows, meter, list(pending)), rows

    return make


def test_rows_are_means_of_the_steps_and_come_when_the_next_step_runs(start):
    log, rows = start()
    for number in (1, 2):
        log.add(number, metrics(number))
        assert not rows
    log.add(3, metrics(3))
    ((step, row),) = rows
    assert (step, row["train/loss"]) == (2, 1.5)
    assert [each["loss"] for each in log.settle()] == [3]
    assert log.settle() == log.settle()
    # The last step ends a row, however long it is.
    log.add(4, metrics(4))
    log.add(5, metrics(7))
    assert log.settle() == []
    assert [(step, row["train/loss"]) for step, row in rows[1:]] == [(4, 3.5), (5, 7)]


def test_a_run_that_goes_on_has_the_steps_of_before_in_its_row(start):
    log, rows = start(pending=[metrics(1)])
    log.add(2, metrics(4))
    assert log.settle() == []
    assert rows[0][1]["train/loss"] == 2.5


def test_a_step_without_a_finite_loss_is_in_no_mean(start):
    log, rows = start()
    log.add(1, metrics(np.nan, 1))
    log.add(2, metrics(2))
    log.settle()
    assert rows[0][1]["train/loss"] == 2
    assert rows[0][1]["train/nonfinite_in_a_row"] == 1


@pytest.mark.parametrize(
    ("changes", "loss", "message"),
    [
        ({"train.max_nonfinite": 3}, np.nan, r"3 steps in a row had no finite loss.*max_nonfinite"),
        (
            {"bad": 2, "bad_others": 3, "data.max_bad_share": 0.1},
            1.0,
            "2 of 10 training records could not be read",
        ),
    ],
)
def test_a_run_that_learns_nothing_ends_when_it_is_logged(start, changes, loss, message):
    log, rows = start(**changes)
    log.add(1, metrics(loss, 2))
    log.add(2, metrics(loss, 3))
    with pytest.raises(ValueError, match=message):
        log.settle()
    assert len(rows) == 1


def test_records_of_the_validation_are_no_training_records(start):
    log, rows = start(bad=1, bad_others=9, **{"data.max_bad_share": 0.1})
    log.add(1, metrics(1))
    log.add(2, metrics(1))
    log.settle()
    assert rows[0][1]["train/bad_records"] == 10


def test_the_best_checkpoint_is_the_latest_of_equals_and_not_the_start(tmp_path):
    config = tiny.make_config(**{"evaluation.best_metric": "auc"})
    (tmp_path / checkpoint.CONFIG).write_text(config.to_json_best_effort(), encoding="utf-8")
    rows = [
        '{"step": 0, "val/loss": 1, "val/auc": 0.9}',
        '{"step": 1, "train/loss": 1}',
        '{"step": 2, "val/loss": 2, "val/auc": 0.7}',
        '{"step": 4, "val/loss": 3, "val/auc": 0.7}',
        '{"step": 6, "val/loss": 4}',
    ]
    (tmp_path / METRICS).write_text("\n".join(rows), encoding="utf-8")
    assert run_log.best_metrics(tmp_path) == {"step": 4, "loss": 3, "auc": 0.7}
