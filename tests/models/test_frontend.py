"""Tests of the JAX engine: log-mel against librosa and against the TensorFlow engine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from atbert_jax.input_pipeline.audio.segmenting import Segmenting
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.input_pipeline.batching import log_mel as features
from atbert_jax.input_pipeline.contract import Contract, Labels, Normalization
from atbert_jax.models import frontend

log_mel = jax.jit(frontend.log_mel, static_argnums=1)

SETTINGS = [
    {"n_fft": 512, "hop_length": 160, "n_mels": 40},
    {"n_fft": 1472, "hop_length": 736, "n_mels": 128},
    {"n_fft": 1838, "hop_length": 919, "n_mels": 48, "f_min": 50.0, "log_floor": 1e-10},
]


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_log_mel_is_librosas_and_the_other_engines(
    signals, librosa_log_mel, assert_same_log_mel, settings, mel_scale, power
):
    spectrogram = Spectrogram(mel_scale=mel_scale, power=power, **settings)
    found = np.asarray(log_mel(signals, spectrogram))
    expected = librosa_log_mel(signals, spectrogram)
    assert_same_log_mel(found, expected, power)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-4)
    other = features.log_mel(tf.constant(signals), spectrogram).numpy()
    assert_same_log_mel(found, other, power)
    np.testing.assert_allclose(found[0], other[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_log_mel_of_float64_is_librosas_however_quiet(
    signals, librosa_log_mel, settings, mel_scale, power
):
    spectrogram = Spectrogram(mel_scale=mel_scale, power=power, **settings)
    with jax.enable_x64(True):
        found = np.asarray(log_mel(signals.astype(np.float64), spectrogram))
    assert found.dtype == np.float32
    expected = librosa_log_mel(signals, spectrogram)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
def test_log_mel_of_real_clips(real_clips, librosa_log_mel, assert_same_log_mel, mel_scale):
    spectrogram = Spectrogram(mel_scale=mel_scale)
    found = np.asarray(log_mel(real_clips, spectrogram))
    assert_same_log_mel(found, librosa_log_mel(real_clips, spectrogram), 2.0)
    assert_same_log_mel(found, features.log_mel(tf.constant(real_clips), spectrogram).numpy(), 2.0)


@pytest.mark.parametrize("log_floor", [1e-10, 1e-6, 1e-3])
def test_silence_is_the_log_floor(log_floor):
    found = np.asarray(log_mel(jnp.zeros([2, 3000]), Spectrogram(log_floor=log_floor)))
    np.testing.assert_array_equal(found, found[0, 0, 0])
    # Logarithms of libraries differ by the last bit of a float32.
    np.testing.assert_allclose(found[0, 0, 0], np.log(log_floor), rtol=1.2e-7)


@pytest.mark.parametrize(
    ("samples", "frames"), [(94_080, 128), (22_050, 24), (88_200, 128), (22_050, 220)]
)
def test_frames_are_met(samples, frames):
    spectrogram = Spectrogram.for_frames(samples, frames, sample_rate=22_050, n_mels=8)
    waveform = np.random.default_rng(0).normal(0, 0.1, (2, 3, samples)).astype(np.float32)
    found = np.asarray(log_mel(waveform, spectrogram))
    assert found.shape == (2, 3, 8, frames)
    other = features.log_mel(tf.constant(waveform), spectrogram)
    np.testing.assert_allclose(found, other, rtol=0, atol=1e-4)


def contract(normalization: Normalization) -> Contract:
    spectrogram = Spectrogram(n_fft=256, hop_length=128, n_mels=8)
    return Contract(spectrogram, Segmenting(3, 0.1), normalization, 8, 10, Labels())


@pytest.mark.parametrize(
    "normalization",
    [
        Normalization("none"),
        Normalization("clip"),
        Normalization("dataset", tuple(range(-8, 0)), tuple(range(1, 9))),
    ],
)
def test_prepare_is_what_the_other_engine_does(normalization):
    draw = np.random.default_rng(0)
    waveform = draw.normal(0, 0.1, (4, 3, 1600)).astype(np.float32)
    mask = np.float32([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
    waveform *= mask[..., None]
    known = contract(normalization)
    batch = {"waveform": waveform, "segment_mask": mask, "record": np.arange(4)}
    found = jax.jit(lambda batch: frontend.prepare(batch, known))(batch)
    assert set(found) == {"log_mel", "segment_mask", "record"}
    assert set(batch) == {"waveform", "segment_mask", "record"}
    mean, std = normalization.arrays(8)
    for row in range(4):
        values = features.log_mel(tf.constant(waveform[row]), known.spectrogram)
        expected = features.normalize(values, tf.constant(mask[row]), mean, std)
        # A clip without sound is divided by CLIP_EPSILON, and so are its rounding errors.
        tolerance = 1e-4 if mask[row].any() or normalization.kind != "clip" else 0.1
        np.testing.assert_allclose(found["log_mel"][row], expected, rtol=0, atol=tolerance)


def test_clip_normalisation_sees_real_segments_only():
    draw = np.random.default_rng(0)
    waveform = draw.normal(0, 0.1, (1, 3, 1600)).astype(np.float32)
    mask = np.float32([[1, 1, 0]])
    known = contract(Normalization("clip"))
    prepare = jax.jit(lambda batch: frontend.prepare(batch, known)["log_mel"])
    first = np.asarray(prepare({"waveform": waveform, "segment_mask": mask}))
    other = waveform.copy()
    other[:, 2] = 1
    second = np.asarray(prepare({"waveform": other, "segment_mask": mask}))
    np.testing.assert_array_equal(first[:, :2], second[:, :2])
    assert np.asarray(first[:, :2]).mean() == pytest.approx(0, abs=1e-5)
    assert np.asarray(first[:, :2]).std() == pytest.approx(1, abs=5e-3)


def test_prepare_leaves_a_log_mel_alone():
    batch = {"log_mel": np.ones((1, 2, 3, 4), np.float32)}
    assert frontend.prepare(batch, contract(Normalization("none"))) is batch
