"""MuLaP from its data's folder to answers, and its ears in a task, through what commands call."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.evaluation import evaluate_run
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.training import loop, trained
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.weights import engine
from tests import ear, tiny

RATE, STEPS = 8000, 4
RUN = {
    "spectrogram.sample_rate": RATE,
    "segmenting.segments": 3,
    "segmenting.seconds": 0.25,
    "train.steps": STEPS,
    "train.batch_size": 4,
    "train.evaluate_every": STEPS,
    "evaluation.batch_size": 4,
    "optimizer.learning_rate": 0.01,
    "optimizer.warmup_steps": 0,
}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    ear.install(monkeypatch)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data set in MuLaP's layout; some clips are shorter than three chunks, or than one."""
    audio = tmp_path / "set" / "audio"
    audio.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        rows = []
        for number in range(count):
            name = f"{split}{number}.npy"
            samples = (6000, 3000, 9000, 1000)[number % 4]
            np.save(audio / name, rng.normal(0, 0.1, samples).astype(np.float32))
            caption = f"Noise, of kind {number}."
            rows.append({"audio_id": len(rows), "caption": caption, "audio_path": name})
        path = tmp_path / "set" / f"dataset_{split}.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
    return tmp_path / "set"


@pytest.mark.slow
def test_from_the_folder_of_a_data_set_to_a_task(folder, tmp_path):
    console = Console(file=io.StringIO())
    config = tiny.make_config(**ear.MULAP | ear.OBJECTIVES | RUN)
    config.data.manifest = str(folder)
    config.text.vocabulary = 60
    loop.train(config, tmp_path / "mulap", console)
    found = evaluate_run.evaluate(tmp_path / "mulap", "val", tmp_path / "report", console=console)
    assert found["masked_audio"]["distance"] > 0
    assert 0 <= found["masked_language"]["accuracy"] <= 1
    assert found["correct_pair"]["pairs"] > 0
    assert "retrieval" in found
    report = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Masked audio modelling" in report
    model = trained.load(tmp_path / "mulap")
    given = Record("one", folder / "audio" / "val0.npy", "Noise, of kind 0.")
    [answer] = Predictor(model).predict([given])
    assert answer.embedding.shape == (8,)
    assert 0 < answer.fields["match"] < 1

    # Frozen ears stay as they were, running statistics included.
    rows = ["path,label,split"]
    for number in range(8):
        rows.append(f"audio/train{number}.npy,{'ab'[number % 2]},{('train', 'val')[number > 5]}")
    table = folder / "labels.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    task = tiny.make_config(**ear.CONFIG | RUN)
    task.data.update({"manifest": str(table), "task": "single_label"})
    task.update_from_flattened_dict(
        {
            "init.audio": str(tmp_path / "mulap"),
            "segmenting.segments": 1,
            "optimizer.frozen": ("^model/",),
            "classification.head": "mlp",
            "classification.hidden": 5,
            "classification.activation": "relu",
        }
    )
    loop.train(task, tmp_path / "task", console)
    before, after = (_arrays(tmp_path / name) for name in ("mulap", "task"))
    heard = [name for name in after if name.startswith("model/network/")]
    assert len(heard) == 11
    for name in heard:
        source = name.replace("model/network/", "model/audio_cnn/")
        np.testing.assert_array_equal(after[name], before[source], err_msg=name)


def _arrays(workdir: Path) -> engine.Arrays:
    trees = Checkpoints(workdir).restore_arrays(STEPS)
    return engine.flat(trees["params"], trees["statistics"])
