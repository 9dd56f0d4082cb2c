"""A probe that texts are asked of, from end to end: the map in closed form, and what it answers."""

import io

import numpy as np
import pytest
from rich.console import Console

import atbert_jax
from atbert_jax.configs import probe as probe_config
from atbert_jax.conversion import convert_folder
from atbert_jax.evaluation import probing
from atbert_jax.evaluation.evaluate_run import evaluate
from atbert_jax.evaluation.sentence_vectors import Sentences
from atbert_jax.training import trained
from tests import sentence_folders

pytestmark = pytest.mark.filterwarnings("ignore:Empty filters")
CAPTIONS = {"a low tone": "slow piano", "a high tone": "fast drums"}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    root = tmp_path_factory.mktemp("sentences")
    source, folder = sentence_folders.make(root / "source"), root / "converted"
    console = Console(file=io.StringIO())
    convert_folder.from_pytorch("sentence_transformer", str(source), folder, console=console)
    return folder


def make_config(manifest, sentences, **changes):
    text = manifest.read_text()
    for old, new in CAPTIONS.items():
        text = text.replace(old, new)
    manifest.write_text(text)
    config = probe_config.get_config("captions")
    config.data.manifest = str(manifest)
    config.init.text = str(sentences)
    config.spectrogram.sample_rate = 8000
    config.update_from_flattened_dict(changes)
    return config


def fit(config, workdir, *sources):
    console = Console(file=io.StringIO(), width=120)
    return probing.probe(config, sources, workdir, workdir.parent / "cache", console)


def test_clips_are_found_by_what_others_were_said_to_be(
    tone_run, tone_manifest, sentences, tmp_path
):
    manifest = tone_manifest(8, 4, 6, seconds=(0.5, 0.8, 1.3), name="other.csv")
    chosen = fit(make_config(manifest, sentences), tmp_path / "probe", tone_run)
    assert chosen["clips"] == 8
    model = atbert_jax.load(tmp_path / "probe")
    np.testing.assert_allclose(
        model.embed_text(list(CAPTIONS.values())),
        Sentences(sentences)(list(CAPTIONS.values())),
        atol=1e-6,
    )
    files = [manifest.parent / f"test{number}.wav" for number in range(6)]
    similarity = model.similarity(files, list(CAPTIONS.values()))
    np.testing.assert_array_equal(np.argmax(similarity, axis=1), [0, 1] * 3)
    console = Console(file=io.StringIO())
    metrics = evaluate(
        tmp_path / "probe", "test", tmp_path / "report", console=console, with_baseline=False
    )
    assert metrics["alignment"]["cosine"] > 0.9


def test_the_map_is_a_ridge_regression(tone_manifest, sentences, tmp_path):
    """Of standardised features, which here are statistics of MFCCs alone."""
    manifest = tone_manifest(8, 2, 2, name="other.csv")
    chosen = fit(make_config(manifest, sentences), tmp_path / "probe")
    model = trained.load(tmp_path / "probe")
    found = {name: np.asarray(value) for name, value in model.params["model"]["output"].items()}
    (place,) = (tmp_path / "cache").iterdir()
    features = np.concatenate([np.load(file) for file in place.iterdir()]).astype(np.float64)
    deviation = features.std(axis=0)
    varies = deviation > 1e-6 * np.maximum(np.abs(features.mean(axis=0)), 1e-3)
    standard = (features - features.mean(axis=0)) * np.where(
        varies, 1 / np.where(varies, deviation, 1), 0
    )
    said = np.clip(standard, -10, 10) @ found["kernel"] + found["bias"]
    # Ridge on centred features: the residual is the penalty times the weights.
    size = np.sqrt((np.clip(standard, -10, 10) ** 2).sum(axis=1).mean())
    low, high = Sentences(sentences)(list(CAPTIONS.values())).astype(np.float64)
    nearer = np.linalg.norm(said - low, axis=1) < np.linalg.norm(said - high, axis=1)
    targets = np.where(nearer[:, None], low, high)
    assert nearer.sum() == 4
    kernel = found["kernel"] * size
    scaled = np.clip(standard, -10, 10) / size
    scaled -= scaled.mean(axis=0)
    residual = targets - targets.mean(axis=0) - scaled @ kernel
    np.testing.assert_allclose(scaled.T @ residual, chosen["penalty"] * kernel, atol=1e-5)


def test_what_is_missing_is_said(tone_manifest, sentences, tmp_path):
    manifest = tone_manifest(6, 2, 2, name="other.csv")
    config = make_config(manifest, sentences)
    config.init.text = ""
    with pytest.raises(ValueError, match="atbert convert sentence_transformer"):
        fit(config, tmp_path / "probe")
    config = make_config(manifest, sentences, **{"data.text_column": ""})
    with pytest.raises(ValueError, match=r"no record of the train split has text"):
        fit(config, tmp_path / "probe")
    assert not (tmp_path / "probe").exists()
