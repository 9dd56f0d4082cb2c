"""Musical features: librosa's, in their order, standardized over each clip."""

import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import soxr

from atbert_jax.input_pipeline.audio.music_features import (
    MusicFeatures,
    _blocks,
    extract,
    standardized,
)

RATE, HOP = 22_050, 512
SMALL = MusicFeatures(RATE, HOP, 1024, n_mels=40, n_cqt_chroma=36)
PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "weights"
VIBES = PUBLISHED / "audio16k" / "Kevin_MacLeod_-_Vibe_Ace.hq.ogg.npy"


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    """Two seconds of a falling chord with noise."""
    time = np.arange(2 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6)) / 4
    noise = np.random.default_rng(0).normal(0, 0.01, time.size)
    return (chord * np.exp(-time) + noise).astype(np.float32)


def test_columns_of_the_published_features():
    settings = MusicFeatures()
    assert settings.size == len(settings.names) == 324
    assert {name: (c.start, c.stop) for name, c in settings.columns.items()} == {
        "chroma": (0, 12),
        "mfcc": (12, 32),
        "mfcc_delta": (32, 52),
        "log_mel": (52, 180),
        "cqt_chroma": (180, 324),
    }
    assert settings.names[52:54] == ["log_mel 0", "log_mel 1"]
    assert settings.frame_count(30.0) == 1292
    assert settings.frame_rate == pytest.approx(43.07, abs=0.005)


def test_each_block_is_librosas(music):
    spectral = {"sr": RATE, "n_fft": 1024, "hop_length": HOP, "window": "hamming"}
    mel = librosa.feature.melspectrogram(y=music, n_mels=40, **spectral)
    mfcc = librosa.feature.mfcc(y=music, n_mfcc=20, n_mels=40, **spectral)
    cqt = librosa.feature.chroma_cqt(
        y=music, sr=RATE, hop_length=HOP, n_chroma=36, bins_per_octave=36
    )
    expected = [
        librosa.feature.chroma_stft(y=music, **spectral),
        mfcc,
        librosa.feature.delta(mfcc),
        np.log(10 * mel + 1e-6),
        np.log(10 * cqt + 1e-6),
    ]
    blocks = _blocks(music, SMALL)
    assert list(blocks) == list(SMALL.columns)
    found = extract(music, SMALL)
    assert found.shape == (2 * RATE // HOP + 1, SMALL.size)
    assert found.dtype == np.float32
    for values, (name, columns) in zip(expected, SMALL.columns.items(), strict=True):
        np.testing.assert_allclose(blocks[name], values, rtol=1e-4, atol=2e-4, err_msg=name)
        raw = blocks[name].T.astype(np.float64)
        varies = raw.std(axis=0) > 1e-5  # of a chord, one chroma is always the strongest
        centred = (raw - raw.mean(axis=0)) / np.where(varies, raw.std(axis=0), np.inf)
        np.testing.assert_allclose(found[:, columns], centred, atol=1e-4, err_msg=name)


def test_what_never_varies_is_0():
    values = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    values[:, 1] = 0.1 + 1e-7 * values[:, 0]
    found = standardized(values)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=0), [1, 0, 1], atol=1e-6)
    assert not found[:, 1].any()


def test_silence_is_0_and_as_long_as_any_clip():
    found = extract(np.zeros(RATE, np.float32), SMALL)
    assert found.shape == (RATE // HOP + 1, SMALL.size)
    assert not found.any()


@pytest.mark.parametrize("samples", [1, 600, 4000, 5000])
def test_clips_of_any_length_have_features(music, samples):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = extract(music[:samples], SMALL)
    assert found.shape == (samples // HOP + 1, SMALL.size)
    assert np.isfinite(found).all()


def test_the_published_statistics():
    """Means and deviations that the original gives for 30 seconds of a recording.

    Here it comes from 16 kHz, so the bands above 7 kHz, and MFCCs, cannot be compared.
    """
    if not VIBES.exists():
        pytest.skip(f"no recording at {VIBES}: it is not distributed")
    waveform = soxr.resample(np.load(VIBES), 16_000, 44_100, quality="VHQ")[: 30 * 44_100]
    settings = MusicFeatures()
    mean, std = np.load(PUBLISHED / "m3bert_feat_vibeace30s_stats.npy")
    tolerances = {"chroma": 1e-3, "log_mel": 2e-3, "cqt_chroma": 1e-5}
    for name, values in _blocks(waveform.astype(np.float32), settings).items():
        if name not in tolerances:
            continue
        heard = slice(0, 90 if name == "log_mel" else None)
        values, columns = values[heard], settings.columns[name]
        assert values.shape[1] == 1292
        for found, published in ((values.mean(axis=1), mean), (values.std(axis=1), std)):
            np.testing.assert_allclose(
                found, published[columns][heard], atol=tolerances[name], err_msg=name
            )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_mels": 0}, "features.n_mels must be positive, not 0"),
        ({"hop_length": 1000}, "hop_length=1000 must be a multiple of 64"),
        ({"sample_rate": 8000}, "sample_rate=8000 must be 11025 or more"),
        ({"n_mfcc": 200}, "n_mfcc=200 must be at most n_mels=128"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MusicFeatures(**changes)
