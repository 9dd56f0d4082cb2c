"""The cross-modal transformer from its manifest to its answers, through what the commands call."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from rich.console import Console

from atbert_jax.configs import crossmodal
from atbert_jax.evaluation import compared_systems, evaluate_run
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.manifest.records import Record, read_manifest
from atbert_jax.training import loop, trained
from atbert_jax.training.writers import read_metrics
from tests import tiny, tones

FIELDS = {
    "model.hidden": 16,
    "model.heads": 2,
    "model.layers": 1,
    "model.ffn": 32,
    "crossmodal.width": 16,
    "crossmodal.heads": 4,
    "crossmodal.layers": 1,
    "spectrogram.sample_rate": 8000,
    "segmenting.seconds": 0.6,
    "text.vocabulary": 100,
    "text.max_tokens": 8,
    "train.steps": 6,
    "train.evaluate_every": 2,
    "train.log_every": 1,
    "train.batch_size": 4,
    "train.accumulate": 2,
    "optimizer.warmup_steps": 3,
    "evaluation.batch_size": 4,
    "data.threads": 2,
}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Empty filters")]


def train(given: str, manifest: Path, workdir: Path, **changes: object) -> tuple[dict, str]:
    """The best validation metrics, and what was said."""
    config = crossmodal.get_config(given)
    config.data.manifest = str(manifest)
    config.update_from_flattened_dict(FIELDS | changes)
    console = Console(file=io.StringIO(), width=200)
    return loop.train(config, workdir, console), console.file.getvalue()


class Run(NamedTuple):
    """One that is done, and its best validation metrics."""

    manifest: Path
    workdir: Path
    best: dict


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory) -> Callable[[str], Run]:
    """Runs by what they were made for, each trained once."""

    @functools.cache
    def run(given: str) -> Run:
        folder = tmp_path_factory.mktemp("run")
        manifest = tones.write_manifest(folder, 6, 2, 4, seconds=(0.5, 0.31, 0.6))
        best, _ = train(given, manifest, folder / "run")
        return Run(manifest, folder / "run", best)

    return run


@pytest.mark.parametrize("given", ["audio_text,small", "audio", "text,small"])
def test_trains_evaluates_and_predicts(given, trained_on, tmp_path):
    manifest, workdir, best = trained_on(given)
    rows = [row for row in read_metrics(workdir) if row["step"]]
    rates = [row["train/learning_rate"] for row in rows if "train/learning_rate" in row]
    np.testing.assert_allclose(rates[:4], np.array([0, 1, 2, 3]) / 3 * 1e-3, rtol=1e-5)
    assert best["loss"] == min(row["val/loss"] for row in rows if "val/loss" in row)
    quiet, (view, *_) = Console(file=io.StringIO(), width=200), given.split(",")
    found = evaluate_run.evaluate(workdir, "test", tmp_path / "report", console=quiet)
    assert f"crossmodal from scratch: {view.replace('_', ' + ')}" in found["systems"]
    assert compared_systems.BASELINE in found["systems"]
    records = read_manifest(manifest)[-4:]
    answers = list(Predictor(trained.load(workdir)).predict(records))
    entry = found["classification"][view]
    hits = [a.fields["prediction"] == a.record.labels[0] for a in answers]
    # The share of right answers, and not an F1 that is called so.
    assert entry["accuracy"] == np.mean(hits)
    log_loss = -np.mean([np.log(a.fields["probabilities"][a.record.labels[0]]) for a in answers])
    assert found["loss"] == pytest.approx(log_loss, rel=1e-4)


def test_answers_with_one_modality_alone(trained_on):
    manifest, workdir, _ = trained_on("audio_text,small")
    (record, *_) = read_manifest(manifest)
    alone = [Record("sound", record.path), Record("words", Path(), text=record.text)]
    predictor = Predictor(trained.load(workdir))
    both, sound, words = predictor.predict([record, *alone])
    halves = np.split(sound.embedding, 2), np.split(words.embedding, 2)
    for (own, other), place in zip(halves, (slice(None), slice(None, None, -1)), strict=True):
        filled, empty = (own, other)[place]
        assert np.abs(filled).max() > 0
        np.testing.assert_array_equal(empty, 0)
    assert both.embedding.shape == sound.embedding.shape
    assert not both.error + sound.error + words.error


def test_a_bert_that_learned_from_text_stays_as_it_is(trained_on, tmp_path):
    manifest, text, _ = trained_on("text")
    _, said = train("audio_text", manifest, tmp_path / "both", **{"init_from": str(text)})
    assert "model/audio_conv/kernel" in said.partition("start anew")[2]
    before, after = (trained.load(folder).params["model"] for folder in (text, tmp_path / "both"))
    for name, x in tiny.named(before["text_encoder"]).items():
        np.testing.assert_array_equal(tiny.named(after["text_encoder"])[name], x)
    assert "pooler" not in after
    # Without such a run, or a converted BERT, there is nothing to freeze.
    with pytest.raises(ValueError, match=r"would keep model/text_encoder/.* random"):
        train("audio_text", manifest, tmp_path / "none")
