"""A tagger as a trunk, and as the ears of ATBERT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models import frontend, taggers
from atbert_jax.models.keys import Keys
from atbert_jax.training.learner import Learner
from tests import ear, tiny


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    ear.install(monkeypatch)


def make(contract=None, **changes) -> Learner:
    config = tiny.make_config(**ear.CONFIG | changes)
    contract = contract or tiny.make_contract("multi_label")
    return tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))


def test_a_head_on_several_segments_is_one_on_their_mean():
    """Whole songs: what the network hears in each real segment, averaged, then the output."""
    learner, batch = make(), ear.make_batch(5)
    assert set(batch["segment_mask"].sum(axis=1)) == {1, 2, 3}
    hear = tiny.one_program(lambda waveform: learner.model.network(waveform, jnp.ones(5), None))
    heard = [hear(batch["waveform"][:, segment]) for segment in range(tiny.SEGMENTS)]
    weight = batch["segment_mask"].T[..., None]
    mean = (np.stack(heard) * weight).sum(axis=0) / weight.sum(axis=0)
    output = learner.objectives["classification"].output
    logits = mean @ np.asarray(output.kernel[...]) + np.asarray(output.bias[...])
    expected = 1 / (1 + np.exp(-logits))
    for pooling in ("mean", "summary"):
        learner.objectives["classification"].pooling = pooling
        # A function of its own for each: the pooling is none of its arguments.
        predict = tiny.one_program(lambda batch: learner.predict(batch))
        found = predict(batch)["classification"]["audio"]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_is_masked_changes_neither_answers_nor_statistics():
    batch = ear.make_batch(5)
    masked = batch["segment_mask"][..., None] == 0
    other = batch | {"waveform": np.where(masked, 7.0, batch["waveform"])}
    definition, state = nnx.split(make())

    @tiny.one_program
    def run(batch):
        learner = nnx.merge(definition, state, copy=True)
        losses, _ = learner.losses(batch, jax.random.key(0))
        statistics = nnx.to_pure_dict(nnx.state(learner, nnx.BatchStat))
        return losses, statistics, learner.predict(batch)

    results = [run(each) for each in (batch, other)]
    for one, two in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.input": "log_mel"}, r"ear has its own front end, .*--config.data.input=waveform"),
        ({"model.name": "ears"}, r"config.model.name='ears' is none of atbert, .*ear"),
        (
            {"classification.views": ("audio_text", "audio")},
            r"views=\('audio_text', 'audio'\), but .* audio alone; set --config.classification",
        ),
        (
            {"objectives.alignment": 1.0, "objectives.masked_language": 1.0},
            r"config.objectives names alignment, masked_language, but config.model.name='ear'",
        ),
    ],
)
def test_what_a_tagger_cannot_do_is_refused_before_anything_is_made(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_an_unknown_audio_encoder_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=f"'eye' is none of .*{min(taggers.NETWORKS)}"):
        make(**{"model.name": "atbert", "model.audio_encoder": "eye"})


def test_atbert_hears_waveforms_as_it_hears_their_log_mels():
    changes = {"model.name": "atbert", "classification.pooling": "summary"}
    contract = tiny.make_contract("multi_label")
    learner = make(contract, **changes)
    batch = ear.make_batch(4)
    mels = tiny.one_program(lambda batch: frontend.prepare(batch, contract))(batch)
    assert mels["log_mel"].shape == (4, tiny.SEGMENTS, tiny.BANDS, tiny.FRAMES)
    answer = tiny.one_program(
        lambda batch: learner.predict(learner.prepare(batch, jax.random.key(0)))
    )
    found, expected = (answer(each) for each in (batch, mels))
    np.testing.assert_allclose(
        found["classification"]["audio"], expected["classification"]["audio"], rtol=1e-5
    )


def test_a_tagger_is_the_ears_of_atbert():
    """The states that its encoders get are projections of what the network hears."""
    learner = make(**{"model.name": "atbert", "model.audio_encoder": "ear"})
    batch, model = ear.make_batch(4), learner.model
    assert learner.prepare(batch, jax.random.key(0)) == batch

    @tiny.one_program
    def embed(batch):
        heard = model.audio_cnn(batch["waveform"][:, 1], jnp.ones(4), None)
        expected = model.audio_feature_norm(model.audio_projection(heard))
        return model.embed_audio(batch, None).hidden[:, 1], expected

    np.testing.assert_allclose(*embed(batch), rtol=1e-4, atol=1e-5)
    losses, _ = nnx.jit(lambda learner, batch: learner.losses(batch, jax.random.key(0)))(
        learner, batch
    )
    assert np.isfinite(losses["classification"][0])
