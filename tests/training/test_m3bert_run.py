"""M3BERT from audio to reports: pre-trained on features, fine-tuned on several tasks at once."""

import io
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from atbert_jax.configs import m3bert_finetune, m3bert_pretrain
from atbert_jax.evaluation import evaluate_run
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline import dataset
from atbert_jax.input_pipeline.audio.music_features import MusicFeatures
from atbert_jax.input_pipeline.manifest.records import read_manifest
from atbert_jax.input_pipeline.preparing import feature_files
from atbert_jax.models.keys import Keys
from atbert_jax.predict import as_row
from atbert_jax.training import description, loop, trained
from atbert_jax.training.learner import Learner
from atbert_jax.training.writers import read_metrics
from tests import tiny

SETTINGS = {
    "sample_rate": 16_000,
    "hop_length": 128,
    "n_fft": 512,
    "n_chroma": 4,
    "n_mfcc": 4,
    "n_mels": 8,
    "n_cqt_chroma": 8,
}
FIELDS = {
    **{f"features.{name}": value for name, value in SETTINGS.items()},
    **{name: value for name, value in tiny.MODEL.items() if name != "model.embedding"},
    "model.layers": 2,
    "segmenting.seconds": 0.24,
    "train.steps": 4,
    "train.batch_size": 4,
    "train.log_every": 2,
    "train.evaluate_every": 2,
    "optimizer.warmup_steps": 1,
    "evaluation.batch_size": 4,
    "data.threads": 2,
    "seed": 1,
}


@pytest.fixture(scope="module")
def features(music, tmp_path_factory) -> Path:
    """A manifest of prepared features of tones, with labels of three tasks, some missing."""
    lines = (music / "tracks.csv").read_text().splitlines()
    rows = [f"{lines[0]},mood,pitch"]
    for number, line in enumerate(lines[1:]):
        mood = "" if number % 3 == 0 else ("calm", "calm|bright")[number % 2]
        rows.append(f"{line},{mood},{'' if number == 1 else number / 10}")
    manifest = music / "tasks.csv"
    manifest.write_text("\n".join(rows) + "\n")
    folder = tmp_path_factory.mktemp("features")
    quiet = Console(file=io.StringIO())
    feature_files.write_all_features(
        manifest, folder, settings=MusicFeatures(**SETTINGS), processes=1, console=quiet
    )
    return folder / "manifest.csv"


def configured(config, manifest: Path, **changes):
    config.update_from_flattened_dict(FIELDS | changes)
    config.data.manifest = str(manifest)
    return config


@pytest.fixture(scope="module")
def pretrained(features, tmp_path_factory) -> tuple[Path, str]:
    workdir = tmp_path_factory.mktemp("runs") / "pretrained"
    console = Console(file=io.StringIO(), width=200)
    config = configured(m3bert_pretrain.get_config("tiny"), features)
    loop.train(config, workdir, console)
    return workdir, console.file.getvalue()


def tensorboard(workdir: Path) -> dict[str, list[int]]:
    """Steps of every tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(workdir / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    return {tag: [e.step for e in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


def test_pretraining_measures_and_draws_what_was_masked(pretrained):
    workdir, said = pretrained
    trunk = 28 * 16 + 16 + 32 + 2 * (4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 64)
    head = 16 * 16 + 16 + 32 + 16 * 28 + 28
    assert f"m3bert: {trunk + head:,} parameters trained" in said
    *_, training, last = read_metrics(workdir)
    # Runs of frames, which are whole, and of columns.
    assert 0.15 <= training["train/masked_acoustic/masked"] < 1
    assert last["val/masked_acoustic/huber"] == pytest.approx(last["val/loss"], rel=1e-5)
    tags = tensorboard(workdir)
    assert tags["frames"] == [0]
    for name in ("original", "masked", "reconstructed"):
        assert tags[f"val/masked_acoustic/{name}"] == [0, 2, 4]


def test_a_pretrained_model_is_reported_with_pictures_and_correlations(pretrained, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    values = evaluate_run.evaluate(
        pretrained[0], "test", tmp_path / "report", with_correlations=True, console=console
    )
    assert values["masked_acoustic"]["huber"] > 0
    # Of two clips of half a second, 63 frames at 125 a second.
    assert values["correlations"]["frames"] == 2 * 63
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count("What is masked, and what the model tells") == 3 * 3  # contents, alt, heading
    assert "Hidden units and features" in page


TASKS = "genre=label+label,mood=tags,pitch=numbers"


def finetuned(given: str, features: Path, pretrained: Path, workdir: Path):
    config = configured(m3bert_finetune.get_config(given), features)
    config.init_from = str(pretrained)
    loop.train(config, workdir, Console(file=io.StringIO(), width=200))
    return trained.load(workdir)


def test_several_tasks_are_learned_evaluated_and_predicted(features, pretrained, tmp_path):
    model = finetuned(f"tiny,{TASKS}", features, pretrained[0], tmp_path / "run")
    values = evaluate_run.evaluate(
        tmp_path / "run", "test", tmp_path / "report", console=Console(file=io.StringIO())
    )
    # Of the two test clips one has tags.
    assert np.sum(values["genre"]["audio"]["confusion_matrix"]) == 2
    assert values["mood"]["audio"]["per_class"]["calm"]["support"] == 1
    assert "rmse" in values["pitch"]["audio"]
    assert set(values["systems"]) == {"genre", "mood", "pitch"}
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "the manifest names features alone" in page  # nothing is left for the baseline to hear
    assert "Comparison: mood" in page
    for answer in Predictor(model).predict(read_manifest(features)[:2]):
        assert set(answer.fields) == {"genre", "mood", "pitch"}
        assert set(answer.fields["genre"]["probabilities"]) == {"high", "low"}
        assert set(answer.fields["pitch"]["prediction"]) == {"pitch"}
        assert all(f"{task}: " in as_row(answer)[2] for task in answer.fields)
    shapes = description.abstract_batch(model.contract, "frames", 4)
    assert (shapes["frames"].shape, shapes["labels/mood"].shape) == ((4, 30, 28), (4, 2))


def test_a_frozen_trunk_learns_which_layers_to_sum(features, pretrained, tmp_path):
    model = finetuned("tiny,frozen,genre=label+label", features, pretrained[0], tmp_path / "run")
    before = tiny.named(trained.load(pretrained[0]).params["model"])
    after = tiny.named(model.params["model"])
    assert after.keys() - before.keys() == {"layer_weights"}
    assert np.asarray(after["layer_weights"]).any()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)


def test_a_record_without_a_label_has_no_say_in_its_task(features, tmp_path):
    """Missing is what the manifest leaves empty; what is written there instead does not matter."""

    config = configured(m3bert_finetune.get_config("tiny,genre=label+label,mood=tags"), features)
    data = dataset.load(config, tmp_path)
    learner = tiny.make_module(lambda: Learner(config, data.contract, rngs=Keys(0)))
    rng = np.random.default_rng(0)
    batch = {
        "frames": rng.normal(size=(4, 30, 28)),
        "frame_mask": np.ones((4, 30)),
        "segment_mask": np.ones((4, 1)),
        "token_mask": np.zeros((4, 3)),
        "valid": np.ones(4),
        "labels/genre": np.eye(2)[[0, 1, 1, 0]],
        "label_mask/genre": np.array([1, 1, 0, 0]),
        "labels/mood": np.ones((4, 2)),
        "label_mask/mood": np.zeros(4),
    }
    batch = {name: np.asarray(x, np.float32) for name, x in batch.items()}
    measure = jax.jit(lambda batch: learner.losses(batch, None)[0])
    losses = measure(batch)
    assert float(losses["genre"][1]) == 2
    assert tuple(map(float, losses["mood"])) == (0, 0)
    changed = batch | {"labels/genre": np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]}
    assert float(measure(changed)["genre"][0]) == float(losses["genre"][0])
