"""The taggers' front end: librosa's decibels, and SpecAugment within the model."""

import dataclasses

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from atbert_jax.input_pipeline.audio.spectrogram import Spectrogram
from atbert_jax.models.keys import Keys
from atbert_jax.models.spec_augment import spec_augment
from atbert_jax.models.taggers.tagger_frontend import MelFrontend, decibels, power_spectrum
from tests import tiny

SPECTROGRAM = Spectrogram(16_000, n_fft=512, hop_length=256, n_mels=96, mel_scale="htk")
SPECTROGRAM = dataclasses.replace(SPECTROGRAM, log_floor=1e-10)


def make(spectrogram: Spectrogram = SPECTROGRAM, **masks: float) -> MelFrontend:
    settings = tiny.make_config().tagger
    settings.update(masks)
    return MelFrontend(settings, spectrogram, rngs=Keys(0))


@pytest.mark.parametrize(
    "spectrogram",
    [SPECTROGRAM, dataclasses.replace(SPECTROGRAM, sample_rate=22_050, n_fft=1024, hop_length=512)],
)
def test_decibels_equal_librosa(signals, spectrogram):
    """HTK bands without area normalisation, mirrored edges, no limit below the loudest."""
    noise, rate = signals[0], spectrogram.sample_rate
    frontend = make(spectrogram)
    frontend.norm.scale[...], frontend.norm.bias[...] = jnp.array([2.0]), jnp.array([1.0])
    frontend.norm.mean[...], frontend.norm.var[...] = jnp.array([-10.0]), jnp.array([300.0])
    found = tiny.one_program(frontend)(noise[None], np.ones(1, np.float32), None)
    mel = librosa.feature.melspectrogram(
        y=noise.astype(np.float64),
        sr=rate,
        n_fft=spectrogram.n_fft,
        hop_length=spectrogram.hop_length,
        n_mels=spectrogram.n_mels,
        htk=True,
        norm=None,
        pad_mode="reflect",
    )
    power = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=None)
    expected = (power + 10) / np.sqrt(300 + 1e-5) * 2 + 1
    assert found.shape == (1, *expected.shape, 1)
    np.testing.assert_allclose(found[0, ..., 0], expected, rtol=0, atol=1e-4)


def test_a_limit_below_the_loudest_is_each_clips_own(signals):
    """As librosa's `top_db` of one clip: a loud one beside it changes nothing."""
    quiet, loud = 1e-2 * signals[3], signals[2]
    frontend, one = make(top_db=80.0), np.ones(1, np.float32)
    hear = tiny.one_program(frontend)
    found = hear(np.stack([quiet, loud]), np.ones(2, np.float32), None)
    alone = hear(quiet[None], one, None)
    np.testing.assert_allclose(found[0], alone[0], atol=1e-5)
    whole = tiny.one_program(make())(quiet[None], one, None)
    scale = np.asarray(frontend.norm.scale[...])[0]
    expected = np.maximum(whole, whole.max() - 80 * scale / np.sqrt(1 + 1e-5))
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    assert np.abs(alone - whole).max() > 1


def test_silence_is_the_floor():
    power = power_spectrum(jnp.zeros((2, 1000)), SPECTROGRAM) @ SPECTROGRAM.mel_matrix
    np.testing.assert_allclose(decibels(power, 1e-10), -100.0, rtol=1e-6)


def test_masks_are_of_training_alone(signals):
    frontend = make(frequency_masks=2, time_masks=2)
    clips, mask = jnp.asarray(signals), jnp.ones(len(signals))
    found = frontend(clips, mask, None)
    np.testing.assert_array_equal(found, frontend(clips, mask, None))
    assert not (found == 0).all(axis=2).any()
    masked = frontend(clips, mask, jax.random.key(0))
    assert (np.asarray(masked) == 0).all(axis=2).any()
    plain = make()(clips, mask, jax.random.key(0))
    kept = np.asarray(masked) != 0
    np.testing.assert_array_equal(masked[kept], plain[kept])


def test_each_clip_has_bands_of_its_own_up_to_their_share():
    rows, bands, frames = 400, 20, 50
    masks = {1: (1, 0.25), 2: (1, 0.1)}
    augment = tiny.one_program(lambda x, key: spec_augment(x, masks, key))
    found = augment(np.ones((rows, bands, frames, 1), np.float32), jax.random.key(1))
    for axis, length, widest in ((1, bands, 5), (2, frames, 5)):
        other = 3 - axis
        covered = (found[..., 0] == 0).all(axis=other)
        edges = np.diff(np.pad(covered, [(0, 0), (1, 1)]).astype(int), axis=1)
        assert ((edges == 1).sum(axis=1) <= 1).all()
        widths = covered.sum(axis=1)
        assert set(widths) == set(range(widest + 1))
        # Each width is as probable, and every place is covered at times.
        assert widths.mean() == pytest.approx(widest / 2, abs=0.3)
        assert covered.any(axis=0).all()
        assert len({row.tobytes() for row in covered}) > length


def test_several_masks_cover_more():
    @tiny.one_program
    def augment(x):
        return [spec_augment(x, {1: (n, 0.2)}, jax.random.key(2)) for n in (0, 1, 3)]

    shares = [(x == 0).mean() for x in augment(np.ones((200, 40, 10, 1), np.float32))]
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.1, abs=0.02)
    assert 2 * shares[1] < shares[2] < 3 * shares[1]
