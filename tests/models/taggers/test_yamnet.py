"""YAMNet: its size, its log-mels, its depthwise convolution, and clips of any length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from atbert_jax.configs import tagger as tagger_config
from atbert_jax.input_pipeline.contract import Labels
from atbert_jax.input_pipeline.dataset import make_contract
from atbert_jax.input_pipeline.text.tokenization import tokenizer_without_text
from atbert_jax.models.keys import Keys
from atbert_jax.models.taggers.yamnet import WINDOW, Depthwise
from atbert_jax.training.learner import Learner
from tests import tiny


def make_learner(sounds: int = 521, **changes: object) -> Learner:
    config = tagger_config.get_config("yamnet")
    config.update_from_flattened_dict(changes)
    labels = Labels("multi_label", tuple(f"sound {n}" for n in range(sounds)))
    contract = make_contract(config, tokenizer_without_text(), labels)
    return tiny.make_module(lambda: Learner(config, contract, rngs=Keys(0)))


def test_size_is_the_published_one():
    """Batch normalisation within the convolutions leaves each a bias."""
    assert tiny.count(make_learner()) == 3_729_481


def test_log_mels_are_of_frames_within_the_sound():
    learner = make_learner(2)
    frontend, spectrogram = learner.model.network.frontend, learner.contract.spectrogram
    frontend.mel_matrix[...] = jnp.asarray(spectrogram.mel_matrix)
    waveform = np.random.default_rng(0).uniform(-1, 1, (2, WINDOW + 2 * 160 + 159))
    found = jax.jit(lambda x: frontend(x, None))(waveform.astype(np.float32))
    assert found.shape == (2, 64, 3, 1)
    window = np.hanning(WINDOW + 1)[:-1]
    for frame in range(3):
        part = waveform[:, frame * 160 :][:, :WINDOW] * window
        magnitudes = np.abs(np.fft.rfft(part, 512))
        expected = np.log(magnitudes @ spectrogram.mel_matrix + 0.001)
        np.testing.assert_allclose(found[:, :, frame, 0], expected, atol=1e-4)
    silence = jax.jit(lambda x: frontend(x, None))(jnp.zeros((1, 15_600)))
    assert silence.shape == (1, 64, 96, 1)
    np.testing.assert_allclose(silence, np.log(0.001), atol=1e-5)


def test_masks_of_training_cover_with_silence():
    changes = {"tagger.time_masks": 1, "tagger.time_mask_size": 1.0}
    learner = make_learner(2, **changes)
    frontend = learner.model.network.frontend
    frontend.mel_matrix[...] = jnp.asarray(learner.contract.spectrogram.mel_matrix)
    waveform = np.random.default_rng(0).uniform(-1, 1, (3, 15_600)).astype(np.float32)
    heard = jax.jit(lambda x: frontend(x, None))(waveform)
    masked = jax.jit(lambda x: frontend(x, jax.random.key(0)))(waveform)
    silent = np.isclose(masked, np.log(0.001), atol=1e-5)
    assert 0 < silent.mean() < 1
    np.testing.assert_allclose(masked[~silent], heard[~silent], atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 5), (7, 8), (1, 2)])
def test_a_depthwise_convolution_is_xlas(stride, size):
    layer = tiny.make_module(lambda: Depthwise(4, stride, dtype=jnp.float32, rngs=Keys(0)))
    x = np.random.default_rng(0).normal(size=(2, *size, 4)).astype(np.float32)
    expected = jax.lax.conv_general_dilated(
        x,
        layer.kernel[...],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )
    expected = nnx.relu(expected + layer.bias[...])
    np.testing.assert_allclose(jax.jit(layer)(x), expected, atol=1e-5)


def test_clips_may_have_any_length_but_less_than_a_window():
    network = make_learner(2).model.network
    for samples in (WINDOW, 40_000):
        shape = nnx.eval_shape(lambda n=samples: network(jnp.zeros((2, n)), jnp.ones(2), None))
        assert shape.shape == (2, 1024)
    with pytest.raises(ValueError, match=r"399 samples are too short .* needs 400"):
        nnx.eval_shape(lambda: network(jnp.zeros((2, 399)), jnp.ones(2), None))
