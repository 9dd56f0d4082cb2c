"""Masked audio modelling: what is masked, its losses in closed form, and that nothing leaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.objectives.masked_audio import LOSSES, MaskedAudio
from atbert_jax.training.learner import Learner
from atbert_jax.training.state import split
from atbert_jax.training.step import mean
from tests import ear, tiny

WIDTH, ROWS = 4, 40


class Trunk:
    """The features are the batch's own; the stream's states are they and their mean."""

    def embed_audio(self, batch, key):
        return Encoded(batch["features"], batch["segment_mask"])

    def contextualize_audio(self, embedded, key):
        first = embedded.hidden.mean(axis=1, keepdims=True)
        return Encoded(jnp.concatenate([first, embedded.hidden], axis=1), None)

    def encode_text(self, batch, key):
        return Encoded(batch["words"], None)

    def fuse_streams(self, audio, text, key):
        if text is not None:
            audio = Encoded(audio.hidden + text.hidden, None)
        return audio, text


TRUNK = Trunk()


def make(**changes) -> MaskedAudio:
    config = tiny.make_config(**{f"masked_audio.{name}": x for name, x in changes.items()})
    widths = tiny.Widths(WIDTH, {"audio": WIDTH})
    return tiny.compiled(
        tiny.make_module(
            lambda: MaskedAudio(config.masked_audio, tiny.make_contract(), widths, rngs=Keys(0))
        )
    )


def make_batch(rows: int = ROWS) -> dict[str, np.ndarray]:
    batch = tiny.make_batch(rows)
    rng = np.random.default_rng(1)
    batch["features"] = rng.normal(size=(rows, tiny.SEGMENTS, WIDTH)).astype(np.float32)
    batch["words"] = np.ones((rows, 1, WIDTH), np.float32)
    batch["valid"][-1] = 0
    return batch


def test_each_segment_is_masked_with_the_given_probability():
    objective, batch = make(rate=0.15), make_batch(2000)
    masked = np.asarray(objective.corrupt(batch, jax.random.key(0))["masked_segments"])
    real = np.asarray(batch["segment_mask"])
    assert masked[:-1][real[:-1] > 0].mean() == pytest.approx(0.15, abs=0.02)
    assert not masked[real == 0].any()
    assert not masked[-1].any()
    again = objective.corrupt(batch, jax.random.key(1))["masked_segments"]
    assert (masked != again).any()


def test_in_evaluation_a_record_is_always_asked_the_same():
    objective, batch = make(rate=0.5), make_batch()
    whole = objective.corrupt(batch, jax.random.key(0))["masked_segments"]
    part = objective.corrupt({n: x[7:9] for n, x in batch.items()}, jax.random.key(0))
    np.testing.assert_array_equal(part["masked_segments"], whole[7:9])


def closed_form(kind: str, predicted: np.ndarray, target: np.ndarray) -> float:
    if kind == "mse":
        return ((predicted - target) ** 2).mean()
    if kind == "huber":
        error = np.abs(predicted - target)
        return np.where(error < 1, error**2 / 2, error - 0.5).mean()
    p, q = (np.exp(x) / np.exp(x).sum() for x in (target, predicted))
    return (p * np.log(p / q)).sum()


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_loss_equals_numpy(kind):
    """In evaluation, too: the targets are the features before masking, and no zeros."""
    objective, batch = make(rate=0.4, loss=kind), make_batch()
    batch = objective.corrupt(batch, jax.random.key(0))
    (total, weight), _ = objective.loss(TRUNK, batch, None)
    features, masked = batch["features"], batch["masked_segments"]
    head = tiny.one_program(
        lambda state: objective.output(objective.norm(nnx.gelu(objective.dense(state))))
    )
    state = np.ones((1, WIDTH), np.float32)  # nothing but the words
    predicted = head(state)[0].astype(np.float64)
    expected = sum(
        closed_form(kind, predicted, features[row, place]) for row, place in np.argwhere(masked)
    )
    assert weight == masked.sum() > 10
    assert float(total) == pytest.approx(expected, rel=1e-4)
    outputs = objective.predict(TRUNK, batch)
    summary = objective.summarize(outputs, "mean")
    assert summary["distance"] == pytest.approx(expected / masked.sum(), rel=1e-4)


def test_where_the_prediction_is_the_truth_nothing_is_lost():
    x = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)
    distances = {kind: tiny.one_program(distance) for kind, distance in LOSSES.items()}
    for distance in distances.values():
        np.testing.assert_allclose(distance(x, x), 0, atol=1e-6)
    # Of distributions: what is added to all features is no difference.
    np.testing.assert_allclose(distances["kl"](x + 5, x), 0, atol=1e-5)
    assert (distances["kl"](2 * x, x) > 0.01).all()


def test_a_batch_of_which_nothing_is_masked_weighs_nothing():
    objective, batch = make(rate=0.0), make_batch()
    batch = objective.corrupt(batch, jax.random.key(0))
    pair, _ = objective.loss(TRUNK, batch, None)
    assert [float(x) for x in pair] == [0, 0]
    assert float(mean({"loss": pair})["loss"]) == 0
    assert objective.summarize(objective.predict(TRUNK, batch), "mean") == {"distance": 0.0}


def test_the_text_is_in_view_where_it_shall_be():
    batch = make_batch()
    for with_text in (False, True):
        objective = make(rate=0.4, with_text=with_text)
        batch = objective.corrupt(batch, jax.random.key(0))
        losses = [
            float(objective.loss(TRUNK, batch | {"words": batch["words"] * x}, None)[0][0])
            for x in (1, -3)
        ]
        assert (losses[0] != losses[1]) == with_text


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss='mae' is none of mse, huber, kl"):
        make(loss="mae")


@pytest.fixture
def learner(monkeypatch):
    """A tiny MuLaP with its three objectives, or those of the changes."""
    ear.install(monkeypatch)

    def build(**changes):
        config = tiny.make_config(**ear.MULAP | (changes or ear.OBJECTIVES))
        return tiny.make_module(lambda: Learner(config, tiny.make_contract(), rngs=Keys(0)))

    return build


def test_nothing_of_a_masked_chunk_reaches_its_prediction(learner):
    """Neither through the stream's summary; what is not masked does."""
    learner = learner()
    objective = learner.objectives["masked_audio"]
    objective.distance = lambda predicted, target: predicted.mean(axis=-1)
    batch, other = ear.make_batch(3), ear.make_batch(3, seed=5)
    batch["segment_mask"][:] = 1
    batch["masked_segments"] = np.float32([[0, 1, 0]] * 3)
    losses = tiny.one_program(lambda batch: objective._losses(learner.model, batch, None))

    def predicted(place: int | None) -> np.ndarray:
        waveform = batch["waveform"].copy()
        if place is not None:
            waveform[:, place] = other["waveform"][:, 0] * 3
        return losses(batch | {"waveform": waveform})

    np.testing.assert_array_equal(predicted(1), predicted(None))
    assert (np.abs(predicted(0) - predicted(None))[:, 1] > 1e-6).all()


def test_the_cnn_learns_nothing_from_the_targets(learner):
    """Where all is masked, the prediction tells nothing of the audio; the targets are given."""
    definition, params, statistics = split(learner())
    batch = ear.make_batch(3)

    @jax.jit
    @jax.grad
    def gradients(params, masked):
        learner = nnx.merge(definition, params, statistics)
        given = batch | {"masked_segments": masked}
        return learner.objectives["masked_audio"].loss(learner.model, given, None)[0][0]

    def largest(masked: np.ndarray) -> float:
        cnn = jax.tree.leaves(gradients(params, masked)["model"]["audio_cnn"])
        return max(float(jnp.abs(x).max()) for x in cnn)

    mask = batch["segment_mask"]
    assert largest(mask) == 0
    assert largest(mask * (np.arange(tiny.SEGMENTS) > 0)) > 0


@pytest.mark.parametrize("name", ["masked_language", "masked_audio", "correct_pair"])
def test_each_objective_can_be_had_alone(learner, name):
    learner = learner(**{f"objectives.{name}": 1.0, "masked_audio.rate": 0.5})
    losses, _ = tiny.one_program(
        lambda batch: learner.losses(learner.prepare(batch, jax.random.key(0)), None)
    )(ear.make_batch(4))
    assert list(losses) == [name]
    total, weight = losses[name]
    assert np.isfinite(total)
    assert weight > 0
