"""The filters of Harmonic CNN in closed form, and the sizes of what is between the layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.keys import Keys
from atbert_jax.models.taggers import harmonic_cnn
from atbert_jax.models.taggers.blocks import global_max, max_pool
from tests import tiny
from tests.models.taggers.test_networks import NETWORKS, WON, build


def frontend() -> harmonic_cnn.HarmonicFrontend:
    settings = tiny.make_config().tagger
    return harmonic_cnn.HarmonicFrontend(settings, WON, rngs=Keys(0))


def test_harmonic_centres_are_half_semitones_from_c1():
    found = harmonic_cnn.centres(16_000)
    assert found.shape == (128, 6)
    np.testing.assert_allclose(found[[0, 1, 24, -1], 0], [32.7032, 33.6615, 65.4064, 1280.97], 1e-5)
    np.testing.assert_allclose(found, np.outer(found[:, 0], [1, 2, 3, 4, 5, 6]))


@pytest.mark.parametrize("sharpness", [0.6, 1.0, 2.5])
def test_harmonic_filters_are_triangles_of_auditory_width(sharpness):
    module = frontend()
    module.sharpness[...] = jnp.full(1, sharpness)
    found = tiny.one_program(module.filters)()
    assert found.shape == (257, 128, 6)
    frequency = np.arange(257) * 31.25
    for band, harmonic in ((0, 1), (0, 6), (60, 3), (127, 1), (127, 6)):
        centre = harmonic * 440 * 2 ** ((24 + band / 2 - 69) / 12)
        half = (0.1079 * centre + 24.7) / sharpness / 2
        expected = np.interp(frequency, [centre - half, centre, centre + half], [0, 1, 0])
        np.testing.assert_allclose(found[:, band, harmonic - 1], expected, rtol=0, atol=1e-6)


def test_the_gradient_of_sharpness_is_that_of_finite_differences():
    definition, state = nnx.split(frontend())
    tone = np.sin(2 * np.pi * 700 * np.arange(2048) / 16_000).astype(np.float32)[None]

    def mean(sharpness):
        module = nnx.merge(definition, state, copy=True)
        module.sharpness[...] = sharpness
        return module(tone, jnp.ones(1), None).mean()

    q, step, mean = np.full(1, 1.2, np.float32), np.float32(1e-3), jax.jit(mean)
    found = np.asarray(jax.jit(jax.grad(mean))(q))
    expected = (np.asarray(mean(q + step)) - np.asarray(mean(q - step))) / (2 * step)
    assert abs(found[0]) > 0.1
    np.testing.assert_allclose(found[0], expected, rtol=0.02)


# Of each layer: frames, or bands and frames; of the published lengths.
MAPS = {
    "sample_cnn": [(3**power,) for power in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0)],
    "se_cnn": [(3**power,) for power in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0)],
    "short_chunk": [(64, 115), (32, 57), (16, 28), (8, 14), (4, 7), (2, 3), (1, 1)],
    "short_chunk_res": [(64, 116), (32, 58), (16, 29), (8, 15), (4, 8), (2, 4), (1, 2)],
    "harmonic_cnn": [(64, 156), (32, 78), (16, 39), (8, 19), (4, 9), (2, 3), (1, 1)],
    "self_attention": [(64, 469), (32, 235), (16, 118), (8, 118), (4, 118), (2, 118), (1, 118)],
    "music_transformer": [(64, 215), (32, 107), (16, 107)],
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_have_the_published_sizes(name):
    samples = NETWORKS[name].samples

    def run():
        network, x, found = build(name), jnp.zeros((1, samples)), []
        x = network.frontend(x, jnp.ones(1), None) if len(MAPS[name][0]) > 1 else x[..., None]
        for layer in network.blocks if hasattr(network, "blocks") else network.layers:
            x = layer(x, jnp.ones(1), False)
            found.append(x)
        return found

    assert [each.shape[1:-1] for each in nnx.eval_shape(run)] == MAPS[name]


@pytest.mark.parametrize(
    ("name", "shape", "frames"),
    [("self_attention", (3, 2, 8, 119, 119), 8), ("music_transformer", (3, 4, 8, 108, 108), 4)],
)
def test_attention_tells_of_every_layer_and_token(name, shape, frames):
    def run():
        network = build(name)
        return network, network.attention(jnp.zeros((3, NETWORKS[name].samples)))

    network, weights = nnx.eval_shape(run)
    assert weights.shape == shape
    assert (network.token_frames, network.leading_tokens) == (frames, 1)


def test_maxima_and_their_gradients():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    blocks = x[:, :4, :6].reshape(2, 2, 2, 2, 3, 3)
    np.testing.assert_array_equal(max_pool(x, (2, 3)), blocks.max(axis=(2, 4)))
    np.testing.assert_array_equal(global_max(x), x.max(axis=(1, 2)))
    gradient = jax.grad(lambda x: max_pool(x, (2, 3)).sum())(x)[:, :4, :6]
    is_largest = blocks == blocks.max(axis=(2, 4), keepdims=True)
    np.testing.assert_array_equal(gradient.reshape(blocks.shape), is_largest)
    gradient = jax.grad(lambda x: global_max(x).sum())(x)
    np.testing.assert_array_equal(gradient, x == x.max(axis=(1, 2), keepdims=True))
