"""The command that compares variants of a config."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.commands import TINY, one_line, run

pytestmark = pytest.mark.slow


def ablate(music: Path, workdir: Path, *more: str) -> subprocess.CompletedProcess:
    return run(
        "atbert_jax.ablate",
        "--config=configs/ablation.py",
        f"--workdir={workdir}",
        f"--config.data.manifest={music / 'tracks.csv'}",
        *TINY,
        *more,
    )


FINETUNE = (
    "--finetune_config=configs/atbert_finetune.py:tiny",
    "--finetune_config.train.steps=2",
    "--finetune_config.train.evaluate_every=2",
    "--finetune_config.train.batch_size=4",
    "--finetune_config.optimizer.warmup_steps=1",
    "--finetune_config.evaluation.best_metric=loss",
)


def test_ablate_compares_both_stages_survives_and_goes_on(music, tmp_path):
    """The base, whose second stage starts from the first, and a cell that cannot be built."""
    out = tmp_path / "out"
    result = ablate(music, out, *FINETUNE, "--grid=model.heads=3", "--over=seed=3")
    assert "1 of 2 runs failed" in one_line(result)
    assert "failed: model.heads=3 seed=3: model.heads=3 does not divide" in result.stdout
    folder = out / "runs" / "base" / "seed=3"
    assert f"from {folder / 'pretrain'}" in result.stdout.replace("\n", "")
    stored = json.loads((folder / "finetune" / "config.json").read_text())
    assert stored["init_from"] == str(folder / "pretrain")
    assert stored["seed"] == 3
    everything = json.loads((out / "ablation.json").read_text())
    cells, (run, _) = everything["cells"], everything["runs"]
    assert [cell["runs"] for cell in cells] == [1, 0]
    assert [cell["model.heads"] for cell in cells] == [4, 3]
    assert cells[0]["correct_pair/roc_auc mean"] is not None
    assert {"correct_pair/roc_auc", "classification/audio/accuracy", "loss"} <= set(run["metrics"])
    assert run["parameters"] > 0
    assert set(run["seconds"]) == {"training", "evaluation"}
    result = ablate(music, out, *FINETUNE, "--over=seed=3", "--metrics=loss")
    assert not result.returncode, result.stderr
    assert "1 runs, 1 of them done" in result.stdout
    assert str(out / "report.html") in result.stdout


def test_ablate_fine_tunes_with_the_same_model_on_the_same_data():
    code = (
        "import sys; from absl import flags; from atbert_jax import ablate; flags.FLAGS(sys.argv);"
        "config = ablate.base().finetune; print(config.data.manifest, config.data.task,"
        "config.model.layers, config.model.dropout, config.train.steps)"
    )
    result = run(
        "--config=configs/ablation.py",
        "--config.data.manifest=tracks.csv",
        "--config.model.layers=7",
        "--config.model.dropout=0.2",
        "--config.train.steps=99",
        "--finetune_config=configs/quickstart_finetune.py",
        "--finetune_config.model.dropout=0.3",
        code=code,
    )
    assert result.stdout.split() == ["tracks.csv", "single_label", "7", "0.3", "300"], result.stderr


def test_ablate_refuses_an_unknown_axis(music, tmp_path):
    line = one_line(ablate(music, tmp_path / "out", "--grid=model.layerz=1"))
    assert "choose from model.layers" in line
    assert not (tmp_path / "out").exists()
