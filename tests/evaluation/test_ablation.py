"""What is done is not done again, what fails is survived, and a stop is one that can go on."""

import csv
import io
import json
import os
import signal

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from atbert_jax.evaluation import ablation, grid
from atbert_jax.parallel import distributed
from tests import tiny

METRIC = "correct_pair/roc_auc"


@pytest.fixture
def config():
    config = tiny.make_config(**{"model.layers": 2, "data.manifest": "tracks.csv"})
    config.objectives.correct_pair = 1.0
    config.evaluation.best_metric = METRIC
    return config


@pytest.fixture
def calls(monkeypatch):
    """Stands in for training; what it was called with."""
    calls = []

    def train_and_evaluate(config, folder, split, console):
        calls.append((config.model.layers, config.seed, split))
        if config.model.layers == 3:
            raise ValueError("three layers\nare too many")
        auc = config.model.layers + config.seed / 10
        metrics = {"correct_pair/loss": 1.0, "correct_pair/accuracy": 0.5, METRIC: auc}
        return {"metrics": metrics, "parameters": 100 * config.model.layers}

    monkeypatch.setattr(ablation, "train_and_evaluate", train_and_evaluate)
    return calls


def run(config, workdir, *axes, over="seed=0,1", split="test", metrics=()):
    """The outcomes, and what was said."""
    cells, replicates = grid.plan(config, axes, [over])
    out = Console(file=io.StringIO(), width=200)
    outcomes = ablation.ablate(
        config, cells, replicates, workdir, split=split, metrics=metrics, console=out
    )
    return outcomes, out.file.getvalue()


def test_what_a_run_compiled_is_let_go(config, monkeypatch, tmp_path):
    def train_and_evaluate(*_: object) -> dict:
        jax.jit(lambda x: x + len(counts))(jnp.ones(3 + len(counts)))
        counts.append(len(jax.devices()[0].client.live_executables()))
        return {"metrics": {METRIC: 1.0}, "parameters": 1}

    counts: list[int] = []
    monkeypatch.setattr(ablation, "train_and_evaluate", train_and_evaluate)
    run(config, tmp_path, over="seed=0,1,2,3")
    assert counts[1:] == [counts[1]] * 3


def test_every_cell_is_trained_with_every_seed_once(config, calls, tmp_path):
    outcomes, said = run(config, tmp_path, "model.layers=2,4")
    assert calls == [(2, 0, "test"), (4, 0, "test"), (2, 1, "test"), (4, 1, "test")]
    assert [outcome.metrics[METRIC] for outcome in outcomes] == [2.0, 4.0, 2.1, 4.1]
    assert "run 4/4: model.layers=4 seed=1" in said
    assert "4.0500 ± 0.0707 *" in said
    outcomes, said = run(config, tmp_path, "model.layers=4,5", over="seed=1")
    assert calls[4:] == [(5, 1, "test")]
    assert "3 runs, 2 of them done" in said
    assert [outcome.metrics[METRIC] for outcome in outcomes] == [2.1, 4.1, 5.1]


def test_everything_is_written(config, calls, tmp_path):
    run(config, tmp_path, "model.layers=1,3", metrics=["correct_pair/accuracy"])
    everything = json.loads((tmp_path / "ablation.json").read_text())
    assert len(everything["runs"]) == 6
    assert everything["runs"][0]["metrics"][METRIC] == 2.0
    with (tmp_path / "ablation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["model.layers"] for row in rows] == ["2", "1", "3"]
    assert [row["failed"] for row in rows] == ["0", "0", "2"]
    assert [row["correct_pair/accuracy mean"] for row in rows] == ["0.5", "0.5", ""]
    assert "| model.layers=3 | 0, 2 failed | failed |" in (tmp_path / "ablation.md").read_text()
    page = (tmp_path / "report.html").read_text()
    for text in ("4 of 6", "model.layers=3 seed=1 failed: three layers are too many", "minutes on"):
        assert text in page
    assert page.count("data:image/png;base64") == 1


def test_a_run_that_fails_is_named_survived_and_tried_again(config, calls, tmp_path):
    outcomes, said = run(config, tmp_path, "model.layers=3,4", over="seed=0")
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False]
    assert "failed: model.layers=3 seed=0: three layers are too many" in said
    error = tmp_path / "runs" / "model.layers=3" / "seed=0" / "error.txt"
    assert "Traceback" in error.read_text()
    del calls[:]
    run(config, tmp_path, "model.layers=3,4", over="seed=0")
    assert calls == [(3, 0, "test")]


def test_all_runs_may_fail(config, calls, tmp_path):
    config.model.layers = 3
    outcomes, _ = run(config, tmp_path)
    assert all(outcome.error for outcome in outcomes)
    assert "data:image" not in (tmp_path / "report.html").read_text()


def test_another_base_is_refused_with_the_difference(config, calls, tmp_path):
    run(config, tmp_path)
    config.data.threads = 7  # changes no result
    run(config, tmp_path)
    config.model.layers, config.train.steps = 4, 9
    message = r"another base \(model.layers: 2 -> 4; train.steps: 10000 -> 9\); use another"
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path)
    with pytest.raises(ValueError, match="split: 'test' -> 'val'"):
        run(
            grid.set_fields(config, {"model.layers": 2, "train.steps": 10000}),
            tmp_path,
            split="val",
        )
    assert len(calls) == 2


def test_a_metric_that_no_run_has_is_refused_with_the_choices(config, calls, tmp_path):
    with pytest.raises(ValueError, match=f"--metrics='correct_pair/auc' is none of .*{METRIC}"):
        run(config, tmp_path, metrics=["correct_pair/auc"])
    run(config, tmp_path, metrics=[METRIC])
    assert len(calls) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_the_same_call_goes_on(config, calls, tmp_path, monkeypatch, number):
    whole = ablation.train_and_evaluate

    def stopped(config, *rest):
        if config.seed == 1:
            os.kill(os.getpid(), number)
        return whole(config, *rest)

    before = signal.getsignal(number)
    monkeypatch.setattr(ablation, "train_and_evaluate", stopped)
    with pytest.raises(SystemExit) as caught:
        run(config, tmp_path)
    monkeypatch.setattr(ablation, "train_and_evaluate", whole)
    assert caught.value.code == distributed.STOPPED
    assert signal.getsignal(number) == before
    everything = json.loads((tmp_path / "ablation.json").read_text())
    assert [bool(outcome["metrics"]) for outcome in everything["runs"]] == [True, False]
    outcomes, said = run(config, tmp_path)
    assert "1 of them done" in said
    assert [outcome.metrics[METRIC] for outcome in outcomes] == [2.0, 2.1]


def test_time_adds_up_over_calls_that_were_stopped(tmp_path, monkeypatch):
    now = iter([10.0, 15.0, 100.0, 101.0])
    monkeypatch.setattr(ablation.time, "monotonic", lambda: next(now))
    with pytest.raises(SystemExit), ablation._timed(tmp_path, "training"):
        raise SystemExit(distributed.STOPPED)
    with ablation._timed(tmp_path, "training"):
        pass
    assert json.loads((tmp_path / ablation.CLOCK).read_text())["training"] == 6.0
