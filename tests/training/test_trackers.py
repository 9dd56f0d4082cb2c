"""Runs in Weights & Biases and MLflow: what these are told, and that a run goes on in its own."""

import json
import sys

import pytest

from atbert_jax import extras
from atbert_jax.training import readiness, trackers
from atbert_jax.training.writers import Writer, read_metrics
from tests import fake_trackers, tiny

FAKES = {"wandb": fake_trackers.wandb, "mlflow": fake_trackers.mlflow}
ENDS = {"wandb": ["exit 0", "exit 0"], "mlflow": ["KILLED", "RUNNING", "FINISHED"]}


def start(workdir, kind):
    return trackers.start(tiny.make_config(**{"train.tracker": kind}), workdir)


@pytest.mark.parametrize("kind", trackers.KINDS)
def test_a_run_goes_on_where_it_was_followed(tmp_path, monkeypatch, kind):
    runs, workdir = FAKES[kind](monkeypatch), tmp_path / "genre"
    writer = Writer(workdir, 0, tracker=start(workdir, kind))
    writer.scalars(1, {"train/loss": 2.0, "val/auc": None})
    writer.scalars(2, {"train/loss": 1.5})
    writer.__exit__(SystemExit)
    with Writer(workdir, 1, tracker=start(workdir, kind)) as writer:
        writer.scalars(2, {"train/loss": 1.0})
        writer.conclude(2, {"step": 2, "loss": 0.5, "auc": None})
    ((identity, told),) = runs.items()
    assert told.name == f"atbert_jax: {tmp_path.name}/genre"
    assert str(told.params["model.hidden"]) == "16"
    losses = [1, {"train/loss": 2.0}], [2, {"train/loss": 1.5}], [2, {"train/loss": 1.0}]
    best = {"best/step": 2.0, "best/loss": 0.5}
    assert told.rows == [*map(tuple, losses), (2, best)]
    assert told.states == ENDS[kind]
    assert json.loads((workdir / trackers.FILE).read_text())["run"] == identity
    # The run's own folder has what was measured, and nothing twice.
    assert read_metrics(workdir) == [{"step": n, "train/loss": 3.0 - n} for n in (1, 2)]


def test_a_run_that_fails_is_shown_as_one(tmp_path, monkeypatch):
    for kind, state in (("wandb", "exit 1"), ("mlflow", "FAILED")):
        runs = FAKES[kind](monkeypatch)
        with (
            pytest.raises(ValueError, match="loss"),
            Writer(tmp_path / kind, 0, tracker=start(tmp_path / kind, kind)),
        ):
            raise ValueError("no finite loss")
        assert [told.states for told in runs.values()] == [[state]]


def test_another_tracker_is_another_run(tmp_path, monkeypatch):
    first, second = (fake(monkeypatch) for fake in FAKES.values())
    for kind in (*FAKES, "wandb"):
        start(tmp_path, kind)
    assert (len(first), len(second)) == (2, 1)
    (tmp_path / trackers.FILE).write_text("{")
    with pytest.raises(ValueError, match=r"tracker.json: not JSON .*delete it"):
        start(tmp_path, "wandb")
    (tmp_path / trackers.FILE).write_text('{"tracker": "wandb", "run": ["x"]}')
    with pytest.raises(ValueError, match=r"\['x'\] is no run; delete it"):
        start(tmp_path, "wandb")


def unreachable(*_, **__):
    raise RuntimeError("no\nroute")  # neither an OSError nor one line


def test_a_tracker_that_fails_later_is_left_alone_until_the_next_start(
    tmp_path, monkeypatch, caplog
):
    runs = fake_trackers.mlflow(monkeypatch)
    tracker = start(tmp_path, "mlflow")
    with Writer(tmp_path, 0, tracker=tracker) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["mlflow"].MlflowClient, "log_batch", unreachable)
            writer.scalars(1, {"train/loss": 1.0})
        writer.scalars(2, {"train/loss": 1.0})
    assert caplog.text.count("step 1: the tracker takes no numbers (no route)") == 1
    assert "lacks: 2;" in caplog.text
    assert len(read_metrics(tmp_path)) == 2
    (told,) = runs.values()
    assert (told.rows, told.states) == ([], [])
    start(tmp_path, "mlflow").scalars(3, {"train/loss": 0.5})
    assert (told.rows, len(runs)) == ([(3, {"train/loss": 0.5})], 1)


@pytest.mark.parametrize(("kind", "entry"), [("wandb", "init"), ("mlflow", "MlflowClient")])
def test_one_that_is_down_refuses_a_new_run_and_stops_no_other(
    tmp_path, monkeypatch, caplog, kind, entry
):
    runs = FAKES[kind](monkeypatch)
    start(tmp_path, kind).finish("stopped")
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[kind], entry, unreachable)
        way_out = rf"='{kind}' takes no new run \(no route\); .*{kind.upper()}_.*tracker=$"
        with pytest.raises(ValueError, match=way_out):
            start(tmp_path / "new", kind)
        tracker = start(tmp_path, kind)
        tracker.scalars(1, {"train/loss": 1.0})
        tracker.finish("stopped")
    assert f"{tmp_path} (no route); the run goes on without it; see" in caplog.text
    assert "lacks: 1;" in caplog.text
    start(tmp_path, kind).scalars(2, {"train/loss": 0.5})
    ((_, told),) = runs.items()
    assert told.rows == [(2, {"train/loss": 0.5})]


def test_by_default_there_is_none(tmp_path):
    assert start(tmp_path, "") is None
    assert not (tmp_path / trackers.FILE).exists()


def test_one_that_is_unknown_or_missing_is_refused_before_the_work(monkeypatch):
    with pytest.raises(ValueError, match=r"config.train.tracker='mlfow' .* mean 'mlflow'"):
        readiness.require_settings(tiny.make_config(**{"train.tracker": "mlfow"}))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        readiness.require_settings(tiny.make_config(**{"train.tracker": "wandb"}))
    assert "pip install 'atbert-jax[wandb]'" in extras.way_out(caught.value)
