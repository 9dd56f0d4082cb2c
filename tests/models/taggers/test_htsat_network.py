"""HTSAT by itself hears what it hears in a CLAP."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax import models
from atbert_jax.models import taggers
from atbert_jax.models.keys import Keys
from atbert_jax.weights import engine
from tests import tiny
from tests.models import clap_sizes

SHORT = {
    **clap_sizes.CHANGES,
    "model.layers": 1,
    "clap.depths": (1, 1),
    "clap.heads": (1, 2),
    "tagger.dropout": 0.0,
}


def build(name: str) -> nnx.Module:
    config = tiny.make_config(**SHORT | {"model.name": name})
    contract = clap_sizes.contract(fused=False)
    return tiny.make_module(lambda: models.build(config, contract, rngs=Keys(0)))


def test_a_segment_is_heard_as_in_a_clap():
    """That the first clip is repeated, too, which is shorter than ten seconds."""
    clap, tagger = build("clap"), build("htsat")
    arrays = engine.flat(nnx.to_pure_dict(nnx.state(clap.audio_encoder)))
    encoder = tagger.network.encoder
    ours = nnx.to_pure_dict(nnx.state(encoder))
    nnx.update(encoder, jax.tree.map_with_path(lambda path, _: arrays[engine.name_of(path)], ours))

    def hear(batch: dict) -> tuple:
        return clap.embed_audio(batch, None), tagger.embed_audio(batch, None)

    expected, found = tiny.one_program(hear)(clap_sizes.make_batch(2))
    assert found.hidden.shape == (2, 1, tagger.hidden)
    assert np.ptp(expected.hidden) > 0.1
    np.testing.assert_allclose(found.hidden, expected.hidden, atol=1e-5)


def test_its_pictures_have_the_time_in_order():
    network = build("htsat").network

    def hear(waveform: jax.Array) -> list[jax.Array]:
        return network.pictures(waveform, jnp.ones(2), None)

    shapes = jax.eval_shape(hear, jnp.zeros((2, 480_000)))
    assert [x.shape for x in shapes] == [(2, 16, 256, 8), (2, 8, 128, 16), (2, 8, 128, 16)]
    waveform = np.zeros((2, 480_000), np.float32)
    waveform[1, 288_000:290_000] = np.random.default_rng(0).normal(size=2000)
    patches = tiny.one_program(lambda x: hear(x)[0])(waveform)
    heard = np.abs(patches[1] - patches[0]).max(axis=(0, 2)) > 1e-3
    # Six of ten seconds, among 256 places.
    assert np.flatnonzero(heard).min() >= 152
    assert np.flatnonzero(heard).max() <= 156


@pytest.mark.parametrize(
    ("changes", "samples", "message"),
    [
        ({"n_mels": 32}, 480_000, "hears 64 bands, but config.spectrogram.n_mels=32"),
        ({}, 600_000, "at most 1024 frames, but a segment has 1251"),
        ({}, 600, "600 samples are too short for this tagger: it needs 1024"),
    ],
)
def test_what_it_cannot_hear_is_refused(changes, samples, message):
    config, contract = tiny.make_config(**SHORT), clap_sizes.contract(fused=False)
    spectrogram = dataclasses.replace(contract.spectrogram, **changes)
    contract = dataclasses.replace(contract, spectrogram=spectrogram)

    def run() -> jax.Array:
        network = taggers.build(config, "htsat", contract, rngs=Keys(0))
        return network(jnp.zeros((2, samples)), jnp.ones(2), None)

    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(run)
