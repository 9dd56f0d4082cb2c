"""What every tagger's network is asked: its size, its shapes, its masks, its gradients, its limits.

Their numbers are compared with PyTorch's in `test_parity`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models import taggers
from input_pipeline.spectrogram import Spectrogram
from tests import tiny

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
    return taggers.build(config, name, contract, rngs=nnx.Rngs(0))


def filled(name: str, **changes: object) -> nnx.Module:
    """One of random arrays."""
    return tiny.make_module(lambda: build(name, **changes))


def clips(name: str, rows: int, seed: int = 0) -> np.ndarray:
    """Noise of the least length, and then some."""
    samples = max(NETWORKS[name].least, 8 * 512)
    return np.random.default_rng(seed).normal(0, 0.1, (rows, samples)).astype(np.float32)


def call(network: nnx.Module, waveform: np.ndarray, mask: np.ndarray, *, train: bool):
    """Features and the running statistics afterwards; the network itself stays as it is."""
    definition, state = nnx.split(network)

    @jax.jit
    def run(state, waveform, mask):
        network = nnx.merge(definition, state)
        features = network(waveform, mask, jax.random.key(0) if train else None)
        return features, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

    features, statistics = run(state, waveform, mask)
    return np.asarray(features), tiny.named(statistics)


@every
def test_size_and_features_are_the_published_ones(name):
    published = NETWORKS[name]

    def run():
        network = build(name)
        return network, network(jnp.zeros((2, published.samples)), jnp.ones(2), None)

    network, features = nnx.eval_shape(run)
    assert network.hears == "waveform"
    assert tiny.count(network) + (network.features + 1) * TAGS == published.parameters
    assert features.shape == (2, network.features)


@every
def test_longer_clips_are_heard_whole(name):
    samples = 2 * NETWORKS[name].samples + 1000
    features = nnx.eval_shape(lambda: build(name)(jnp.zeros((2, samples)), jnp.ones(2), None))
    assert features.shape == (2, taggers.NETWORKS[name].features)


@pytest.mark.parametrize("name", [name for name, each in NETWORKS.items() if each.least > 1])
def test_shorter_clips_than_the_least_are_refused(name):
    least = NETWORKS[name].least
    assert nnx.eval_shape(lambda: build(name)(jnp.zeros((1, least)), jnp.ones(1), None)).size
    with pytest.raises(ValueError, match=f"needs {least}; set config.segmenting.seconds to"):
        nnx.eval_shape(lambda: build(name)(jnp.zeros((1, least - 1)), jnp.ones(1), None))


@every
def test_padding_changes_neither_statistics_nor_real_features(name):
    network, real = filled(name, **{"tagger.dropout": 0.0}), clips(name, 2)
    padded = np.concatenate([real[:1], 9 * clips(name, 1, seed=1), real[1:]])
    expected, statistics = call(network, real, np.ones(2, np.float32), train=True)
    features, padded_statistics = call(network, padded, np.float32([1, 0, 1]), train=True)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(features[[0, 2]], expected, rtol=0, atol=2e-4 * scale)
    for key, value in statistics.items():
        np.testing.assert_allclose(padded_statistics[key], value, 1e-4, 1e-5, err_msg=key)
    # Without the mask they do: the comparison above can fail.
    unmasked, _ = call(network, padded, np.ones(3, np.float32), train=True)
    assert np.abs(unmasked[[0, 2]] - expected).max() > 0.01 * scale


@every
def test_evaluation_is_the_same_each_time_and_for_each_clip_alone(name):
    network, batch = filled(name), clips(name, 2)
    before = tiny.named(nnx.to_pure_dict(nnx.state(network, nnx.BatchStat)))
    features, after = call(network, batch, np.ones(2, np.float32), train=False)
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)
    again, _ = call(network, batch, np.ones(2, np.float32), train=False)
    np.testing.assert_array_equal(features, again)
    alone, _ = call(network, batch[:1], np.ones(1, np.float32), train=False)
    np.testing.assert_allclose(features[:1], alone, 1e-4, 1e-5 * np.abs(features).max())
    assert np.abs(features[0] - features[1]).max() > 0.01 * np.abs(features).max()


@every
def test_gradients_are_finite_and_reach_every_parameter(name):
    definition, params, rest = nnx.split(filled(name), nnx.Param, ...)
    batch, weight = clips(name, 3), np.random.default_rng(2).normal(size=3).astype(np.float32)
    # A clip of silence has bands of no power at all.
    batch[0] = 0

    @jax.jit
    def run(params):
        network = nnx.merge(definition, params, rest)
        features = network(batch, jnp.ones(3), jax.random.key(0))
        return (weight @ features.astype(jnp.float32) ** 2).sum()

    for key, value in tiny.named(nnx.to_pure_dict(jax.grad(run)(params))).items():
        assert np.isfinite(value).all(), key
        # What is added before a batch normalisation changes nothing.
        if not key.endswith("conv/bias"):
            assert np.abs(value).max() > 0, key


@every
def test_bfloat16_computes_nearly_the_same(name):
    batch, mask = clips(name, 2), np.ones(2, np.float32)
    expected, _ = call(filled(name), batch, mask, train=False)
    found, _ = call(filled(name, **{"model.dtype": "bfloat16"}), batch, mask, train=False)
    assert found.dtype == jnp.bfloat16
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
