"""MFCCs against librosa, and the frames of what is real."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from atbert_jax.evaluation import baseline
from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.mfcc import mfcc, mfcc_statistics
from atbert_jax.models.taggers.tagger_frontend import mirrored

COUNT, TOP_DB = 40, 80.0


def spectrogram(rate: int) -> Spectrogram:
    """As published."""
    return Spectrogram(
        rate, n_fft=400, hop_length=200, n_mels=128, mel_scale="htk", log_floor=1e-10
    )


def librosas(waveform: np.ndarray, rate: int) -> np.ndarray:
    """(T, 40) of one clip; librosa's own mirror is one sample off in the last frame."""
    mel = librosa.feature.melspectrogram(
        y=np.pad(waveform, 200, mode="reflect"),
        sr=rate,
        n_fft=400,
        hop_length=200,
        n_mels=128,
        htk=True,
        norm=None,
        center=False,
    )
    bands = librosa.power_to_db(mel, ref=1.0, top_db=TOP_DB)
    return librosa.feature.mfcc(S=bands, n_mfcc=COUNT, dct_type=2, norm="ortho").T


@jax.jit
def compute(waveform: jax.Array, samples: jax.Array) -> tuple[jax.Array, jax.Array]:
    return mfcc(waveform, samples, spectrogram(16_000), COUNT, TOP_DB)


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_mfccs_are_librosas(signals, rate):
    with jax.enable_x64(True):
        waveform = jnp.asarray(signals[:, None], jnp.float64)
        samples = np.full((len(signals), 1), signals.shape[1])
        found, mask = jax.jit(mfcc, static_argnums=(2, 3, 4))(
            waveform, samples, spectrogram(rate), COUNT, TOP_DB
        )
    assert found.shape == (len(signals), 1, signals.shape[1] // 200 + 1, COUNT)
    assert np.asarray(mask).all()
    for clip, values in zip(signals.astype(np.float64), np.asarray(found)[:, 0], strict=True):
        np.testing.assert_allclose(values, librosas(clip, rate), rtol=0, atol=1e-4)


def test_mfccs_of_recordings_are_librosas(real_clips):
    """In single precision, as the step has them."""
    samples = np.full((len(real_clips), 1), real_clips.shape[1])
    found, _ = compute(real_clips[:, None], samples)
    for clip, values in zip(real_clips, np.asarray(found)[:, 0], strict=True):
        np.testing.assert_allclose(values, librosas(clip, 16_000), rtol=0, atol=1e-3)


@pytest.mark.parametrize("samples", [1, 199, 200, 201, 5000, 15_999, 16_000])
def test_padding_is_as_if_it_was_not_there(signals, samples):
    clip = np.random.default_rng(samples).normal(size=(1, 2, 16_000)).astype(np.float32)
    clip[0, 0, :samples] = signals[0, :samples]
    clip[0, 1] = 1e3  # no clip is so loud: were it heard, `top_db` would hide all the rest
    found, mask = compute(clip, np.array([[samples, 0]]))
    real = samples // 200 + 1
    np.testing.assert_array_equal(mask[0], np.arange(81) < np.array([[real], [0]]))
    expected = librosas(signals[0, :samples], 16_000)
    # What `mfcc` promises of float32: of one sample alone a first coefficient of -877 is ten of
    # float32's steps off on processors that sum in another order.
    np.testing.assert_allclose(found[0, 0, :real], expected, rtol=0, atol=1e-3)


def test_the_loudest_band_of_a_clip_is_the_reference_of_all_its_segments():
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(1, 2, 4000)).astype(np.float32) * np.float32([[[1.0], [1e-6]]])
    found, _ = compute(clip, np.full((1, 2), 4000))
    alone, _ = compute(clip[:, 1:], np.full((1, 1), 4000))
    # Of bands that are all 80 dB below the loudest, the first coefficient is all there is.
    np.testing.assert_allclose(found[0, 1, :, 1:], 0, atol=1e-3)
    assert np.abs(alone[0, 0, :, 1:]).mean() > 1


def test_silence_and_nothing_are_finite():
    found, mask = compute(np.zeros((2, 1, 4000), np.float32), np.array([[4000], [0]]))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(mask.sum(axis=(1, 2)), [21, 0])
    # 10 log10(1e-10) in each of 128 bands.
    np.testing.assert_allclose(found[0, 0, :, 0], -100 * np.sqrt(128), rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 300])
def test_places_are_mirrored_as_numpy_does(length):
    sound = np.arange(length)
    places = jax.jit(mirrored)(np.arange(-200, length + 200), np.array([length]))
    np.testing.assert_array_equal(sound[places], np.pad(sound, 200, mode="reflect"))


def test_statistics_are_the_baselines(signals):
    """Of what is real alone, and of clips that are shorter than a window."""
    samples = np.array([16_000, 9_001, 1_000, 4_097])
    waveform = np.where(np.arange(16_000) < samples[:, None], signals, 0).astype(np.float32)
    found = jax.jit(mfcc_statistics, static_argnums=2)(waveform, samples, 16_000)
    expected = np.stack(
        [
            baseline.mfcc_statistics(clip[:count], 16_000)
            for clip, count in zip(waveform, samples, strict=True)
        ]
    )
    assert found.shape == (4, 80)
    np.testing.assert_allclose(found, expected, atol=1e-2, rtol=1e-3)
