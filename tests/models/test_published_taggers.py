"""FCN, CRNN and MusiCNN: parameters, and what PyTorch computes with random and published weights.

The published weights, the recordings and what PyTorch says of them are not distributed; random
arrays take their place where they are absent, in `golden/taggers.npz`.
"""

import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console
from safetensors.numpy import save_file

from atbert_jax.configs import tagger as tagger_config
from atbert_jax.conversion import convert_folder as conversion
from atbert_jax.conversion import published_tagger
from atbert_jax.evaluation.prediction import Predictor
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import make_contract
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.input_pipeline.text.tokenization import tokenizer_without_text
from atbert_jax.models.keys import Keys
from atbert_jax.models.taggers.crnn import GRU
from atbert_jax.models.taggers.tagger_frontend import decibels, power_spectrum
from atbert_jax.training import trained
from atbert_jax.training.learner import Learner
from atbert_jax.weights import engine
from atbert_jax.weights.tagger_rules import RULES
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT.parent / "shared" / "weights"
GOLDEN = ROOT / "tests" / "golden" / "taggers.npz"
NAMES = ("fcn", "crnn", "musicnn")

needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason=f"no published weights at {WEIGHTS}: they are not distributed"
)


def make_learner(name: str) -> Learner:
    """Of random arrays, with a filter bank and loudness as they are."""
    config = tagger_config.get_config(f"{name},mtat")
    labels = Labels("multi_label", tuple(config.data.labels))
    contract = make_contract(config, tokenizer_without_text(), labels)
    learner = tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))
    frontend = learner.model.network.frontend
    frontend.mel_matrix[...] = jnp.asarray(contract.spectrogram.mel_matrix)
    frontend.norm.mean[...], frontend.norm.var[...] = jnp.full(1, -20.0), jnp.full(1, 300.0)
    return learner


def make_waveform(samples: int) -> np.ndarray:
    """A rising tone and a chord, with noise: (2, samples)."""
    time = np.arange(samples) / 16_000
    rising = np.sin(2 * np.pi * (200 + 60 * time) * time)
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 1760)) / 3
    noise = 0.05 * np.random.default_rng(0).uniform(-1, 1, (2, samples))
    return (0.5 * np.stack([rising, chord]) + noise).astype(np.float32)


@functools.cache
def randomly(name: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Arrays in PyTorch's names, a waveform, and the logits here."""
    learner = make_learner(name)
    contract = learner.contract
    waveform = make_waveform(contract.segmenting.samples(16_000))
    definition, state = nnx.split(learner)

    @jax.jit
    def run(state, waveform):
        learner = nnx.merge(definition, state)
        features = learner.model.network(waveform, jnp.ones(len(waveform)), None)
        return learner.objectives.classification.output(features)

    arrays = engine.flat(nnx.to_pure_dict(state))
    theirs, _, left = engine.to_theirs(
        name, RULES[name](), {k: np.asarray(x) for k, x in arrays.items()}, "unused"
    )
    assert not left
    window = contract.spectrogram.window.astype(np.float32)
    return theirs | {published_tagger.WINDOW: window}, waveform, np.asarray(run(state, waveform))


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        ("fcn", "mtat", 447_732),
        ("crnn", "jamendo", 394_100),
        ("musicnn", "mtat", 784_300),
        ("musicnn", "msd", 7_972_000),
    ],
)
def test_numbers_of_parameters_are_the_published_ones(name, data, count):
    config = tagger_config.get_config(f"{name},{data}")
    labels = Labels("multi_label", tuple(config.data.labels))
    contract = make_contract(config, tokenizer_without_text(), labels)
    assert tiny.count(nnx.eval_shape(lambda: Learner(config, contract, rngs=Keys(0)))) == count


@pytest.mark.parametrize("name", NAMES)
def test_random_arrays_give_what_pytorch_gives(name):
    *_, found = randomly(name)
    expected = np.load(GOLDEN)[name]
    assert expected.std(axis=0).mean() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parity
def test_the_golden_arrays_are_those_of_pytorch(tmp_path):
    """A strict load; to write them anew, copy the file from here."""
    pytest.importorskip("torch", reason="parity needs PyTorch, an optional dependency")
    for name in NAMES:
        arrays, waveform, _ = randomly(name)
        arrays = {k: np.ascontiguousarray(x) for k, x in arrays.items()}
        save_file(arrays | {"waveform": waveform}, tmp_path / f"{name}.safetensors")
    script = ROOT / "tests" / "pytorch_taggers.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    found, expected = np.load(tmp_path / "taggers.npz"), np.load(GOLDEN)
    for name in NAMES:
        np.testing.assert_allclose(expected[name], found[name], atol=1e-5)


def test_a_recurrent_layer_in_closed_form():
    gru = tiny.make_module(lambda: GRU(1, 1, dtype=jnp.float32, rngs=Keys(0)))
    weight, bias, own, own_bias = (
        [float(x) for x in array[...].reshape(-1)]
        for layer in (gru.of_input, gru.of_state)
        for array in (layer.kernel, layer.bias)
    )
    state, expected = 0.0, []
    for x in (0.5, -1.0, 2.0):
        given, kept = np.multiply(weight, x) + bias, np.multiply(own, state) + own_bias
        reset, update = 1 / (1 + np.exp(-(given[:2] + kept[:2])))
        state = update * state + (1 - update) * np.tanh(given[2] + reset * kept[2])
        expected.append(state)
    found = tiny.one_program(gru)(np.float32([0.5, -1, 2]).reshape(1, 3, 1))
    np.testing.assert_allclose(found[0, :, 0], expected, atol=1e-6)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The converted folder of a network, as it is used."""

    @functools.cache
    def load(name: str) -> trained.Trained:
        folder = tmp_path_factory.mktemp("published") / name
        with Path("/dev/null").open("w") as nowhere:
            conversion.tagger_from_pytorch(
                str(WEIGHTS / f"mtat_{name}.pth"),
                folder,
                model=name,
                dataset="mtat",
                console=Console(file=nowhere),
            )
        return trained.load(folder)

    return load


def expected_of(name: str, protocol: str) -> dict[str, np.ndarray]:
    """Probabilities (50,) of the recordings that there are, by their paths."""
    results = json.loads((WEIGHTS / "expected_tags.json").read_text())["results"]
    found = {
        WEIGHTS / "audio16k" / f"{clip}.npy": np.array(answers[protocol]["probs"])
        for clip, answers in results[f"mtat_{name}"].items()
        if protocol in answers
    }
    assert found
    return {path: probabilities for path, probabilities in found.items() if path.is_file()}


@needs_weights
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_consecutive_windows_of_recordings(published, name):
    """What `predict` prints: short files are padded with silence, long ones are several windows."""
    expected = expected_of(name, "predict")
    records = [Record(id=path.name, path=path) for path in expected]
    for answer in Predictor(published(name)).predict(records):
        probabilities = answer.fields["probabilities"]
        assert list(probabilities) == list(tagger_config.TAG_SETS["mtat"])
        values = expected[answer.record.path]
        np.testing.assert_allclose(list(probabilities.values()), values, atol=1e-4)


@needs_weights
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_sixteen_chunks_of_recordings(published, name):
    """Won et al.'s protocol; of those of 29 seconds one recording, for the sake of time."""
    model = published(name)
    samples = model.contract.segmenting.samples(16_000)

    @jax.jit
    def ask(params, statistics, waveform):
        learner = nnx.merge(model.definition, params, statistics)
        batch = {"waveform": waveform[:, None], "segment_mask": jnp.ones((len(waveform), 1))}
        return learner.predict(batch)["classification"]["audio"]

    expected = expected_of(name, "eval16")
    for path in list(expected)[: None if name == "musicnn" else 1]:
        waveform = np.load(path)
        hop = (len(waveform) - samples) // 16
        chunks = np.stack([waveform[n * hop :][:samples] for n in range(16)])
        parts = [ask(model.params, model.statistics, part) for part in np.split(chunks, 2)]
        np.testing.assert_allclose(np.mean(parts, axis=(0, 1)), expected[path], atol=1e-4)


@needs_weights
@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn", "crnn"])
def test_every_step_of_a_recording(published, name):
    """From decibels to probabilities, of the first window."""
    model, arrays = published(name), np.load(WEIGHTS / "debug_activations.npz")
    expected = {
        key.removeprefix(f"vibeace.mtat_{name}."): array
        for key, array in arrays.items()
        if key.startswith(f"vibeace.mtat_{name}.")
    }
    network, spectrogram = model.learner.model.network, model.contract.spectrogram
    samples, mask = model.contract.segmenting.samples(16_000), jnp.ones(1)
    waveform = np.load(WEIGHTS / "audio16k" / "Kevin_MacLeod_-_Vibe_Ace.hq.ogg.npy")[None, :samples]
    power = power_spectrum(jnp.asarray(waveform), spectrogram)
    mel = decibels(power @ network.frontend.mel_matrix[...], spectrogram.log_floor)
    mel = np.swapaxes(mel, 1, 2)
    assert mel.shape == tuple(expected["mel_db_shape"])
    first = mel[0, :, :64]
    # Float32 rounds what is 80 dB below the loudest.
    np.testing.assert_allclose(first, expected["mel_db_first64frames"], atol=0.05)
    loud = first > first.max() - 60
    np.testing.assert_allclose(first[loud], expected["mel_db_first64frames"][loud], atol=1e-3)
    np.testing.assert_allclose([mel.mean(), mel.std()], expected["mel_db_mean_std"], atol=2e-3)
    x = network.frontend(waveform, mask, None)
    for number, layer in enumerate(network.layers, 1):
        x = layer(x, mask, False)
        means = expected[f"layer{number}_chanmean"]
        np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), means, atol=2e-4)
    features = network(waveform, mask, None)
    if name == "crnn":
        np.testing.assert_allclose(features[0], expected["gru_last"], atol=1e-4)
    logits = model.learner.objectives.classification.output(features)[0]
    np.testing.assert_allclose(logits, expected["logits"], atol=2e-4)
    np.testing.assert_allclose(nnx.sigmoid(logits), expected["probs"], atol=1e-4)
