"""MuLaP starts from a BERT and from the run of a MusiCNN, and its own MusiCNN serves tasks."""

import io
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from rich.console import Console
from safetensors.numpy import load_file

from atbert_jax.conversion import convert_folder as conversion
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.text import tokenization
from atbert_jax.models.keys import Keys
from atbert_jax.training import converted, run_folder
from atbert_jax.training.checkpoint import Checkpoints
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import fresh, split
from atbert_jax.weights import bert_rules, engine
from tests import ear, pytorch, tiny

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrs"]
HEARD = {"sample_rate": 8000, "n_fft": 64, "hop_length": 32, "n_mels": 8}
# A MusiCNN on few bands; with `POOLED` as MuLaP has it.
SPECTROGRAM = {f"spectrogram.{name}": value for name, value in HEARD.items()}
MUSICNN = {**ear.CONFIG, **SPECTROGRAM, "model.name": "musicnn"}
POOLED = {"tagger.pooled": True, "tagger.top_db": 80.0}
MULAP = {**ear.MULAP, **SPECTROGRAM, **POOLED, "model.audio_encoder": "musicnn"}


def make_learner(config, seed: int = 0) -> Learner:
    spectrogram = Spectrogram(**HEARD, mel_scale="htk", log_floor=1e-10)
    contract = tiny.make_contract(
        spectrogram=spectrogram, segmenting=Segmenting(tiny.SEGMENTS, 0.1)
    )
    return tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)), seed)


def make_state(config, seed: int = 0):
    return fresh(*split(make_learner(config, seed))[1:], optax.identity())


def save_run(folder, fields: dict):
    """A run of a network of random arrays; returns its arrays."""
    config = tiny.make_config(**fields)
    learner = make_learner(config)
    run_folder.save_run(folder, config, learner.contract, tokenization.tokenizer_without_text())
    state = fresh(*split(learner)[1:], optax.trace(0.9))
    checkpoints = Checkpoints(folder)
    checkpoints.save(state, 0.0)
    checkpoints.close()
    return engine.flat(state.params, state.statistics)


def start(config, tokenizer=None):
    before = make_state(config, seed=1)
    contract = make_learner(config).contract
    dataset = SimpleNamespace(contract=contract, tokenizer=tokenizer)
    after, _, lines = converted.start_from(before, config, dataset)
    old, new = (engine.flat(x.params, x.statistics) for x in (before, after))
    return {n: x for n, x in new.items() if np.abs(x - old[n]).max() > 0}, new, lines


@pytest.fixture
def folder(tmp_path):
    """A converted BERT of three layers with its tokenizer."""
    source = pytorch.save_bert(tmp_path / "pytorch")
    (source / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    console = Console(file=io.StringIO())
    conversion.from_pytorch("bert", str(source), tmp_path / "bert", console=console)
    return tmp_path / "bert"


def test_the_text_stream_starts_with_the_first_layers_of_a_bert(folder):
    fields = ear.OBJECTIVES | {"init.text": str(folder), "text.max_tokens": tiny.TOKENS}
    config = tiny.make_config(**MULAP | fields)
    changed, found, lines = start(config, tokenization.load_tokenizer(folder))
    weights = load_file(folder / "weights.safetensors")
    expected = bert_rules.first_layers(weights, 2)
    assert changed.keys() == expected.keys()
    assert "objectives/masked_language/dense/kernel" in changed
    for name, value in expected.items():
        value = value[: tiny.TOKENS] if name == bert_rules.POSITIONS else value
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert lines == [f"from {folder}: 41 arrays taken over", "  of its 3 layers the first 2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.layers": 4}, r"has 3 layers, fewer than config\.model\.layers=4; set"),
        ({"model.ffn": 64}, r"does not fit the model: ffn 32 there, 64 here"),
        ({"model.activation": "gelu_tanh"}, r"activation gelu there, gelu_tanh here"),
        ({"text.max_tokens": 13}, r"bert has 12 positions, .*set --config\.text\.max_tokens=12"),
    ],
)
def test_a_bert_that_does_not_fit_is_refused(folder, changes, message):
    fields = {"init.text": str(folder), "text.max_tokens": 6}
    with pytest.raises(ValueError, match=message):
        converted.find(tiny.make_config(**MULAP | fields | changes))


def test_it_hears_with_the_musicnn_of_a_run(tmp_path):
    given = save_run(tmp_path / "musicnn", MUSICNN | {"tagger.top_db": 80.0})
    config = tiny.make_config(**MULAP | ear.OBJECTIVES | {"init.audio": str(tmp_path / "musicnn")})
    changed, _, lines = start(config)
    assert changed
    assert all(name.startswith("model/audio_cnn/") for name in changed)
    for name, value in changed.items():
        source = name.replace("model/audio_cnn/", "model/network/")
        np.testing.assert_array_equal(value, given[source], err_msg=name)
    assert lines[1].startswith("  not used here: model/audio_cnn/dense/")


def test_a_task_hears_with_the_musicnn_of_mulap(tmp_path):
    given = save_run(tmp_path / "mulap", MULAP | ear.OBJECTIVES)
    fields = MUSICNN | POOLED | {"init.audio": str(tmp_path / "mulap")}
    changed, new, lines = start(tiny.make_config(**fields))
    heard = {name for name in new if name.startswith("model/network/")}
    assert len(heard) > 50
    for name in heard:
        source = name.replace("model/network/", "model/audio_cnn/")
        np.testing.assert_array_equal(new[name], given[source], err_msg=name)
    assert not any(name.startswith("objectives/") for name in changed)
    assert lines == [f"from {tmp_path / 'mulap'}, step 0: {len(heard)} arrays taken over"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tagger.top_db": 0.0}, r"another front end \(top_db: 80\.0 -> 0\.0\); .* config\.tagger"),
        ({"model.name": "fcn"}, r"is a run of musicnn, but config\.model\.name='fcn'; .*=musicnn$"),
    ],
)
def test_other_ears_are_refused(tmp_path, changes, message):
    save_run(tmp_path / "mulap", MULAP | ear.OBJECTIVES)
    fields = MUSICNN | POOLED | {"init.audio": str(tmp_path / "mulap")} | changes
    with pytest.raises(ValueError, match=message):
        converted.find(tiny.make_config(**fields))


def test_a_dense_layer_does_not_stay_random_in_silence(tmp_path):
    save_run(tmp_path / "mulap", MULAP | ear.OBJECTIVES)
    fields = MUSICNN | {"tagger.top_db": 80.0, "init.audio": str(tmp_path / "mulap")}
    with pytest.raises(ValueError, match=r"has no model/network/dense/.*; its config\.tagger"):
        start(tiny.make_config(**fields))


def test_a_wide_musicnn_has_its_own_width_everywhere():
    config = tiny.make_config(**MULAP | ear.OBJECTIVES | {"tagger.wide": True})
    learner = nnx.eval_shape(lambda: Learner(config, tiny.make_contract(), rngs=Keys(0)))
    assert learner.model.audio_cnn.features == 4194
    assert learner.model.audio_projection.in_features == 4194
    assert learner.objectives["masked_audio"].output.out_features == 4194


def test_a_frozen_musicnn_hears_in_pretraining_as_in_evaluation():
    fields = MULAP | ear.OBJECTIVES | {"optimizer.frozen": ("^model/audio_cnn/",)}
    definition, params, statistics = split(make_learner(tiny.make_config(**fields)))
    batch = ear.make_batch(4)
    noise = np.random.default_rng(0).normal(size=(4, tiny.SEGMENTS, 800))
    batch["waveform"] = noise.astype(np.float32)

    @jax.jit
    def run(key):
        learner = nnx.merge(definition, params, statistics)
        return learner.model.embed_audio(batch, key).hidden, split(learner)[2]

    (trained, after), (evaluated, _) = run(jax.random.key(0)), run(None)
    np.testing.assert_allclose(trained, evaluated, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, after, statistics)


def test_a_task_hears_with_a_supervised_musicnn(tmp_path):
    given = save_run(tmp_path / "musicnn", MUSICNN)
    fields = MUSICNN | {"tagger.pooled": True, "init.audio": str(tmp_path / "musicnn")}
    _, new, lines = start(tiny.make_config(**fields))
    heard = [name for name in new if name.startswith("model/network/")]
    assert len(heard) > 50
    for name in heard:
        np.testing.assert_array_equal(new[name], given[name], err_msg=name)
    assert lines[1].startswith("  not used here: model/network/dense/")
