"""A run of the code before its modules stood in layers loads, answers and goes on as then."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.training import loop, trained
from atbert_jax.training.writers import read_metrics
from tests import tiny, tones

GOLDEN = Path(__file__).parent / "golden" / "run_before_layers"
STEPS, MORE = 3, 5


def make_config(stage: str, steps: int):
    """A run's config names its manifest from the folder that training is started in."""
    changes = {
        **tiny.MODEL,
        "train.steps": steps,
        "train.batch_size": 4,
        "train.log_every": 1,
        "train.evaluate_every": 3,
        "evaluation.batch_size": 2,
        "optimizer.warmup_steps": 1,
        "normalization": "none",
    }
    if stage == "finetune":
        changes |= {"init_from": "pretrain", "classification.views": ("audio",)}
        changes |= {"objectives.classification": 1.0}
    else:
        changes |= {"data.task": "", "objectives.correct_pair": 1.0}
        changes |= {"objectives.masked_embedding": 1.0}
    return tones.make_config("tracks/tracks.csv", **changes)


def answer(run: Path) -> list[float]:
    """What the run says of a chord of half a second."""
    time = np.arange(4000) / tones.TONE_RATE
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 277.2, 2217.5)) / 4
    soundfile.write("chord.wav", chord, tones.TONE_RATE)
    (found,) = Predictor(trained.load(run)).predict([Record("chord", Path("chord.wav"))])
    return list(found.fields["probabilities"].values())


def losses(run: Path) -> list[list[float]]:
    """Step and loss of each row of the run."""
    return [[row["step"], row["train/loss"]] for row in read_metrics(run) if "train/loss" in row]


@pytest.fixture(scope="module")
def expected() -> dict:
    return json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """A folder with both runs and with the tones that they heard."""
    shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
    for stage in ("pretrain", "finetune"):  # one tokenizer serves both
        shutil.copytree(GOLDEN / "tokenizer", tmp_path / stage / "tokenizer")
    tones.write_manifest(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_answers_as_then(runs, expected):
    np.testing.assert_allclose(answer(runs / "finetune"), expected["answer"], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_it_goes_on_as_then(runs, expected, stage):
    loop.train(make_config(stage, MORE), runs / stage)
    # Other processors round in another order.
    np.testing.assert_allclose(losses(runs / stage), expected["losses"][stage], rtol=1e-5)
