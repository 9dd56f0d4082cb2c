"""What CLAP hears is what transformers' ClapFeatureExtractor gives it."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atbert_jax.models.clap_frontend import decibels, four_views, repeated
from tests.conversion.test_parity import in_pytorch
from tests.models import clap_sizes

RATE, LONGEST = 48_000, 480_000
# Shorter and longer than ten seconds, by a sample, by less than a frame and by much.
SAMPLES = (4_000, 200_001, 479_999, 480_000, 480_479, 480_480, 481_500, 1_250_123)


def sound(samples: int) -> np.ndarray:
    """Tones that come and go over noise, float64."""
    time = np.arange(samples) / RATE
    tones = sum(np.sin(2 * np.pi * f * time) * np.sin(time * f / 100) for f in (220, 1500, 9000))
    return 0.2 * tones + 0.01 * np.random.default_rng(samples).normal(size=samples)


def write(folder: str, fused: bool) -> None:
    """What the extractor gives, with crops in the middle of where they may lie."""
    from transformers import ClapFeatureExtractor

    truncation = "fusion" if fused else "rand_trunc"
    extractor = ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation=truncation)
    # PyTorch interpolates in the type it is given; places that are float32 cost 1e-3 dB.
    extract = extractor._np_extract_fbank_features
    extractor._np_extract_fbank_features = lambda *given: extract(*given).astype(np.float64)
    np.random.choice = lambda places: places[len(places) // 2]
    np.random.randint = lambda low, high: low  # the first ten seconds
    for samples in SAMPLES:
        found = extractor._get_input_mel(sound(samples), LONGEST, truncation, "repeatpad")
        np.savez(f"{folder}/{samples}.npz", mel=found[0], longer=found[1])


def hear(samples: int, fused: bool) -> tuple[np.ndarray, bool]:
    """Ours in float64."""
    spectrogram = clap_sizes.contract(fused).spectrogram
    room = LONGEST * (3 if fused else 1)
    with jax.enable_x64(True):
        waveform = np.zeros((1, room))
        clip = sound(samples)[:room]
        waveform[0, : len(clip)] = clip
        count = jnp.array([len(clip)])
        waveform = repeated(jnp.asarray(waveform), count, LONGEST)
        ends = jnp.maximum(count, LONGEST)
        mel = decibels(waveform, ends, spectrogram)
        if not fused:
            return np.asarray(mel[0])[None], False
        frames = ends // 480 + 1
        views = four_views(mel, frames, 1001, None)
        return np.asarray(views[0]), bool(frames[0] > 1001)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parity
@pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="parity needs PyTorch, an optional dependency"
)
def test_log_mels_are_those_of_transformers(tmp_path: Path, fused: bool):
    in_pytorch(write, tmp_path, fused)
    for samples in SAMPLES:
        expected = np.load(tmp_path / f"{samples}.npz")
        mel, longer = hear(samples, fused)
        assert mel.shape == expected["mel"].shape
        np.testing.assert_allclose(mel, expected["mel"], atol=1e-4)
        assert not fused or longer == expected["longer"]


def test_short_clips_are_heard_again_and_again():
    waveform = jnp.asarray([[1.0, 2, 3, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8]])
    found = repeated(waveform, jnp.array([3, 8]), 7)
    assert found.tolist() == [[1, 2, 3, 1, 2, 3, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8]]


def test_nothing_stays_nothing():
    assert not repeated(jnp.zeros((1, 8)), jnp.array([0]), 7).any()


def test_crops_of_training_lie_in_their_thirds():
    mel = jnp.arange(40.0)[None, :, None]
    for seed in range(20):
        views = four_views(mel, jnp.array([34]), 5, jax.random.key(seed))[0, :, :, 0]
        starts = views[1:, 0].tolist()
        # 30 places to begin at, ten in each third; what is behind frame 34 is no part of the clip.
        assert [start // 10 for start in starts] == [0, 1, 2]
        assert (np.diff(views[1:], axis=1) == 1).all()
        assert views.max() <= 33


def test_what_lies_behind_the_end_of_a_clip_changes_nothing():
    spectrogram = clap_sizes.contract(fused=True).spectrogram
    rng = np.random.default_rng(0)
    waveform = rng.normal(size=(1, 6000)).astype(np.float32)
    other = waveform.copy()
    other[:, 4000:] = 7
    ends = jnp.array([4000])
    first, second = (decibels(jnp.asarray(x), ends, spectrogram) for x in (waveform, other))
    frames = 4000 // 480 + 1
    np.testing.assert_array_equal(first[:, :frames], second[:, :frames])
