"""Whole runs on a handful of tones: what they write, how they go on, and what they refuse."""

import functools
import io
import json

import jax
import numpy as np
import pytest
import soundfile
from rich.console import Console

from atbert_jax.input_pipeline.batching import bad_records
from atbert_jax.input_pipeline.batching.batches import Batches
from atbert_jax.training import loop, run_folder, twin
from atbert_jax.training.checkpoint import CheckpointError, Checkpoints
from atbert_jax.training.writers import Writer, read_metrics
from tests import fake_trackers, run_folder_page, tiny

pytestmark = pytest.mark.slow

TINY = {
    **tiny.MODEL,
    "objectives.correct_pair": 1.0,
    "evaluation.best_metric": "correct_pair/loss",
    "train.steps": 4,
    "train.batch_size": 4,
    "train.log_every": 1,
    "train.evaluate_every": 2,
    "optimizer.warmup_steps": 1,
    "optimizer.schedule": "constant",
    "evaluation.batch_size": 4,
}
CLASSIFY = {
    "objectives": {"classification": 1.0},
    "classification.views": ("audio",),
    "evaluation.best_metric": "loss",
}


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
    """Programs are kept between the runs of this file, most of which are the same."""
    names = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    jax.experimental.compilation_cache.compilation_cache.reset_cache()


@pytest.fixture
def make_config(tone_manifest, tone_config):
    """The config of a tiny run; all of a test's runs read the same clips."""
    manifest = tone_manifest(seconds=(0.5, 0.3))

    def make(**changes):
        objectives = changes.pop("objectives", None)
        config = tone_config(manifest, **(TINY | changes))
        if objectives:
            config.objectives = objectives
        return config

    return make


def run(config, workdir) -> tuple[dict, str]:
    """Metrics of the best checkpoint, and what was said on the way."""
    console = Console(file=io.StringIO(), width=400)
    return loop.train(config, workdir, console), console.file.getvalue()


def arrays(workdir, step: int) -> dict[str, np.ndarray]:
    return tiny.named(Checkpoints(workdir).restore_arrays(step))


def test_pretrains_and_fine_tunes_from_there(make_config, tmp_path):
    first, second = tmp_path / "pretrain", tmp_path / "finetune"
    best, said = run(make_config(), first)
    assert "records train 6, val 2, test 2" in said
    for name in ("config.json", "contract.json", "metrics.jsonl"):
        assert (first / name).is_file()
    assert list((first / "tensorboard").glob("events.*"))
    assert any((first / "tokenizer").iterdir())
    config, contract, tokenizer = run_folder.load_run(first)
    assert config.model.hidden == 16
    assert len(contract.normalization.mean) == 16
    assert contract.vocabulary == len(tokenizer)
    rows = read_metrics(first)
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in rows if "val/loss" in row] == [0, 2, 4]
    by_step = {row["step"]: row["val/correct_pair/loss"] for row in rows if "val/loss" in row}
    del by_step[0]
    assert best["step"] == min(by_step, key=by_step.get) == Checkpoints(first).best
    assert best["correct_pair/loss"] == min(by_step.values())
    # Fine-tuning takes the trunk and the preprocessing, and leaves the head.
    fine = make_config(**CLASSIFY, **{"init_from": str(first), "spectrogram.n_mels": 20})
    fine.train.steps = 2
    fine.optimizer.learning_rate = 0.0
    _, said = run(fine, second)
    assert "arrays taken over" in said
    assert "start anew: objectives/classification/dense/bias" in said
    assert "not used here: objectives/correct_pair/heads/0/dense/bias" in said
    assert run_folder.load_run(second)[1] == contract
    before, after = arrays(first, best["step"]), arrays(second, 2)
    trunk = [name for name in before if name.startswith("params/model/")]
    assert len(trunk) > 30
    for name in trunk:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    # A run that is done stays as it is.
    again, said = run(make_config(), first)
    assert "goes on at step 4" in said
    assert again == best
    assert read_metrics(first) == rows


def test_a_run_that_was_stopped_ends_as_one_that_was_not(make_config, tmp_path, monkeypatch):
    followed = fake_trackers.mlflow(monkeypatch)
    make_config = functools.partial(make_config, **{"train.tracker": "mlflow"})
    best, _ = run(make_config(), tmp_path / "whole")
    write = Writer.scalars

    def stop(self, step, values):
        if step == 3:
            raise KeyboardInterrupt
        write(self, step, values)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "scalars", stop)
        with pytest.raises(KeyboardInterrupt):
            run(make_config(), tmp_path / "stopped")
    assert Checkpoints(tmp_path / "stopped").latest == 2
    _, said = run(make_config(), tmp_path / "stopped")
    assert "goes on at step 2" in said
    whole, stopped = (arrays(tmp_path / name, 4) for name in ("whole", "stopped"))
    assert whole.keys() == stopped.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(stopped[name], value, err_msg=name)
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "stopped")
    run_folder_page.require_listed(tmp_path / "stopped")
    one, other = followed.values()
    assert one.states == ["FINISHED"]
    assert other.states == ["KILLED", "RUNNING", "FINISHED"]
    assert one.rows == other.rows
    assert one.rows[-1] == (4, {f"best/{name}": value for name, value in best.items()})
    assert [step for step, row in one.rows if "train/loss" in row] == [1, 2, 3, 4]


PHASES = {
    "train.steps": 8,
    "optimizer.name": "adam_sgd",
    "optimizer.schedule": "steps",
    "optimizer.warmup_steps": 0,
    "optimizer.learning_rate": 0.3,  # too high, so that step 4 is worse than step 2
    "optimizer.switch_at": (0.5,),
    "optimizer.reload_best": True,
    "train.keep_latest": 9,
}


def test_a_phase_begins_with_the_best_weights(make_config, tmp_path):
    """At a rate of 0 they stay; running statistics go on from the best ones, too."""
    _, said = run(make_config(**PHASES, **{"optimizer.switch_rates": (0.0,)}), tmp_path)
    assert "step 4: on with the weights of step 2" in said
    best, last, end = (arrays(tmp_path, step) for step in (2, 4, 8))
    moved = 0
    for name, value in best.items():
        if name.startswith("params/"):
            np.testing.assert_array_equal(end[name], value, err_msg=name)
            moved += not np.array_equal(last[name], value)
    assert moved > 30


def test_a_run_that_was_stopped_around_a_switch_ends_as_one_that_was_not(
    make_config, tmp_path, monkeypatch
):
    config = make_config(**PHASES, **{"optimizer.switch_rates": (1e-3,)})
    run(config, tmp_path / "whole")
    for step in (4, 5):  # before the reload, and right behind it
        with monkeypatch.context() as patch:
            asked = lambda _, number, step=step: number == step  # noqa: E731
            patch.setattr(loop.distributed.Interruption, "asked", asked)
            with pytest.raises(SystemExit):
                run(config, tmp_path / "stopped")
        assert Checkpoints(tmp_path / "stopped").latest == step
    _, said = run(config, tmp_path / "stopped")
    assert "on with" not in said
    whole, stopped = (arrays(tmp_path / name, 8) for name in ("whole", "stopped"))
    for name, value in whole.items():
        np.testing.assert_array_equal(stopped[name], value, err_msg=name)
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "stopped")


def test_a_linear_probe_goes_on_and_leaves_trunk_and_statistics(make_config, tmp_path):
    first, second = tmp_path / "pretrain", tmp_path / "probe"
    best, _ = run(make_config(**{"train.steps": 2}), first)
    settings = CLASSIFY | {
        "init_from": str(first),
        "classification.head": "linear",
        "optimizer.frozen": ("^model/",),
    }
    _, said = run(make_config(**settings, **{"train.steps": 2}), second)
    assert f": {2 * 16 + 2} parameters trained, " in said
    _, said = run(make_config(**settings), second)
    assert "goes on at step 2" in said
    before, between, after = arrays(first, best["step"]), arrays(second, 2), arrays(second, 4)
    for name, value in before.items():
        if "/model/" in name:
            np.testing.assert_array_equal(after[name], value, err_msg=name)
    head = "params/objectives/classification/output/kernel"
    assert np.abs(after[head] - between[head]).max() > 0


def test_all_of_the_twin_from_scratch_is_trained(make_config, tmp_path, monkeypatch):
    configs = {}
    monkeypatch.setattr(
        twin, "train", lambda config, workdir, *_, **__: configs.update({workdir.name: config})
    )
    changes = {
        "init_from": "elsewhere",
        "optimizer.frozen": ("model",),
        "optimizer.trunk_rate": 0.1,
    }
    twin.train_with_twin(make_config(**changes), tmp_path / "run", Console(quiet=True))
    assert configs.keys() == {"run", "scratch"}
    assert tuple(configs["run"].optimizer.frozen) == ("model",)
    scratch = configs["scratch"]
    found = (scratch.init_from, scratch.optimizer.frozen, scratch.optimizer.trunk_rate)
    assert found == ("", (), 1.0)


def test_another_config_is_refused_by_its_fields(make_config, tmp_path):
    run(make_config(**{"train.steps": 2}), tmp_path)
    other = make_config(**{"model.hidden": 32, "optimizer.name": "adam"})
    message = (
        r"holds a run with another config \(model.hidden: 16 -> 32; "
        r"optimizer.name: 'adamw' -> 'adam'\); use another --workdir"
    )
    with pytest.raises(CheckpointError, match=message):
        run(other, tmp_path)
    # A longer run is the same one.
    _, said = run(make_config(), tmp_path)
    assert "goes on at step 2" in said
    assert Checkpoints(tmp_path).latest == 4


def test_an_unknown_best_metric_is_refused_before_training(make_config, tmp_path):
    config = make_config(**{"evaluation.best_metric": "correct_pair/auc"})
    with pytest.raises(ValueError, match=r"best_metric='correct_pair/auc' .*correct_pair/roc_auc"):
        run(config, tmp_path)
    assert Checkpoints(tmp_path).latest is None
    assert not [row for row in read_metrics(tmp_path) if "train/loss" in row]
    run(make_config(**{"train.steps": 2}), tmp_path)
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2, 2]


def test_a_config_that_was_refused_can_be_corrected(make_config, tmp_path):
    first, second = tmp_path / "pretrain", tmp_path / "finetune"
    run(make_config(**{"train.steps": 2}), first)
    start = {"init_from": str(first), "train.steps": 2} | CLASSIFY
    with pytest.raises(CheckpointError, match=r"norm/bias \(16,\) -> \(24,\), .* and \d+ more;"):
        run(make_config(**start, **{"model.hidden": 24}), second)
    with pytest.raises(CheckpointError, match=r"nowhere: no config\.json here"):
        run(make_config(**start | {"init_from": str(tmp_path / "nowhere")}), second)
    run(make_config(**start), second)
    assert Checkpoints(second).latest == 2


def test_bad_files_are_counted_and_survived(make_config, tmp_path):
    config = make_config(**{"train.steps": 2, "data.max_bad_share": 0.5})
    folder = next(tmp_path.rglob("train0.wav")).parent
    (folder / "train0.wav").write_bytes(b"no sound")
    (folder / "train1.wav").unlink()
    (folder / "val0.wav").write_bytes(b"")
    run(config, tmp_path / "run")
    lines = (tmp_path / "run" / bad_records.FILE).read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"train0", "train1", "val0"}
    last = [row for row in read_metrics(tmp_path / "run") if "train/bad_records" in row][-1]
    assert last["train/bad_records"] == 3
    assert all(np.isfinite(value).all() for value in arrays(tmp_path / "run", 2).values())


def test_odd_files_are_heard_and_counted(make_config, tmp_path):
    config = make_config(**{"train.steps": 2})
    for name in ("train0", "val0"):
        file = next(tmp_path.rglob(f"{name}.wav"))
        sound, rate = soundfile.read(file)
        soundfile.write(file, np.stack([sound, -sound], 1), rate)
    run(config, tmp_path / "run")
    lines = (tmp_path / "run" / bad_records.ODD_FILE).read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"train0", "val0"}
    last = [row for row in read_metrics(tmp_path / "run") if "train/odd_records" in row][-1]
    assert (last["train/odd_records"], last["train/bad_records"]) == (2, 0)


def test_more_bad_files_than_allowed_end_the_run(make_config, tmp_path):
    config = make_config(**{"train.steps": 2, "data.max_bad_share": 0.1})
    next(tmp_path.rglob("train0.wav")).write_bytes(b"no sound")
    message = r"1 of 6 training records could not be read.*max_bad_share=0\.1.*bad_records\.jsonl"
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "run")


def test_losses_that_are_not_finite_end_the_run_and_change_nothing(
    make_config, tmp_path, monkeypatch
):
    original = Batches.train

    def poisoned(self, split, batch_size, start_step, **rows):
        stream = original(self, split, batch_size, start_step, **rows)
        for number, batch in enumerate(stream, start_step + 1):
            yield batch | {"log_mel": batch["log_mel"] * (np.nan if number > 4 else 1)}

    monkeypatch.setattr(Batches, "train", poisoned)
    config = make_config(
        **{
            "train.steps": 12,
            "train.max_nonfinite": 3,
            "train.log_every": 2,
            "train.keep_latest": 9,
        }
    )
    with pytest.raises(ValueError, match=r"4 steps in a row had no finite loss.*max_nonfinite=3"):
        run(config, tmp_path / "run")
    assert Checkpoints(tmp_path / "run").latest == 6
    before, after = (arrays(tmp_path / "run", step) for step in (4, 6))
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    rows = [row for row in read_metrics(tmp_path / "run") if "train/nonfinite_steps" in row]
    assert [row["train/nonfinite_in_a_row"] for row in rows] == [0, 0, 2, 4]


def test_a_best_metric_that_is_undefined_on_this_split_stops_nothing(make_config, tmp_path):
    config = make_config(**{"evaluation.best_metric": "correct_pair/roc_auc", "train.steps": 2})
    # A single validation clip makes no mismatched pair, so that there is no ROC.
    manifest = next(tmp_path.rglob("tracks.csv"))
    lines = manifest.read_text(encoding="utf-8").splitlines()
    manifest.write_text("\n".join(x for x in lines if not x.startswith("val1")), encoding="utf-8")
    best, _ = run(config, tmp_path / "run")
    assert best["step"] == Checkpoints(tmp_path / "run").best == 2
    assert "correct_pair/roc_auc" not in best
