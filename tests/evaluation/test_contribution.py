"""Contributions of moments to tags, of a network whose tokens say what they stand for."""

import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import nnx
from matplotlib import image

from atbert_jax.evaluation import contribution
from atbert_jax.evaluation.contribution import Contributions
from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.manifest.records import Record
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.taggers.attention_tagger import AttentionTagger
from atbert_jax.models.taggers.tagger import Tagger
from atbert_jax.parallel import sharding
from atbert_jax.training.state import split
from atbert_jax.training.trained import Trained
from tests import tiny

HOP, FRAMES, TOKENS = 32, 4, 10
RATE, SAMPLES = 8000, 1280
# Logits of two tags from (loudness, 1) of what the summary has heard.
HEAD = np.array([[3.0, -2.0], [0.0, 0.5]])


class Layer(nnx.Module):
    """Everything is added the weighted mean of all; louder tokens weigh more."""

    def attention_weights(self, x: jax.Array) -> jax.Array:
        scores = jnp.broadcast_to(x[:, None, None, :, 0], (len(x), 2, *x.shape[1:2] * 2))
        return jax.nn.softmax(scores)

    def __call__(self, x: jax.Array, mask: None, key: None) -> jax.Array:
        return x + self.attention_weights(x)[:, 0] @ x


class Network(AttentionTagger):
    """Tokens (loudness of 128 samples, 1) behind a first one of (0, 1)."""

    token_frames = FRAMES

    def __init__(self) -> None:
        self.layers = nnx.List([Layer()])

    def embed(self, waveform, mask, key) -> jax.Array:
        loudness = jnp.abs(waveform).reshape(len(waveform), -1, HOP * FRAMES).max(axis=2)
        loudness = jnp.pad(loudness, [(0, 0), (1, 0)])
        return jnp.stack([loudness, jnp.ones_like(loudness)], axis=2)

    def summarize(self, first) -> jax.Array:
        return 2 * first


class Head(nnx.Module):
    def logits(self, encoded: Encoded, key: None) -> jax.Array:
        return encoded.hidden[:, 0] @ jnp.asarray(HEAD)


class Trunk(Tagger):
    def __init__(self) -> None:
        self.network = Network()


class Learner(nnx.Module):
    def __init__(self, head: str = contribution.OBJECTIVE) -> None:
        self.model = Trunk()
        self.objectives = nnx.Dict({head: Head()})


def make(learner: Learner) -> Trained:
    contract = tiny.make_contract(
        segmenting=Segmenting(1, SAMPLES / RATE, hop=0.08),
        labels=Labels("multi_label", ("loud", "quiet")),
    )
    return Trained(
        Path("run"), 1, tiny.make_config(), contract, None, *split(learner), sharding.make_mesh()
    )


@pytest.fixture
def record(tmp_path) -> Record:
    """Of ever louder moments of 16 ms."""
    sound = np.repeat(np.linspace(0.1, 0.9, 20), HOP * FRAMES)
    path = tmp_path / "clip.wav"
    soundfile.write(path, sound, RATE, "FLOAT")
    return Record("clip", path)


def test_a_moment_adds_what_the_last_layer_says_of_it_alone(record):
    found = Contributions(make(Learner())).of_chunk(record, 1)
    assert found.start == pytest.approx(0.08)
    assert found.step == pytest.approx(HOP * FRAMES / RATE)
    assert found.log_mel.shape == (tiny.BANDS, SAMPLES // HOP + 1)
    loudness = np.linspace(0.1, 0.9, 20)[5:15]
    # The first token hears itself, of loudness 0, and one moment, each by its own weight.
    share = np.exp(loudness) / (1 + np.exp(loudness))
    expected = np.outer(2 * share * loudness, HEAD[0])
    np.testing.assert_allclose(found.logits, expected, rtol=1e-5)
    weights = np.exp(loudness) / (1 + np.exp(loudness).sum())
    np.testing.assert_allclose(found.attention, weights, rtol=1e-5)
    logits = 2 * np.array([weights @ loudness, 2]) @ HEAD
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-logits)), rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_is_drawn_and_kept(record, tmp_path):
    found = Contributions(make(Learner())).of_chunk(record, 0)
    found.save(tmp_path / "a.b")
    picture = image.imread(io.BytesIO((tmp_path / "a.b.contribution.png").read_bytes()))
    assert picture.std() > 0.05
    with np.load(tmp_path / "a.b.contribution.npz") as arrays:
        np.testing.assert_array_equal(arrays["logits"], found.logits)
    # Of the most probable tag alone, the other's contributions are not seen.
    changed = {
        **vars(found),
        "logits": found.logits * np.where(found.scores == found.scores.max(), 1, 0.3),
    }
    same = contribution.Contribution(**changed)
    assert same.draw(most=1) == found.draw(most=1)
    assert same.draw(most=2) != found.draw(most=2)


def test_only_of_taggers_with_attention_and_labels():
    with pytest.raises(ValueError, match="has no attention to draw, or was not trained on labels"):
        Contributions(make(Learner("alignment")))


def test_the_telling_chunk_has_most_of_the_clips_label():
    scores = np.array([[0.1, 0.9], [0.6, 0.2], [0.5, 0.1]])
    assert contribution.telling_chunk(scores, np.array([0.6, 0.4])) == 1
    assert contribution.telling_chunk(scores, np.array([0.4, 0.6])) == 0
