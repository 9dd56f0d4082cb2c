"""Co-attention: what one stream finds in another, in closed form."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.models.co_attention import CoAttention
from atbert_jax.models.encoded import Encoded
from atbert_jax.models.keys import Keys
from atbert_jax.models.transformer import EncoderLayer
from tests import tiny

HEADS, WIDTH = 2, 8


def sizes(hidden: int):
    config = tiny.make_config().model
    config.update({"hidden": hidden, "ffn": 12, "activation": "gelu", "dropout": 0.0})
    return config


def streams() -> tuple[Encoded, Encoded]:
    rng = np.random.default_rng(0)
    audio, text = (rng.normal(size=(3, *shape)).astype(np.float32) for shape in ((4, 6), (5, 10)))
    masks = np.array([[4, 5], [2, 3], [4, 1]])[..., None]
    return (
        Encoded(audio, (np.arange(4) < masks[:, 0]).astype(np.float32)),
        Encoded(text, (np.arange(5) < masks[:, 1]).astype(np.float32)),
    )


def normalised(x: np.ndarray, norm: nnx.LayerNorm) -> np.ndarray:
    scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-12)
    return scaled * np.asarray(norm.scale[...]) + np.asarray(norm.bias[...])


def affine(x: np.ndarray, layer: nnx.Linear) -> np.ndarray:
    return x @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)


def expected_of(layer: EncoderLayer, x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What one state finds in the real states of another stream."""
    query = affine(x, layer.query).reshape(HEADS, -1)
    key, value = (
        affine(other, each).reshape(len(other), HEADS, -1) for each in (layer.key, layer.value)
    )
    found = []
    for head in range(HEADS):
        scores = np.exp(key[:, head] @ query[head] / math.sqrt(WIDTH / HEADS))
        found.append(scores / scores.sum() @ value[:, head])
    x = normalised(x + affine(np.concatenate(found), layer.attention_output), layer.attention_norm)
    inner = affine(x, layer.ffn)
    inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    return normalised(x + affine(inner, layer.ffn_output), layer.output_norm)


def make() -> CoAttention:
    return tiny.make_module(
        lambda: CoAttention(sizes(6), sizes(10), WIDTH, HEADS, dtype=jnp.float32, rngs=Keys(0))
    )


def test_each_stream_attends_to_the_other_and_to_no_padding():
    attend, (audio, text) = make(), streams()
    of_audio, of_text = tiny.one_program(attend)(audio, text, None)
    for layer, found, own, other in (
        (attend.audio, of_audio, audio, text),
        (attend.text, of_text, text, audio),
    ):
        np.testing.assert_array_equal(found.mask, own.mask)
        for row in range(3):
            real = np.asarray(other.hidden[row], np.float64)[np.asarray(other.mask[row]) > 0]
            for place in range(own.mask.shape[1]):
                expected = expected_of(layer, np.asarray(own.hidden[row, place]), real)
                np.testing.assert_allclose(found.hidden[row, place], expected, atol=2e-5)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_row_that_lacks_one_modality_passes_as_it_is(missing):
    attend, given = make(), list(streams())
    given[missing].mask[1] = 0
    for found, before in zip(tiny.one_program(attend)(*given, None), given, strict=True):
        np.testing.assert_array_equal(found.hidden[1], before.hidden[1])
        assert np.abs(found.hidden[0] - before.hidden[0]).max() > 0.1
