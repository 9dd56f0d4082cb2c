"""Waveforms at another pitch, against librosa."""

import librosa
import numpy as np
import pytest
import tensorflow as tf

from atbert_jax.input_pipeline.batching.augmentation import Augmentation
from atbert_jax.input_pipeline.batching.transposition import randomly_transpose, transpose

RATE, SAMPLES = 8000, 12_001
NOISE = np.random.default_rng(0).normal(0, 0.1, (2, SAMPLES)).astype(np.float32)
TIME = np.arange(SAMPLES) / RATE


@pytest.mark.parametrize(("semitones", "samples"), [(-7.0, 12_003), (0.5, 12_013), (7.0, 12_003)])
def test_equals_librosa(semitones, samples):
    """With lengths that the stretched one leads back to, so that librosa has no rest to cut off."""
    length = round(samples * 2 ** (semitones / 12))
    assert np.ceil(length / 2 ** (semitones / 12)) == samples
    noise = np.random.default_rng(1).normal(0, 0.1, (2, samples)).astype(np.float32)
    found = transpose(tf.constant(noise), tf.constant(semitones)).numpy()
    precise = noise.astype(np.float64)  # in float32, librosa's phases lose three digits
    expected = librosa.effects.pitch_shift(precise, sr=RATE, n_steps=semitones, res_type="scipy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_nothing_changes_by_no_semitone():
    np.testing.assert_allclose(transpose(tf.constant(NOISE), 0.0), NOISE, atol=2e-6)


@pytest.mark.parametrize("semitones", [-5, 3, 7])
def test_a_tone_is_that_many_semitones_higher_and_about_as_loud(semitones):
    tone = np.sin(2 * np.pi * 440 * TIME).astype(np.float32)[None]
    found = transpose(tf.constant(tone), float(semitones)).numpy()[0, 2000:10_000]
    spectrum = np.abs(np.fft.rfft(found * np.hanning(found.size)))
    assert spectrum.argmax() == pytest.approx(440 * 2 ** (semitones / 12), abs=1)  # bins of 1 Hz
    # Phases of neighbouring bands are not locked, which costs up to a decibel; librosa's, too.
    assert -1 < 20 * np.log10(found.std() / tone.std()) < 0.1


def draw(number: int, samples: tuple[int, int] = (SAMPLES, 7000), **settings) -> np.ndarray:
    real = np.arange(SAMPLES) < np.array(samples)[:, None]
    settings = Augmentation(pitch_semitones=7.0, **settings)
    seed = tf.constant([3, number])
    return randomly_transpose(tf.constant(NOISE * real), samples, settings, seed).numpy()


def test_draws_follow_the_seed_come_as_often_as_asked_and_keep_silence():
    found = [draw(number, pitch_probability=0.4) for number in range(40)]
    np.testing.assert_array_equal(draw(7, pitch_probability=0.4), found[7])
    changed = [clip for clip in found if np.abs(clip[0] - NOISE[0]).max() > 1e-3]
    assert 8 < len(changed) < 24
    assert len({clip.tobytes() for clip in changed}) == len(changed)
    for clip in found:
        np.testing.assert_array_equal(clip[1, 7000:], 0)
        assert np.abs(clip[1, :7000]).max() > 0.1


def test_off_is_off():
    given, whole = tf.constant(NOISE), (SAMPLES, SAMPLES)
    assert randomly_transpose(given, whole, Augmentation(), tf.constant([0, 1])) is given
