"""What every tagger's network is asked: its size, its shapes, its masks, its gradients, its limits.

Their numbers are compared with PyTorch's in `test_parity`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models import taggers
from atbert_jax.models.keys import Keys
from atbert_jax.models.taggers import self_attention
from tests import tiny
from tests.tagger_training import make_gradient

TAGS = 50
WON = Spectrogram(16_000, 512, 256, 128, mel_scale="htk", log_floor=1e-10)
TRANSFORMER = Spectrogram(22_050, 1024, 512, 128, mel_scale="htk", log_floor=1e-10)


class Published(NamedTuple):
    """A network as it was published: with 50 tags so many parameters, for so many samples."""

    parameters: int
    samples: int
    spectrogram: Spectrogram = WON
    least: int = 1  # samples that it needs


NETWORKS = {
    "sample_cnn": Published(1_869_874, 59_049, least=59_047),
    "se_cnn": Published(6_951_858, 59_049, least=59_047),
    "short_chunk": Published(3_687_348, 59_049, least=127 * 256),
    "short_chunk_res": Published(12_104_244, 59_049),
    "harmonic_cnn": Published(3_631_551, 80_000, least=287 * 256),
    "self_attention": Published(10_521_652, 240_000),
    "music_transformer": Published(4_567_732, 220_500, TRANSFORMER, least=3 * 512),
}
every = pytest.mark.parametrize("name", NETWORKS)


def build(name: str, spectrogram: Spectrogram | None = None, **changes: object) -> nnx.Module:
    """A new one; `changes` are fields of the config."""
    config = tiny.make_config(**{"data.input": "waveform"} | changes)
    contract = tiny.make_contract(spectrogram=spectrogram or NETWORKS[name].spectrogram)
    return taggers.build(config, name, contract, rngs=Keys(0))


def filled(name: str, **changes: object) -> nnx.Module:
    """One of random arrays."""
    return tiny.make_module(lambda: build(name, **changes))


def clips(name: str, rows: int) -> np.ndarray:
    """Noise, louder and louder, of the least length or a little more."""
    noise = np.random.default_rng(0).normal(size=(rows, max(NETWORKS[name].least, 8 * 512)))
    return (noise * np.geomspace(0.01, 1, rows)[:, None]).astype(np.float32)


@every
def test_size_and_features_are_the_published_ones(name):
    published = NETWORKS[name]

    def run():
        network = build(name)
        return network, network(jnp.zeros((2, published.samples)), jnp.ones(2), None)

    network, features = nnx.eval_shape(run)
    assert network.audio_input == "waveform"
    assert tiny.count(network) + (network.features + 1) * TAGS == published.parameters
    assert features.shape == (2, network.features)


@every
def test_longer_clips_are_heard_whole(name):
    samples = 2 * NETWORKS[name].samples + 1000

    def run():
        network = build(name)
        return network, network(jnp.zeros((2, samples)), jnp.ones(2), None)

    network, features = nnx.eval_shape(run)
    assert features.shape == (2, network.features)


@pytest.mark.parametrize("name", [name for name, each in NETWORKS.items() if each.least > 1])
def test_shorter_clips_than_the_least_are_refused(name):
    least = NETWORKS[name].least
    assert nnx.eval_shape(lambda: build(name)(jnp.zeros((1, least)), jnp.ones(1), None)).size
    with pytest.raises(ValueError, match=f"needs {least}; set config.segmenting.seconds to"):
        nnx.eval_shape(lambda: build(name)(jnp.zeros((1, least - 1)), jnp.ones(1), None))


@every
def test_features_come_in_the_compute_type(name):
    def run():
        network = build(name, **{"model.dtype": "bfloat16"})
        return network(jnp.zeros((2, NETWORKS[name].samples)), jnp.ones(2), jax.random.key(0))

    assert nnx.eval_shape(run).dtype == jnp.bfloat16


def test_gradients_in_bfloat16_are_those_of_float32():
    """To a tenth of their norm, for each rounding is half a percent; their own type stays."""
    batch, gradients = clips("music_transformer", 4), []
    for dtype in ("float32", "bfloat16"):
        still = {"tagger.dropout": 0.0, "tagger.attention_dropout": 0.0}
        network = filled("music_transformer", **still, **{"model.dtype": dtype})
        definition, params, rest = nnx.split(network, nnx.Param, ...)

        @jax.jit
        @jax.grad
        def run(params, definition=definition, rest=rest):
            network = nnx.merge(definition, params, rest, copy=True)
            features = network(batch, jnp.ones(4), jax.random.key(0))
            return jnp.sin(features.astype(jnp.float32) / 10).mean()

        gradients.append(tiny.named(nnx.to_pure_dict(run(params))))
    assert {x.dtype for x in gradients[1].values()} == {jnp.dtype("float32")}
    one, other = (np.concatenate([x.ravel() for x in tree.values()]) for tree in gradients)
    assert np.linalg.norm(other - one) < 0.1 * np.linalg.norm(one)
    assert not np.array_equal(other, one)


@pytest.mark.slow
@every
def test_training_counts_real_clips_only_and_reaches_every_parameter(name):
    network = filled(name, **{"tagger.dropout": 0.0})
    params, run = make_gradient(network)
    batch, mask = clips(name, 4), np.float32([1, 0, 1, 1])
    # A clip of silence has bands of no power at all.
    batch[3] = 0

    gradient, (features, statistics) = run(params, batch, mask)
    for key, value in tiny.named(nnx.to_pure_dict(gradient)).items():
        assert np.isfinite(value).all(), key
        # What is added before a batch normalisation changes nothing.
        assert key.endswith("conv/bias") or np.abs(value).max() > 0, key
    other, real = batch.copy(), mask > 0
    other[1] = 9 * other[2]
    same, (same_features, same_statistics) = run(params, other, mask)
    jax.tree.map(np.testing.assert_array_equal, (same, same_statistics), (gradient, statistics))
    np.testing.assert_array_equal(same_features[real], features[real])
    # Where it counts it does change them: the comparison above can fail.
    _, (counted, _) = run(params, other, np.ones(4, np.float32))
    assert np.abs(counted - features)[real].max() > 0.01


@every
def test_evaluation_hears_each_clip_alone_and_learns_nothing(name):
    definition, state = nnx.split(filled(name))

    @jax.jit
    def run(state, batch):
        network = nnx.merge(definition, state)
        features = network(batch, jnp.ones(2), None)
        return features, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

    batch = clips(name, 3)
    features, after = run(state, batch[:2])
    before = nnx.to_pure_dict(nnx.filter_state(state, nnx.BatchStat))
    jax.tree.map(np.testing.assert_array_equal, after, before)
    np.testing.assert_array_equal(run(state, batch[::2])[0][0], features[0])
    assert np.abs(features[0] - features[1]).max() > 0.01 * np.abs(features).max()


def test_the_first_token_is_numpys_first_draw_of_seed_0():
    token = self_attention.FIRST_TOKEN
    assert token.shape == (256,)
    np.testing.assert_allclose(token[:3], [0.5488135, 0.71518937, 0.60276338], rtol=1e-7)


def test_the_music_transformer_refuses_more_than_its_positions():
    most = 2051 * 512 - 1

    def run(samples: int):
        return nnx.eval_shape(
            lambda: build("music_transformer")(jnp.zeros((1, samples)), jnp.ones(1), None)
        )

    assert run(most).shape == (1, 256)
    with pytest.raises(ValueError, match=r"config.segmenting.seconds to 47\.624 or less"):
        run(most + 1)


def test_the_compact_music_transformer_has_the_published_size():
    network = nnx.eval_shape(lambda: build("music_transformer", **{"tagger.attention": 64}))
    assert tiny.count(network) + (64 + 1) * TAGS == 1_108_852


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("music_transformer", "tagger.attention", 60, "tagger.attention=60 is no multiple of 8"),
        ("short_chunk", "data.input", "log_mel", "set --config.data.input=waveform"),
    ],
)
def test_impossible_settings_are_refused(name, field, value, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: build(name, **{field: value}))


def test_too_few_bands_are_refused():
    spectrogram = dataclasses.replace(WON, n_mels=96)
    with pytest.raises(ValueError, match="96 bands are too few for this tagger: it needs 128"):
        nnx.eval_shape(
            lambda: build("short_chunk", spectrogram)(jnp.zeros((1, 59_049)), jnp.ones(1), None)
        )
