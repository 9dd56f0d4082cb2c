"""A tagger from its manifest to its answers, through what the commands call."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console

from atbert_jax.configs import defaults, tagger_recipes
from atbert_jax.evaluation import compared_systems, evaluate_run
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.models.taggers import fcn
from atbert_jax.parallel import sharding
from atbert_jax.training import description, loop, trained
from atbert_jax.training.writers import read_metrics

# As FCN, but two layers of four channels for clips of half a second.
LAYERS = ((4, (2, 4)), (4, (4, 8)))
FIELDS = {
    "model.name": "fcn",
    "data.input": "waveform",
    "data.task": "multi_label",
    "data.label_column": "label",
    "data.labels": ("low", "high"),
    "objectives.classification": 1.0,
    "classification.views": ("audio",),
    "classification.head": "linear",
    "classification.pooling": "mean",
    "classification.dropout": 0.5,
    "normalization": "none",
    "spectrogram.sample_rate": 8000,
    "spectrogram.n_fft": 256,
    "spectrogram.hop_length": 64,
    "spectrogram.n_mels": 16,
    "spectrogram.mel_scale": "htk",
    "spectrogram.log_floor": 1e-10,
    "segmenting.segments": 1,
    "segmenting.seconds": 0.3,
    "train.steps": 10,
    "train.evaluate_every": 2,
    "evaluation.batch_size": 4,
}


@pytest.fixture
def make_config(music, monkeypatch):
    monkeypatch.setattr(fcn, "LAYERS", LAYERS)
    monkeypatch.setattr(fcn.FCN, "features", LAYERS[-1][0])

    def make(recipe: str):
        config = defaults.get_config("tiny")
        config.data.manifest = str(music / "tracks.csv")
        config.update_from_flattened_dict(FIELDS)
        tagger_recipes.apply(config, recipe)
        config.train.batch_size = 4
        return config

    return make


@pytest.mark.parametrize("recipe", ["published", "modern"])
def test_trains_evaluates_and_predicts(recipe, make_config, music, tmp_path):
    config, console = make_config(recipe), Console(file=io.StringIO(), width=200)
    best = loop.train(config, tmp_path / "run", console)
    said = console.file.getvalue()
    # Two convolutions with their normalisations, that of the picture, and the output.
    parameters = (9 * 4 + 3 * 4) + (9 * 4 * 4 + 3 * 4) + 2 + (4 * 2 + 2)
    assert f"fcn: {parameters} parameters trained, 0 frozen" in said
    assert said.count("on with the weights of step") == (3 if recipe == "published" else 0)
    steps = [row for row in read_metrics(tmp_path / "run") if "val/loss" in row]
    assert best["loss"] == min(row["val/loss"] for row in steps if row["step"])
    # TensorBoard has pictures of what is heard.
    events = next((tmp_path / "run" / "tensorboard").glob("events.*")).read_bytes()
    assert b"log_mel" in events
    found = evaluate_run.evaluate(tmp_path / "run", "test", tmp_path / "report", console=console)
    assert {"fcn from scratch: audio", compared_systems.BASELINE} <= found["systems"].keys()
    assert "retrieval" not in found
    assert (tmp_path / "report" / "report.html").is_file()
    answers = list(
        Predictor(trained.load(tmp_path / "run")).predict(
            read_manifest(music / "tracks.csv", label_column="label")[:3]
        )
    )
    for answer in answers:
        assert list(answer.fields["probabilities"]) == ["low", "high"]
        assert all(0 < value < 1 for value in answer.fields["probabilities"].values())
        assert answer.embedding.shape == (4,)
        assert np.isfinite(answer.embedding).all()


def test_is_described(make_config, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    description.describe(make_config("modern"), tmp_path / "run", console)
    said = console.file.getvalue()
    assert "model/network/layers/1/conv/kernel" in said
    assert "GFLOPs per example" in said


@pytest.mark.parametrize("recipe", ["published", "modern"])
def test_bfloat16_is_computed_where_the_config_says_so(recipe, make_config, tmp_path):
    """Its parameters, and the optimizer's own arrays, stay float32."""
    config = make_config(recipe)
    config.model.dtype = "bfloat16"
    contract = description._contract(config, tmp_path)
    compiled, _ = description.compile_step(config, contract, sharding.make_mesh(None))
    assert "bf16" in compiled.as_text()
    state = compiled.in_avals[0][1]
    assert {str(x.dtype) for x in jax.tree.leaves(state)} == {"float32", "int32"}
